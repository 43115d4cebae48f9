from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.panoramax.ask import Details, NotOffered, as_list, as_text, fetch_removed, parse_removed
from geopin_assets_tests.sources.replay import client_of, recorded

URL = "https://panoramax.example"
SINCE = datetime(2026, 11, 20, tzinfo=UTC)
IDS = [f"id-{n}" for n in range(2500)]


class Server:
    """Knows `held`; reads ids as `read` does; gives at most `most` of them."""

    def __init__(self, held: list[str], read: Callable[[Any], list[str]], most: int = 10_000) -> None:
        self.held, self.read, self.most = set(held), read, most
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        self.bodies.append(body)
        found = [id_ for id_ in self.read(body["ids"]) if id_ in self.held][: min(self.most, body["limit"])]
        return httpx.Response(200, json={"features": [{"id": id_} for id_ in [*found, "somebody-elses"]]})

    def details(self, *forms: Callable[..., Any]) -> Details:
        return Details(client_of(httpx.MockTransport(self), "panoramax"), URL, forms or (as_list, as_text))


def standard(ids: Any) -> list[str]:
    return ids if isinstance(ids, list) else []


def geovisio(ids: Any) -> list[str]:
    """Of a list the first alone."""
    return ids[:1] if isinstance(ids, list) else ids.split(",")


@pytest.mark.parametrize(("read", "rounds"), [(standard, 3), (geovisio, 4)])
def test_all_are_found_a_thousand_at_a_time_however_a_server_reads_ids(read: Any, rounds: int):
    server, report = Server(IDS, read), CrawlReport()
    found, gone = server.details().fetch(IDS, report)
    assert (sorted(found), gone) == (sorted(IDS), [])
    assert report.requests == len(server.bodies) == rounds
    assert all(body["limit"] == len(as_list(body["ids"].split(",") if isinstance(body["ids"], str) else body["ids"]))
               for body in server.bodies)  # fmt: skip


def test_the_form_that_a_server_understands_is_remembered():
    server = Server(IDS, geovisio)
    details = server.details()
    details.fetch(IDS[:10], CrawlReport())
    details.fetch(IDS[10:20], CrawlReport())
    assert [isinstance(body["ids"], list) for body in server.bodies] == [True, False, False]


def test_ids_that_a_whole_round_does_not_bring_are_gone():
    server = Server(IDS[:8], standard)
    found, gone = server.details().fetch(IDS[:10], CrawlReport())
    assert (len(found), gone) == (8, IDS[8:10])
    assert len(server.bodies) == 2


def test_a_cut_answer_is_completed_by_asking_for_the_rest():
    found, gone = Server(IDS, standard, most=30).details().fetch(IDS[:100], CrawlReport())
    assert (len(found), gone) == (100, [])


def test_what_was_not_asked_for_is_no_answer():
    found, _ = Server(IDS, standard).details().fetch(IDS[:3], CrawlReport())
    assert "somebody-elses" not in found


def test_no_ids_are_no_question():
    """An empty list is no filter: it would return anything."""
    server = Server(IDS, standard)
    assert server.details().fetch([], CrawlReport()) == ({}, [])
    assert server.bodies == []


def test_a_server_that_understands_no_form_does_not_offer_it():
    with pytest.raises(NotOffered):
        Server(IDS, lambda ids: []).details().fetch(IDS[:5], CrawlReport())


def test_a_failure_is_no_refusal():
    client = client_of(httpx.MockTransport(lambda _: httpx.Response(503)), "panoramax", attempts=2)
    with pytest.raises(TransientError):
        Details(client, URL, (as_list,)).fetch(IDS[:5], CrawlReport())


def removed(pages: dict[str, Any], report: CrawlReport | None = None) -> frozenset[str]:
    """`pages` by a part of their address."""

    def server(request: httpx.Request) -> httpx.Response:
        page = next((page for part, page in pages.items() if part in str(request.url)), None)
        return httpx.Response(200, json=page) if page is not None else httpx.Response(400)

    return fetch_removed(client_of(httpx.MockTransport(server), "panoramax"), URL, SINCE, report or CrawlReport())


def page(*ids: str, following: str | None = None) -> dict[str, Any]:
    links = [] if following is None else [{"rel": "next", "href": following}]
    return {"collections": [{"id": id_, "geovisio:status": "deleted"} for id_ in ids], "links": links}


def test_deleted_collections_are_told_from_the_others():
    assert parse_removed(recorded("panoramax/collections.json")) == {"0d8a1c2e-5a35-4c1e-9d43-4d3c2b1a0f9e"}


@pytest.mark.parametrize("junk", [None, [], {}, {"collections": {}}, "x"])
def test_a_page_without_collections_is_an_error(junk: Any):
    with pytest.raises(PayloadError):
        parse_removed(junk)


def test_junk_among_collections_is_passed_over():
    junk = [None, 5, {}, {"id": 5}, {"id": None, "geovisio:status": "deleted"}, {"geovisio:status": "deleted"}]
    assert parse_removed({"collections": junk}) == set()


def test_links_to_the_next_page_are_used_as_they_are():
    link = f"{URL}/api/collections?limit=5&page=created+%3E+'2026-11-22+17:27:14.346798%2B00:00'+AND+id+%3E+'7'"
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json=page("b") if "page=" in str(request.url) else page("a", following=link))

    client = client_of(httpx.MockTransport(server), "panoramax")
    assert fetch_removed(client, URL, SINCE, CrawlReport()) == {"a", "b"}
    assert "show_deleted=true" in asked[0] and "filter=updated+%3E+%272026-11-20T00%3A00%3A00Z%27" in asked[0]
    assert asked[1].replace("%27", "'") == link.removeprefix(URL)


def test_pages_on_another_host_and_pages_without_end_are_not_followed():
    away = "https://elsewhere.example/api/collections"
    assert removed({"elsewhere": page("x"), "": page("a", following=away)}) == {"a"}
    report = CrawlReport()
    here = f"{URL}/api/collections?page=1"
    assert removed({"page=1": page("b", following=here), "": page("a", following=here)}, report) == {"a", "b"}
    assert report.requests == 2


def test_an_instance_that_refuses_tells_nothing():
    assert removed({}) == frozenset()
    assert removed({"": {"message": "no"}}) == frozenset()


def test_an_instance_that_fails_is_asked_again_later():
    client = client_of(httpx.MockTransport(lambda _: httpx.Response(503)), "panoramax", attempts=2)
    with pytest.raises(TransientError):
        fetch_removed(client, URL, SINCE, CrawlReport())


def test_pages_that_bring_nothing_new_end_the_list_of_what_was_taken_down():
    report, numbers = CrawlReport(), iter(range(100))

    def server(request: httpx.Request) -> httpx.Response:
        ids = ["a", "b"] if "number" not in str(request.url) else []
        return httpx.Response(200, json=page(*ids, following=f"/api/collections?number={next(numbers)}"))

    client = client_of(httpx.MockTransport(server), "panoramax")
    assert fetch_removed(client, URL, SINCE, report) == {"a", "b"}
    assert report.requests == 2


@pytest.mark.parametrize("href", [f"{URL}:443/api/collections?n=2", "?n=2", "//PANORAMAX.example/api/collections?n=2"])
def test_the_next_page_is_on_our_host_however_it_is_spelled(href: str):
    assert removed({"n=2": page("b"), "": page("a", following=href)}) == {"a", "b"}
