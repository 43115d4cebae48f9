"""One factory per record: what a test does not say has a plausible default."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from geopin_assets.capture import Capture
from geopin_assets.store.accounts import CrawlAccount
from geopin_assets.store.raw import RawStore

DAY_1, DAY_2, DAY_3 = (datetime(2026, 5, day, 3, tzinfo=UTC) for day in (4, 11, 18))


def capture(source_capture_id: str = "a1", **fields: Any) -> Capture:
    """A capture on the Dam in Amsterdam."""
    defaults: dict[str, Any] = {
        "source": "panoramax",
        "source_capture_id": source_capture_id,
        "lon": 4.893,
        "lat": 52.373,
        "captured_at": datetime(2024, 6, 1, 8, tzinfo=UTC),
        "heading_deg": 90.0,
        "is_pano": False,
        "sequence_id": "drive-1",
        "creator": "Anna",
        "license": "CC-BY-SA-4.0",
        "attribution": "Anna – Panoramax, CC-BY-SA-4.0",
        "page_url": f"https://panoramax.example/#{source_capture_id}",
        "image_url": f"https://panoramax.example/{source_capture_id}.jpg",
        "image_version": "1",
        "payload": "{}",
    }
    return Capture(**defaults | fields)


def crawl(
    raw: RawStore,
    cell_id: str,
    captures: Sequence[Capture],
    *,
    crawled_at: datetime = DAY_1,
    source: str = "panoramax",
    is_complete: bool = True,
    rejected: Mapping[str, int] | None = None,
) -> CrawlAccount:
    """Store a crawl of one cell."""
    return raw.write(
        captures,
        source=source,
        cell_id=cell_id,
        crawled_at=crawled_at,
        requests=1,
        splits=0,
        duplicates=0,
        rejected=rejected or {},
        is_complete=is_complete,
        duration_s=0.5,
    )
