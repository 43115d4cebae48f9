"""The page of doubtful captures shows both pictures, and nothing that a stranger wrote becomes markup."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import polars as pl

from geopin_assets.locate.outliers import SCHEMA
from geopin_assets.locate.outliers_page import page

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
