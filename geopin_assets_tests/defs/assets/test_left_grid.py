"""Cells that left the grid after it was changed: what is stored of them stays, is said, and stops nothing."""

import dagster as dg
import pytest

from geopin_assets.cells import cell, cell_block, cell_ids, left_grid, stored_facts
from geopin_assets.defs.automation.refresh import stored_crawls
from geopin_assets.errors import ConfigurationError
from geopin_assets_tests.factories import DAY_1, capture, crawl
from geopin_assets_tests.platform import Ran

LEFT, LEFT_AT_SEA, FAILED = "nh-oldtown-r090c051", "sea-r151c131-r151c131", "nh-older-r091c051"


def test_reports_and_sensors_go_on_and_say_what_is_outside(ran: Ran) -> None:
    platform, instance = ran.platform, ran.instance
    raw = platform.storage.raw()
    crawl(raw, LEFT, [capture("left1"), capture("left2")])
    crawl(raw, LEFT_AT_SEA, [])
    raw.note_failure("panoramax", FAILED, "answered 500", now=DAY_1)
    platform.storage.catalog().merge([LEFT, LEFT_AT_SEA], raw)
    layers = platform.run(instance)
    assert not any(layer.failed for layer in layers.values())
    assert platform.captures()["panoramax"] == 12 + 2
    newest = instance.get_latest_materialization_event(dg.AssetKey(["quality", "freshness"]))
    assert newest and newest.asset_materialization
    said = newest.asset_materialization.metadata
    assert said["cells_outside_the_grid"].text.startswith("1, whose captures stay published")  # type: ignore[attr-defined]
    assert LEFT in str(said["cells_outside_the_grid"].value)
    assert (said["stale_cells"].value, said["panoramax_failed_cells"].value) == (0, 0)
    assert stored_crawls(raw, "panoramax").empty == {LEFT_AT_SEA}


def test_a_cell_of_the_grid_has_its_facts_and_one_that_left_those_of_its_id() -> None:
    inside = cell_ids()[100]
    assert stored_facts(inside).cell == cell(inside)
    left = stored_facts(LEFT)
    assert (left.row, left.column, left.is_land, left.population, left.place) == (90, 51, False, 0, "oldtown")
    assert left.cell.bbox == next(cell(id_).bbox for id_ in cell_ids() if id_.endswith("r090c051"))
    assert cell_block(LEFT) == "r09c05"
    assert left_grid([inside, LEFT]) == [LEFT]
    with pytest.raises(ConfigurationError, match="no such cell"):
        stored_facts("nonsense")
