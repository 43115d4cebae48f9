"""The two maps: a small readable PNG, and a page that needs nothing and trusts nothing."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geopin_assets.cells import cell_facts
from geopin_assets.quality.coverage import Expectations, GapReason, find_gaps
from geopin_assets.quality.map_html import page_data, render_html
from geopin_assets.quality.map_png import render_png
from geopin_assets.quality.pages import script_json
from geopin_assets.quality.wanted import NOTHING_ASKED, wanted
from geopin_assets.regions import region
from geopin_assets_tests.quality.factories import (
    CAPTURES,
    CITY,
    CRAWLED,
    FARM,
    NOW,
    captures,
    coverage_by_cell,
    crawled,
)
from geopin_assets_tests.ui.browser import browser_page, needs_chromium

Frames = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def frames(found: pl.DataFrame, looked: pl.DataFrame) -> Frames:
    coverage = coverage_by_cell(found)
    return coverage, find_gaps(coverage, looked, Expectations(now=NOW)), looked


def crawl_of(spec: str) -> Frames:
    """Every cell of a region crawled; something found in two of three."""
    ids = region(spec)
    looked = pl.concat([crawled("panoramax", "kartaview", cell_id=id_) for id_ in ids])
    found = pl.concat([captures(cell_id=id_, count=1 + i % 50) for i, id_ in enumerate(ids) if i % 3])
    return frames(found, looked)


def picture(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png)).convert("RGB")


def share_near(image: Image.Image, color: tuple[int, int, int]) -> float:
    pixels = image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata()
    near = [max(abs(a - b) for a, b in zip(pixel, color, strict=True)) < 24 for pixel in pixels]
    return sum(near) / len(near)


def test_a_crawled_city_gets_a_wide_picture_with_its_gaps_in_orange() -> None:
    png = render_png(*crawl_of("amsterdam"))
    image = picture(png)
    assert image.width > image.height and len(png) < 300_000
    assert share_near(image, (0xE8, 0x59, 0x0C)) > 0.005


def test_a_crawled_country_gets_one_tall_panel_under_300_kb() -> None:
    ids = region("land")
    looked = pl.DataFrame({"source": "panoramax", "cell_id": ids, "is_complete": True})
    found = pl.DataFrame(
        {
            "cell_id": ids[::2],
            "source": "panoramax",
            "captured_at": NOW,
            "heading_deg": 1.0,
            "is_pano": False,
        }
    ).cast(CAPTURES)  # type: ignore[arg-type]
    png = render_png(*frames(found, looked))
    image = picture(png)
    assert image.height > image.width and len(png) < 300_000
    assert share_near(image, (0xE8, 0x59, 0x0C)) > 0.05


def test_nothing_crawled_is_a_map_of_the_country_without_gaps() -> None:
    image = picture(render_png(*frames(pl.DataFrame(schema=CAPTURES), pl.DataFrame(schema=CRAWLED))))
    assert share_near(image, (0xE8, 0x59, 0x0C)) < 0.002


def test_the_second_panel_shows_the_region_asked_for() -> None:
    given_frames = crawl_of("leiden")
    assert render_png(*given_frames) != render_png(*given_frames, region=region("zh"))


def test_the_same_coverage_gives_the_same_picture() -> None:
    given_frames = crawl_of("diemen")
    assert render_png(*given_frames) == render_png(*given_frames)


class Page(HTMLParser):
    """Which elements a browser would see, and the text of the embedded data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][1].get("id") == "data":
            self.data += data


def test_the_page_embeds_the_counts_and_reasons_of_every_crawled_cell() -> None:
    coverage, gaps, looked = frames(captures(count=7), crawled("panoramax", "kartaview"))
    data = json.loads(Page(render_html(coverage, gaps, looked, now=NOW)).data)
    assert data["sources"] == ["kartaview", "panoramax"] and data["date"] == "2026-06-01"
    [[cell_id, place, is_land, population, looked_by, found, short]] = data["cells"]
    assert (cell_id, place, is_land, population) == (CITY, "Amsterdam", 1, cell_facts(CITY).population)
    assert looked_by == [0, 1] and found == [[1, 7, 0, "2026-05-22", 1]]
    assert [data["reasons"][reason] for reason, _ in short] == [
        GapReason.SINGLE_SOURCE,
        GapReason.TOO_FEW_FOR_POPULATION,
    ]
    assert data["notCrawled"] == 9_599
    assert data["provinces"][-1] == ["Total", 9_600, 1, 1, 7, "2026-05-22", 1, cell_facts(CITY).population]


def test_the_page_runs_its_own_script_only_which_asks_for_layers_beside_it_and_nothing_else() -> None:
    html = render_html(*crawl_of("diemen"), now=NOW)
    tags = Page(html).tags
    assert not [tag for tag, attrs in tags if {"src", "href", "action", "data-src"} & attrs.keys()]
    reader = files("geopin_assets.quality").joinpath("vendor/pmtiles.js").read_text(encoding="utf-8")
    assert reader in html and "XMLHttpRequest" not in reader and "WebSocket" not in reader
    ours = html.replace(reader, "")
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", ours)
    [policy] = [attrs["content"] for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    [script] = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    hashed = b64encode(sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'; connect-src 'self'"
    )


def test_the_page_never_turns_text_into_markup() -> None:
    html = render_html(*crawl_of("diemen"), now=NOW)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", html)


@pytest.mark.parametrize(
    "name", ["</script><img src=x onerror=alert(1)>", "<!--<script>", "{{DATA}}", "a\u2028b&\\u003c"]
)
def test_hostile_text_stays_text(name: str) -> None:
    plain = render_html(*frames(captures(), crawled("panoramax")), now=NOW)
    hostile = render_html(*frames(captures(source=name), crawled(name)), now=NOW)
    assert [tag for tag, _ in Page(hostile).tags] == [tag for tag, _ in Page(plain).tags]
    assert json.loads(Page(hostile).data)["sources"] == [name]


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_embedded_json_round_trips_without_a_character_that_could_end_it(value: object) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_both_sources_of_map_data_are_credited_in_the_page() -> None:
    data = page_data(*frames(captures(cell_id=FARM), crawled("panoramax", cell_id=FARM)), now=NOW)
    assert any("OpenStreetMap" in text for text in data["attribution"])
    assert any("GeoNames" in text for text in data["attribution"])


@needs_chromium
def test_the_page_says_where_imagery_would_help_most_and_where_to_add_it(tmp_path: Path) -> None:
    coverage, gaps, looked = crawl_of("amsterdam")
    ranked = wanted(coverage, looked, NOTHING_ASKED, Expectations(now=NOW))
    links = {
        "panoramax": "https://docs.panoramax.fr",
        "mapillary": "https://www.mapillary.com/contribute",
        "x": "javascript:alert(1)",
    }
    html = render_html(coverage, gaps, looked, now=NOW, wanted=ranked, contribute=links)
    with browser_page(tmp_path) as page:
        page.set_content(html)
        rows = page.locator("#wanted tr")
        assert rows.count() == 12
        assert ranked["cell_id"][0] in rows.first.inner_text() and "100 %" in rows.first.inner_text()
        assert page.locator("#contribute a").evaluate_all("links => links.map(link => link.href)") == [
            "https://docs.panoramax.fr/",
            "https://www.mapillary.com/contribute",
        ]
        rows.nth(1).locator("button").click()
        assert "No. 2 of where imagery would help most. Contribute here: panoramax" in page.inner_text("#details")
        assert page.locator("#details div a").first.get_attribute("rel") == "noopener noreferrer"
