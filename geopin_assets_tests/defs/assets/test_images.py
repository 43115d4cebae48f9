"""Images without a vector are counted by what is wrong with them, and shown."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from geopin_assets.cells import cell
from geopin_assets.defs.assets.images import images
from geopin_assets.embedding.plan import FAILURE_SCHEMA
from geopin_assets.embedding.protocol import FLAWS
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.platform import CELLS, Installation

HERE, _ = CELLS
NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    """Seven captures: five blurred, one black, one with a vector."""
    place, box = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"}), cell(HERE).bbox
    lon, lat = (box.west + box.east) / 2, (box.south + box.north) / 2
    crawl(place.storage.raw(), HERE, [capture(f"c{n}", lon=lon, lat=lat) for n in range(7)])
    place.storage.catalog().merge([HERE], place.storage.raw())
    rows = [(f"panoramax:c{n}", "panoramax", "1", "blurred", 1, NOW, None) for n in range(5)]
    rows.append(("panoramax:c5", "panoramax", "1", "black", 1, NOW, NOW))  # type: ignore[arg-type]
    place.storage.failures().write(HERE, pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row"))
    return place


def shown(place: Installation, instance: dg.DagsterInstance) -> dict[str, Any]:
    resources = {"storage": place.storage}
    ended = dg.materialize([images], instance=instance, resources=resources)
    (made,) = ended.asset_materializations_for_node(images.op.name)
    return {name: value.value for name, value in made.metadata.items()}


def test_images_are_counted_by_reason_and_a_few_of_each_flaw_shown(
    place: Installation, instance: dg.DagsterInstance
) -> None:
    told = shown(place, instance)
    assert (told["images_without_vector"], told["blurred_images"], told["dark_images"]) == (6, 5, 0)
    assert told["examples"].count("https://panoramax.example/#c") == 4
    assert "| blurred |" in told["examples"] and "black" not in told["examples"]
    assert set(told["thresholds"]) == {reason.value for reason in FLAWS}


def test_nothing_wrong_is_a_report_too(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    told = shown(Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"}), instance)
    assert (told["images_without_vector"], told["examples"]) == (0, "none")
