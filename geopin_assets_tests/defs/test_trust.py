"""What other sources say against a capture stands in its row, wherever that is, and goes when they no longer say it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from geopin_assets.cells import cell
from geopin_assets.index.stores import SearchedStore
from geopin_assets.locate.outliers import SCHEMA, keep
from geopin_assets.platform.publishing import Publisher
from geopin_assets.platform.trust import publish_trust
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.platform import CELLS, Installation

HERE, THERE = CELLS


@pytest.fixture(params=["1", "2"], ids=["one database", "two databases"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Installation:
    place = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox", "GEOPIN_D1_SHARDS": request.param})
    for cell_id in CELLS:
        box = cell(cell_id).bbox
        lon, lat = (box.west + box.east) / 2, (box.south + box.north) / 2
        found = [capture(f"{name}{cell_id[-1]}", lon=lon, lat=lat) for name in "abc"]
        crawl(place.storage.raw(), cell_id, found)
    place.storage.catalog().merge(CELLS, place.storage.raw())
    assert publish(place) == 6
    return place


def publish(place: Installation) -> int:
    publisher = Publisher.begin(place.storage, place.search_index, place.embedding.model())
    return sum(report.upserted for report in publisher.rows(CELLS))


def told(place: Installation) -> dict[str, float]:
    rows = SearchedStore(place.search_index.metadata()).query("SELECT capture_id, trust FROM captures WHERE trust < 2")
    return dict(rows.iter_rows())


def tell(place: Installation) -> int:
    return publish_trust(place.storage, place.search_index, place.embedding.model())


def doubt(place: Installation, asked: list[str] | None = None, **trust: float) -> None:
    row: dict[str, Any] = dict.fromkeys(SCHEMA) | {"reason": "moved", "at": datetime(2026, 11, 29, tzinfo=UTC)}
    rows = [row | {"capture_id": f"panoramax:{name}", "trust": value} for name, value in trust.items()]
    place.storage.quality_dir().mkdir(parents=True, exist_ok=True)
    keep(place.storage.quality_dir(), pl.DataFrame(rows, schema=SCHEMA), asked or [r["capture_id"] for r in rows])


def test_rows_say_what_is_doubted_and_only_those_are_written(place: Installation) -> None:
    assert (tell(place), told(place)) == (0, {})
    doubt(place, a1=0.123456, b2=0.5, gone=0.1)
    assert tell(place) == 2
    assert told(place) == {"panoramax:a1": 0.123, "panoramax:b2": 0.5}
    assert tell(place) == 0 and publish(place) == 0


def test_what_is_believed_again_says_so(place: Installation) -> None:
    doubt(place, a1=0.2, b2=0.5)
    tell(place)
    doubt(place, asked=["panoramax:a1"])
    doubt(place, b2=0.4)
    assert tell(place) == 2
    assert told(place) == {"panoramax:b2": 0.4}


def test_a_list_that_was_changed_before_a_kill_is_told_by_whoever_publishes_next(place: Installation) -> None:
    doubt(place, a1=0.2)
    assert publish(place) == 1
    assert (told(place), tell(place)) == ({"panoramax:a1": 0.2}, 0)
