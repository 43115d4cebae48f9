"""A new source over Amsterdam, in a browser on a real webserver: search, backfill, a failure, a repair, the map."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.assets.coverage import coverage
from geopin_assets.defs.graph import CATALOG
from geopin_assets.defs.running.local_run import crawl_source, layer
from geopin_assets_tests.ui.browser import browser_page, needs_chromium
from geopin_assets_tests.ui.city import CELLS as CITY
from geopin_assets_tests.ui.city import break_cell, repair, served
from geopin_assets_tests.ui.live_dagster import LiveDagster, instance_at, live_dagster, prepare_home
from geopin_assets_tests.ui.pages import backfill_by_search, materialize, reexecute_from_failure, shown_map, verdict

WORDS = "nh-amsterdam-r091"
CELLS = [cell_id for cell_id in CITY if cell_id.startswith(WORDS)]
BROKEN = CELLS[5]
THERE_BEFORE = {"kartaview": CELLS[4:], "amsterdam": CELLS}
NEW = "panoramax"

pytestmark = [needs_chromium, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Story:
    dagster: LiveDagster
    sandbox_port: int
    variables: dict[str, str]

    def merge(self) -> None:
        """What the sensor `follow_raw` does some minutes later. In a thread: the browser's loop runs in this one."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(merge_in, self.dagster.home, self.variables).result()


def merge_in(home: Path, variables: dict[str, str]) -> None:
    with instance_at(home) as instance:
        merge(instance, variables)


def merge(instance: dg.DagsterInstance, variables: dict[str, str]) -> None:
    job = build_definitions(overrides=variables).resolve_implicit_global_asset_job_def()
    assert layer(job, instance, CATALOG, CELLS).cells == len(CELLS)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Two sources are there, one of them not in four cells; a third is new."""
    folder = tmp_path_factory.mktemp("story")
    home = prepare_home(folder / "home")
    with served(THERE_BEFORE | {NEW: CELLS}) as port:
        variables = {
            "GEOPIN_PROFILE": "sandbox",
            "GEOPIN_SANDBOX_PORT": str(port),
            "GEOPIN_DATA": str(folder / "data"),
            "GEOPIN_COVERAGE_CAPTURES_PER_1000": "0.01",  # the city has one capture per source and cell
        }
        with instance_at(home) as instance:
            job = build_definitions(overrides=variables).resolve_implicit_global_asset_job_def()
            for source in THERE_BEFORE:
                assert crawl_source(job, instance, CELLS, source).cells == len(CELLS)
            merge(instance, variables)
            assert job.execute_in_process(instance=instance, asset_selection=[coverage.key]).success
        with live_dagster(home, variables) as dagster:
            dagster.stop_sensors()
            yield Story(dagster, port, variables)


def test_a_new_source_is_backfilled_repaired_and_seen_on_the_map(story: Story, tmp_path: Path) -> None:
    dagster = story.dagster
    with browser_page(tmp_path) as page:
        assert verdict(page, dagster, "quality/coverage", "coverage_gaps") == "Failed"
        map_before = shown_map(page, dagster)

        break_cell(story.sandbox_port, NEW, BROKEN)
        found, backfill_id = backfill_by_search(page, dagster, f"raw/{NEW}", WORDS)
        assert found == f"Select all ({len(CELLS)})"
        first = dagster.await_backfill(backfill_id)
        assert first["status"] == "COMPLETED_FAILED"
        assert counts(first) == (len(CELLS), len(CELLS) - 1, 1)

        repair(story.sandbox_port)
        second = dagster.await_backfill(reexecute_from_failure(page, dagster, backfill_id))
        assert second["partitionNames"] == [BROKEN]
        assert second["status"] == "COMPLETED_SUCCESS"
        assert counts(second) == (1, 1, 0)

        story.merge()
        run_before = dagster.latest_run("quality/coverage")
        materialize(page, dagster, "quality/coverage")
        dagster.await_another_run("quality/coverage", run_before)
        assert verdict(page, dagster, "quality/coverage", "coverage_gaps") == "Passed"
        assert shown_map(page, dagster) != map_before


def counts(backfill: dict[str, Any]) -> tuple[int, int, int]:
    """Cells targeted, materialized, failed."""
    (of_asset,) = backfill["assetBackfillData"]["assetBackfillStatuses"]
    names = ("numPartitionsTargeted", "numPartitionsMaterialized", "numPartitionsFailed")
    targeted, materialized, failed = (of_asset[name] for name in names)
    return targeted, materialized, failed
