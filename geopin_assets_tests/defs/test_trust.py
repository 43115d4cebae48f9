"""What other sources say against captures is told to every database, and goes when they no longer say it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from geopin_assets.cells import cell
from geopin_assets.defs.assets.retrieval import outliers
from geopin_assets.locate.outliers import FILE as DOUBTED
from geopin_assets.locate.outliers import SCHEMA, keep
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.platform import CELLS, Installation

HERE, _ = CELLS


@pytest.fixture(params=["1", "2"], ids=["one database", "two databases"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Installation:
    place = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox", "GEOPIN_D1_SHARDS": request.param})
    box = cell(HERE).bbox
    lon, lat = (box.west + box.east) / 2, (box.south + box.north) / 2
    crawl(place.storage.raw(), HERE, [capture(name, lon=lon, lat=lat) for name in "abc"])
    place.storage.catalog().merge([HERE], place.storage.raw())
    return place


def told(place: Installation) -> dict[str, float]:
    """The same in every database."""
    said = [
        dict(store.query("SELECT capture_id, trust FROM doubts").iter_rows())
        for store in place.search_index.metadata().parts
    ]
    assert all(each == said[0] for each in said)
    return said[0]


def tell(place: Installation, instance: dg.DagsterInstance) -> int:
    resources = {"storage": place.storage, "search_index": place.search_index}
    ended = dg.materialize([outliers], instance=instance, resources=resources)
    (made,) = ended.asset_materializations_for_node(outliers.op.name)
    changed = made.metadata["rows_changed"].value
    return int(changed) // len(place.search_index.metadata().parts)  # type: ignore[arg-type, call-overload]


def doubt(place: Installation, asked: list[str] | None = None, **trust: float) -> None:
    row: dict[str, Any] = dict.fromkeys(SCHEMA)
    row |= {
        "reason": "moved",
        "off_m": 200.0,
        "says": "kartaview:z",
        "witnesses": 1,
        "page_url": "p",
        "says_page_url": "q",
        "at": datetime(2026, 11, 29, tzinfo=UTC),
    }
    rows = [row | {"capture_id": f"panoramax:{name}", "trust": value} for name, value in trust.items()]
    with place.storage.quality().as_folder(DOUBTED) as folder:
        keep(folder, pl.DataFrame(rows, schema=SCHEMA), asked or [r["capture_id"] for r in rows])


def test_every_database_knows_what_is_doubted_now_and_nothing_is_written_twice(
    place: Installation, instance: dg.DagsterInstance
) -> None:
    assert (tell(place, instance), told(place)) == (0, {})
    doubt(place, a=0.123456, b=0.5, gone=0.1)
    assert (tell(place, instance), told(place)) == (2, {"panoramax:a": 0.123, "panoramax:b": 0.5})
    assert tell(place, instance) == 0
    doubt(place, asked=["panoramax:a"])
    doubt(place, b=0.4)
    assert (tell(place, instance), told(place)) == (2, {"panoramax:b": 0.4})
