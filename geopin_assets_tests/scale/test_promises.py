"""What several machines promise together: each row of the page's table has tests in which two workers keep it.

Here: that they are there, and those that are about nothing but the promise, over a real Postgres where one is. Not
here: tests of the parts that keep them, which the table names.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from geopin_assets_tests.embedding.image_server import ImageServer, body, image_server, status
from geopin_assets_tests.files.processes import end, start
from geopin_assets_tests.scale.page import CHECKOUT, PAGE

TESTS = CHECKOUT / "geopin_assets_tests"
CRAWLER = """
    import sys
    from geopin_assets.errors import GeoPinError
    from geopin_assets.http_client import HttpClient, Quota, shared_politeness
    from geopin_assets_tests.files.places import place_of
    place, address = place_of(sys.argv[1]), sys.argv[2]
    polite = shared_politeness({"": Quota(per_second=1000.0)}, place, "panoramax")
    with HttpClient("panoramax", politeness=polite, max_wait_s=1.0) as client:
        try:
            print(client.get_json(address))
        except GeoPinError as error:
            print(type(error).__name__)
"""
EMBEDDER = """
    import sys
    from geopin_assets.http_client import SharedState
    from geopin_assets_tests.embedding.fetching import fetch_at_once, loopback_fetcher
    from geopin_assets_tests.files.places import place_of
    place, *addresses = sys.argv[1:]
    fetcher = loopback_fetcher(pauses=lambda: SharedState(place_of(place), "image hosts"))
    for result in fetch_at_once(fetcher, *addresses):
        print(len(result) if isinstance(result, bytes) else result.reason.value)
"""


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


def promises() -> Iterator[tuple[str, str]]:
    """Each promise of the page, and what it says of tests."""
    table = PAGE.read_text(encoding="utf-8").partition("## What is promised")[2].partition("\n## ")[0]
    for line in table.splitlines():
        if line.startswith("| ") and not line.startswith("| promise"):
            _, promise, *_, tests, _ = line.split("|")
            yield promise.strip(), tests


@pytest.mark.parametrize(("promise", "tests"), list(promises()))
def test_every_promise_has_tests(promise: str, tests: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
    assert named, promise
    for path, name in named:
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


def test_a_source_that_told_one_machine_to_wait_is_not_asked_by_another(
    postgres_place: str, server: ImageServer
) -> None:
    server.routes |= {"/first": status(429, retry_after="900"), "/second": body(b"{}")}
    said = [end(start(CRAWLER, postgres_place, server.url(path)))[1].strip() for path in ("/first", "/second")]
    assert said == ["TransientError", "SourceUnavailable"]
    assert server.hits == {"/first": 1}


def test_a_host_of_images_that_told_one_machine_to_wait_is_not_asked_by_another(
    postgres_place: str, server: ImageServer
) -> None:
    server.routes |= {"/first.jpg": status(429, retry_after="900"), "/second.jpg": body(b"image")}
    said = [end(start(EMBEDDER, postgres_place, server.url(path)))[1] for path in ("/first.jpg", "/second.jpg")]
    assert not any(word.strip().isdigit() for word in said), said
    assert server.hits == {"/first.jpg": 1}


def test_a_host_of_images_sees_at_most_eight_requests_at_once_of_each_machine(
    postgres_place: str, server: ImageServer
) -> None:
    paths = [f"/{number}.jpg" for number in range(80)]
    server.routes |= dict.fromkeys(paths, body(b"image"))
    machines = [start(EMBEDDER, postgres_place, *map(server.url, paths)) for _ in range(2)]
    assert [end(machine)[1].split() for machine in machines] == [["5"] * 80] * 2
    assert server.hits == dict.fromkeys(paths, 2) and server.peak <= 16
