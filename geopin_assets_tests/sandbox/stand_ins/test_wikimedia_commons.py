from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from geopin_assets.sandbox.server import app_of
from geopin_assets.sandbox.stand_ins.wikimedia_commons_item import db_key, page_id
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets.drives import GRACHT, build_world
from geopin_assets.sandbox.streets.world import Drive, Quirk, World, shots
from geopin_assets_tests.sandbox.transport import asgi_client
from geopin_assets_tests.sources.replay import recorded

BASE_URL = "http://sandbox.test"
API = "/wikimedia_commons/w/api.php"
AGENT = {"user-agent": "geopin-assets/0.1.0"}
BOX = "52.388|4.8643|52.37|4.8936"
SEARCH: dict[str, Any] = {
    "action": "query",
    "format": "json",
    "formatversion": 2,
    "generator": "geosearch",
    "ggsbbox": BOX,
    "ggsnamespace": 6,
    "ggslimit": 500,
}
EVERYTHING = SEARCH | {
    "prop": "coordinates|imageinfo",
    "coprop": "type|dim|globe",
    "colimit": 500,
    "iiprop": "url|size|mime|sha1|timestamp|user|extmetadata",
}
SHOTS = build_world().of("wikimedia_commons")


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(build_world(), BASE_URL)


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with asgi_client(app_of(sandbox)) as client:
        client.headers.update(AGENT)
        yield client


def answer_to(client: httpx.Client, **changed: Any) -> httpx.Response:
    """EVERYTHING with parameters replaced; None takes one away."""
    params = {key: value for key, value in (EVERYTHING | changed).items() if value is not None}
    response = client.get(API, params=params)
    assert response.status_code == 200
    return response


def ask(client: httpx.Client, **changed: Any) -> Any:
    return answer_to(client, **changed).json()


def error_of(client: httpx.Client, **changed: Any) -> str:
    response = answer_to(client, **changed)
    error = response.json()["error"]
    assert response.headers["mediawiki-api-error"] == error["code"]
    assert error["info"] and error["docref"]
    return error["code"]


def with_property(answer: Any, key: str) -> int:
    """Pages of an answer that have a property."""
    return sum(key in page for page in answer["query"]["pages"])


def shape(value: Any) -> Any:
    """Keys and types, at every depth."""
    if isinstance(value, dict):
        return {key: shape(child) for key, child in value.items()}
    return [shape(child) for child in value[:1]] if isinstance(value, list) else type(value)


def test_a_page_has_the_shape_of_a_recorded_one(client: httpx.Client):
    pages = [*ask(client)["query"]["pages"]]
    found = next(page for page in pages if "imageinfo" in page)
    real = recorded("wikimedia_commons/answer_1.json")["query"]["pages"][1]
    assert set(found) == set(real)
    assert shape(found["coordinates"]) == shape(real["coordinates"])
    info, real_info = found["imageinfo"][0], real["imageinfo"][0]
    assert set(info) == set(real_info)
    common = info["extmetadata"].keys() & real_info["extmetadata"].keys()
    assert {"Artist", "Categories", "Credit", "DateTimeOriginal", "License", "LicenseUrl", "Restrictions"} <= common
    assert {key: type(info[key]) for key in info} == {key: type(real_info[key]) for key in info}


def test_properties_come_in_parts_until_the_batch_is_complete(client: httpx.Client):
    first = ask(client)
    assert "batchcomplete" not in first
    assert set(first["continue"]) == {"iicontinue", "continue"}
    assert first["continue"]["continue"] == "||coordinates"
    assert (with_property(first, "coordinates"), with_property(first, "imageinfo")) == (6, 4)
    second = ask(client, **first["continue"])
    assert second["batchcomplete"] is True
    assert "continue" not in second
    assert not any("coordinates" in page for page in second["query"]["pages"])
    whole = {page["pageid"] for page in (*first["query"]["pages"], *second["query"]["pages"]) if "imageinfo" in page}
    assert whole == {int(page_id(shot)) for shot in SHOTS}


def test_both_properties_continue_when_both_are_cut(client: httpx.Client):
    first = ask(client, colimit=2)
    assert set(first["continue"]) == {"cocontinue", "iicontinue", "continue"}
    assert first["continue"]["continue"] == "||"
    second = ask(client, colimit=2, **first["continue"])
    assert second["continue"]["continue"] == "||imageinfo"
    assert with_property(second, "coordinates") == 2


def test_ten_are_the_default_of_a_limit_and_500_the_most():
    drive = Drive(source="wikimedia_commons", name="many", street=GRACHT, from_m=0, step_m=1, count=12,
                  started_at=SHOTS[0].drive.started_at)  # fmt: skip
    with asgi_client(app_of(Sandbox(World(tuple(shots(drive))), BASE_URL))) as client:
        client.headers.update(AGENT)
        assert len(ask(client, ggslimit=None)["query"]["pages"]) == 10
        assert with_property(ask(client, colimit=None), "coordinates") == 10
        assert len(ask(client, ggslimit="max")["query"]["pages"]) == 12
        answer = ask(client, ggslimit=501)
    assert "must be between 1 and 500" in answer["warnings"]["geosearch"]["warnings"]
    assert len(answer["query"]["pages"]) == 12


def test_a_cut_search_keeps_what_is_nearest_to_the_middle_and_lists_it_by_page_id(client: httpx.Client):
    pages = ask(client, ggslimit=3)["query"]["pages"]
    middle = (52.379, 4.87895)
    nearest = sorted(SHOTS, key=lambda s: (s.lon - middle[1]) ** 2 + (s.lat - middle[0]) ** 2)[:3]
    assert [page["pageid"] for page in pages] == sorted(int(page_id(shot)) for shot in nearest)
    assert [page["index"] for page in pages] == [-1, 0, 1]


def test_the_caps_can_be_lowered_without_a_word(client: httpx.Client, sandbox: Sandbox):
    sandbox.caps |= {"wikimedia_commons": 4, "wikimedia_commons.part": 1}
    answer = ask(client)
    assert "warnings" not in answer
    assert len(answer["query"]["pages"]) == 4
    assert (with_property(answer, "coordinates"), with_property(answer, "imageinfo")) == (1, 1)


def test_nothing_found_is_an_answer_without_a_query(client: httpx.Client):
    assert ask(client, ggsbbox="53.1|6.6|53.0|6.5") == {"batchcomplete": True}
    assert ask(client, ggsprimary="secondary") == {"batchcomplete": True}
    assert ask(client, ggsnamespace=None) == {"batchcomplete": True}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ggsbbox": "52.37|4.8643|52.388|4.8936"}, "invalid-bbox"),
        ({"ggsbbox": "52.388|4.8643|52.388|4.8936"}, "invalid-bbox"),
        ({"ggsbbox": "52.388,4.8643,52.37,4.8936"}, "invalid-bbox"),
        ({"ggsbbox": "52.388|4.8643|52.37"}, "invalid-bbox"),
        ({"ggsbbox": "north|4|52|5"}, "invalid-bbox"),
        ({"ggsbbox": "95|4|52|5"}, "invalid-bbox"),
        ({"ggsbbox": None}, "missingparam"),
        ({"ggsbbox": "52.5|4.7|52.3|5.1"}, "toobig"),
        ({"ggsbbox": "52.37008|4.8643|52.37|4.86443"}, "toobig"),
        ({"ggslimit": "many"}, "badinteger"),
        ({"colimit": "1.5"}, "badinteger"),
        ({"maxlag": "low"}, "badinteger"),
        ({"maxlag": -1}, "maxlag"),
        ({"action": "quer"}, "badvalue"),
        ({"generator": "allpages"}, "badvalue"),
        ({"ggsprimary": "first"}, "badvalue"),
        ({"formatversion": 3}, "badvalue"),
        ({"continue": "later"}, "badcontinue"),
        ({"continue": "||", "iicontinue": "here"}, "badcontinue"),
        ({"continue": "||", "cocontinue": "a|b"}, "badcontinue"),
        ({"generator": None, "pageids": "|".join(map(str, range(51)))}, "toomanyvalues"),
        ({"generator": None, "pageids": "one"}, "badinteger"),
    ],
)
def test_what_mediawiki_refuses_is_refused_with_its_code_and_status_200(
    client: httpx.Client, changed: dict[str, Any], code: str
):
    assert error_of(client, **changed) == code


def test_the_smallest_and_largest_boxes_are_taken(client: httpx.Client):
    assert "query" not in ask(client, ggsbbox="52.37010|4.8643|52.37|4.86445")
    assert "query" in ask(client, ggsbbox="52.45|4.75|52.29|5.0")


def test_lag_says_how_long_to_wait_and_is_none_with_patience(client: httpx.Client):
    response = client.get(API, params=EVERYTHING | {"maxlag": -1})
    assert response.headers["retry-after"] == "5"
    assert response.json()["error"]["lag"] > 0
    assert "query" in ask(client, maxlag=5)


def test_without_formatversion_2_the_form_is_the_old_one(client: httpx.Client):
    answer = ask(client, formatversion=None, prop=None)
    assert answer["batchcomplete"] == ""
    assert set(answer["query"]["pages"]) == {page_id(shot) for shot in SHOTS}


def test_without_json_there_is_a_web_page(client: httpx.Client):
    assert client.get(API, params=EVERYTHING | {"format": "xml"}).headers["content-type"].startswith("text/html")
    assert client.get(API).headers["content-type"].startswith("text/html")


def test_only_what_is_asked_for_is_there(client: httpx.Client):
    filtered = ask(client, iiextmetadatafilter="License|Artist", iiprop="extmetadata")
    infos = [page["imageinfo"][0] for page in filtered["query"]["pages"] if "imageinfo" in page]
    assert all(set(info) == {"extmetadata"} for info in infos)
    assert all(set(info["extmetadata"]) <= {"License", "Artist"} for info in infos)
    plain = ask(client, iiprop=None)["query"]["pages"]
    assert {key for page in plain for info in page.get("imageinfo", []) for key in info} == {"timestamp", "user"}
    assert "warnings" in ask(client, prop="coordinates|heading")


def test_pages_are_given_by_id_with_thumbnails_and_the_gone_are_named(client: httpx.Client, sandbox: Sandbox):
    ids = [page_id(shot) for shot in SHOTS]
    sandbox.vanished.add(ids[0])
    answer = ask(client, generator=None, prop="imageinfo", pageids="|".join(ids), iiprop="url", iiurlwidth=960)
    assert answer["batchcomplete"] is True
    pages = {str(page["pageid"]): page for page in answer["query"]["pages"]}
    assert pages[ids[0]] == {"pageid": int(ids[0]), "missing": True}
    info = pages[ids[1]]["imageinfo"][0]
    assert "/wikimedia_commons/wikipedia/commons/thumb/" in info["thumburl"]
    assert info["thumburl"].endswith(f"/960px-{db_key(SHOTS[1])}")
    small = next(shot for shot in SHOTS if shot.rank == 3)
    same = pages[page_id(small)]["imageinfo"][0]
    assert same["thumburl"] == same["url"]


def thumbnail(client: httpx.Client, width: int, rank: int = 1) -> httpx.Response:
    shot = next(shot for shot in SHOTS if shot.rank == rank)
    info = ask(client, generator=None, prop="imageinfo", pageids=page_id(shot), iiprop="url", iiurlwidth=width)
    return client.get(info["query"]["pages"][0]["imageinfo"][0]["thumburl"])


@pytest.mark.parametrize("width", [250, 330, 500, 960, 1280])
def test_the_media_server_has_the_standard_widths(client: httpx.Client, width: int):
    response = thumbnail(client, width)
    assert response.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(response.content)).size == (width, width * 3 // 4)


@pytest.mark.parametrize("width", [300, 640, 800, 1024, 2000])
def test_the_media_server_refuses_other_widths(client: httpx.Client, width: int):
    response = thumbnail(client, width)
    assert response.status_code == 400
    assert "thumbnail" in response.text


def test_small_files_are_served_as_they_are_and_never_enlarged(client: httpx.Client):
    response = thumbnail(client, 1280, rank=3)
    assert Image.open(BytesIO(response.content)).size == (960, 720)
    shot = next(shot for shot in SHOTS if shot.rank == 3)
    info = ask(client, generator=None, prop="imageinfo", pageids=page_id(shot), iiprop="url", iiurlwidth=500)
    url = info["query"]["pages"][0]["imageinfo"][0]["thumburl"]
    assert client.get(url).status_code == 200
    assert client.get(url.replace("/500px-", "/1280px-")).status_code == 400


def test_files_that_are_gone_or_in_another_folder_are_not_found(client: httpx.Client, sandbox: Sandbox):
    shot = SHOTS[0]
    assert client.get(f"/wikimedia_commons/wikipedia/commons/0/00/{db_key(shot)}").status_code == 404
    url = ask(client, generator=None, prop="imageinfo", pageids=page_id(shot), iiprop="url")["query"]["pages"][0]
    sandbox.vanished.add(page_id(shot))
    assert client.get(url["imageinfo"][0]["url"]).status_code == 404


@pytest.mark.parametrize("agent", ["", "-", "python-httpx/0.28.1", "curl/8.5", "Python/3.11 aiohttp/3.12"])
def test_clients_named_after_their_library_are_turned_away(client: httpx.Client, agent: str):
    for path in (API, "/wikimedia_commons/wikipedia/commons/0/00/X.jpg"):
        response = client.get(path, params=EVERYTHING, headers={"user-agent": agent})
        assert response.status_code == 403
        assert "robot policy" in response.text


def test_quirks_have_their_natural_form():
    world = World(
        tuple(
            shots(
                Drive(
                    **{**{name: getattr(SHOTS[0].drive, name) for name in ("source", "creator", "started_at")}},
                    name="quirks",
                    street=GRACHT,
                    from_m=0,
                    step_m=1,
                    count=9,
                    quirks=tuple(enumerate((None, *Quirk)[1:10], start=1)),
                )
            )
        )
    )
    sandbox = Sandbox(world, BASE_URL)
    with asgi_client(app_of(sandbox)) as client:
        client.headers.update(AGENT)
        first = ask(client)
        pages = {
            page["title"]: page
            for part in (first, ask(client, **first["continue"]))
            for page in part["query"]["pages"]
            if "imageinfo" in page
        }
        places = [page["coordinates"][0] for page in first["query"]["pages"]]
    named = {shot.quirk: pages.get(f"File:{db_key(shot).replace('_', ' ')}") for shot in world.shots}
    metadata = {quirk: page["imageinfo"][0]["extmetadata"] for quirk, page in named.items() if page}
    assert Quirk.HIDDEN not in metadata
    assert metadata[Quirk.JUNK_DATE]["DateTimeOriginal"]["value"].startswith("2098")
    assert "License" not in metadata[Quirk.NO_LICENSE]
    assert metadata[Quirk.NON_OPEN]["LicenseShortName"]["value"] == "GFDL"
    assert "DateTimeOriginal" not in metadata[Quirk.NO_DATE]
    assert "Unknown author" in metadata[Quirk.NO_CREATOR]["Artist"]["value"]
    assert [place["lat"] for place in places].count(0) == 1


def test_requests_are_counted_by_kind(client: httpx.Client, sandbox: Sandbox):
    ask(client)
    ask(client, generator=None, pageids="1")
    assert dict(sandbox.requests) == {"wikimedia_commons.geosearch": 1, "wikimedia_commons.pages": 1}
