"""The page of doubtful captures shows both pictures, and nothing that a stranger wrote becomes markup."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import polars as pl

from geopin_assets.locate.location import Location
from geopin_assets.locate.outliers import SCHEMA
from geopin_assets.locate.outliers_page import page
from geopin_assets.locate.report import report
from geopin_assets_tests.ui.browser import browser_page, needs_chromium

ROW = {
    "capture_id": "flickr:<script>alert(1)</script>", "reason": "moved", "trust": 0.25, "source": "flickr",
    "lon": 4.9, "lat": 52.3, "heading_deg": None, "says": "panoramax:1", "said_lon": 4.8, "said_lat": 52.3,
    "said_heading_deg": 90.0, "off_m": 200.4, "off_deg": None, "witnesses": 2,
    "page_url": "javascript:alert(1)", "says_page_url": "https://example.org/?a=1&b=\"2",
    "thumbnail_url": "https://example.org/a.jpg?<x>", "says_thumbnail_url": None,
    "attribution": "© <b>Jan</b>, CC BY 4.0", "says_attribution": "Panoramax / x, etalab-2.0",
    "at": datetime(2026, 11, 29, tzinfo=UTC),
}  # fmt: skip


class Seen(HTMLParser):
    """Tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_what_strangers_wrote_stays_text_and_only_web_addresses_are_followed() -> None:
    text, seen = page(pl.DataFrame([ROW], schema=SCHEMA)), Seen()
    seen.feed(text)
    assert [about["src"] for tag, about in seen.tags if tag == "img"] == ["https://example.org/a.jpg?<x>"]
    assert [about["href"] for tag, about in seen.tags if tag == "a"] == [ROW["says_page_url"]]
    assert not [tag for tag, _ in seen.tags if tag == "script"]
    assert text.index("© &lt;b&gt;Jan&lt;/b&gt;, CC BY 4.0") < text.index("Panoramax / x, etalab-2.0")
    assert "moved: 200 m apart; 2 independent sources; trust 25%" in text


def test_without_doubts_the_page_says_so() -> None:
    assert "None yet." in page(pl.DataFrame(schema=SCHEMA))


@needs_chromium
def test_both_pages_are_whole_on_a_telephone(tmp_path: Path) -> None:
    """Nothing is wider than the window, whatever strangers call their photos, and each picture says whose it is."""
    long = "x" * 300
    row = ROW | {"capture_id": f"flickr:{long}", "attribution": f"© {long}", "reason": "unlike", "witnesses": 1}
    (tmp_path / "outliers.html").write_text(page(pl.DataFrame([ROW, row], schema=SCHEMA)), encoding="utf-8")
    nothing = Location("not_covered", None, None, None, None, None, None, [long], [], [], long, long, [long])
    text = report([(long, "", nothing)], {}, datetime(2026, 11, 29, tzinfo=UTC))
    (tmp_path / "out.html").write_text(text, encoding="utf-8")
    with browser_page(tmp_path) as browser:
        browser.set_viewport_size({"width": 390, "height": 844})
        for name in ("outliers.html", "out.html"):
            browser.set_content((tmp_path / name).read_text(encoding="utf-8"))
            width = browser.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, (name, width)
            browser.screenshot(path=tmp_path / f"{name}.png")
            if name == "outliers.html":
                assert browser.locator("figcaption").count() == 4
                assert "not what 1 independent source shows there" in browser.inner_text("body")
