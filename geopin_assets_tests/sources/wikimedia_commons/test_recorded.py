"""Bodies that Commons really sent (formatversion 1, other properties); skipped where they are not at hand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.sources.wikimedia_commons.answers import Pages, parse_answer
from geopin_assets.sources.wikimedia_commons.read import parse_page
from geopin_assets.sources.wikimedia_commons.text import plain

RECORDED = Path(__file__).parents[4] / "shared" / "fixtures" / "recorded" / "openverse_wikimedia"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
CELL = Bbox(4.8936, 52.37, 4.9229, 52.388)

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded bodies are not beside this checkout")


def body(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text("utf-8"))


def modern(name: str) -> dict[str, Any]:
    """A recorded answer in the form of formatversion 2."""
    answer = body(f"continuation/{name}")
    answer["query"]["pages"] = list(answer["query"]["pages"].values())
    if "batchcomplete" in answer:
        answer["batchcomplete"] = True
    return answer


def placed(page: dict[str, Any]) -> dict[str, Any]:
    """A recorded page with what the recording left out: a position, a format, a thumbnail."""
    info = {"mime": "image/jpeg", "thumburl": "https://upload.wikimedia.org/x.jpg", **page["imageinfo"][0]}
    return page | {"coordinates": [{"lat": 52.38, "lon": 4.9, "primary": True}], "imageinfo": [info]}


def photos() -> dict[str, Capture | Rejected]:
    pages = [*modern("wmc_pretty4")["query"]["pages"], *modern("wmc_raw")["query"]["pages"]]
    return {page["title"]: parse_page(placed(page), CELL, NOW) for page in pages}


def test_three_recorded_parts_become_the_recorded_whole():
    pages, followed = Pages(), []
    for name in ("wmc_pretty1", "wmc_pretty2", "wmc_pretty3"):
        part = parse_answer(modern(name))
        pages.add(part.pages)
        followed.append(part.following)
    whole = {str(page["pageid"]): page for page in modern("wmc_pretty123")["query"]["pages"]}
    assert dict(pages) == whole
    assert followed[0] == {
        "continue": "||imageinfo",
        "gucontinue": "Edvard_Munch_-_Night_in_Nice_(1891).jpg|nowiki|1281339",
    }
    assert set(followed[2]) == {"continue", "gaicontinue"}


@pytest.mark.parametrize("id_", ["44672185", "44672210", "44672212"])
def test_a_recorded_page_without_and_one_with_image_info_are_one(id_: str):
    left, right = body(f"continuation/page_{id_}_left"), body(f"continuation/page_{id_}_right")
    pages = Pages()
    pages.add([right])
    pages.add([left])
    assert pages[id_]["imageinfo"] == left["imageinfo"]
    assert len(pages[id_].get("globalusage", [])) == sum(len(page.get("globalusage", [])) for page in (left, right))


@pytest.mark.parametrize(
    ("name", "author"),
    [
        ("string", "Artist Name"),
        ("link", "link text"),
        ("partial_link", "Jeff & Brian from Eastbourne"),
        ("internal_link", "NotaRealUser"),
        ("div", "Jona Lendering"),
    ],
)
def test_recorded_authors_become_plain(name: str, author: str):
    assert plain(body(f"image_info_artist_{name}")["extmetadata"]["Artist"]["value"]) == author


def test_a_recorded_file_is_understood():
    capture = parse_page(placed(body("image_data_example")), CELL, NOW)
    assert isinstance(capture, Capture)
    assert (capture.license, capture.creator) == ("CC-BY-SA-4.0", "PtrQs")
    assert capture.attribution == "Photo by PtrQs, CC-BY-SA-4.0, via Wikimedia Commons"
    assert capture.captured_at == datetime(2012, 9, 25, 14, 23, 2, tzinfo=UTC)


@pytest.mark.parametrize("name", ["image_info_missing_license_url", "image_info_html_description"])
def test_recorded_infos_with_gaps_never_raise(name: str):
    page = {"pageid": 1, "title": "File:A.jpg", "imageinfo": [body(name)]}
    assert isinstance(parse_page(placed(page), CELL, NOW), Capture | Rejected)


def test_houses_and_streets_stay_and_plates_of_books_specimens_and_maps_do_not():
    found = photos()
    streets = {title for title, result in found.items() if isinstance(result, Capture)}
    others = {
        title
        for title, result in found.items()
        if isinstance(result, Rejected) and result.reason == Reason.NOT_STREET_LEVEL
    }
    assert sum("Niedercunnersdorf" in title for title in streets) == 14
    assert any("fingerpost" in title for title in streets)
    assert {title.split(" ")[0] for title in streets} == {
        *("File:2002-04-02", "File:TorreFerrer.jpg"),
        *("File:Black", "File:Bukomo.jpg", "File:Kurgan", "File:Lancelot", "File:Niedercunnersdorf"),
        *("File:Rallye", "File:Zoo"),
    }
    assert sum("Naturalis" in title for title in others) == 11
    assert sum("Kart over" in title for title in others) == 4
    assert not any("Niedercunnersdorf" in title for title in others)


def test_recorded_licenses_are_told_apart():
    found = photos()
    assert {result.license for result in found.values() if isinstance(result, Capture)} >= {"CC-BY-SA-4.0", "CC-BY-4.0"}
    german, spanish = found["File:2002-04-02 Hauptstraße, Heidelberg IMG 0404.jpg"], found["File:TorreFerrer.jpg"]
    assert isinstance(german, Capture) and german.license == "CC-BY-SA-3.0-DE"
    assert isinstance(spanish, Capture) and spanish.license == "CC-BY-SA-3.0-ES"
