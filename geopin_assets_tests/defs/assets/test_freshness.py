"""quality/freshness: stale cells that Dagster takes for fresh, a source that is down, and one that lost too much."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from geopin_assets.defs.assets.freshness import crawled_cells, down_check
from geopin_assets.defs.assets.publish_guard import losses
from geopin_assets.defs.dagster_internals import asset_freshness
from geopin_assets.defs.running.local_run import LayerResult, crawl_source, layer, run_below_raw
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.instances import new_instance
from geopin_assets_tests.platform import CELLS, Installation, Platform, Ran

HERE, THERE = CELLS
SEA = "sea-delta-r033c015"
NOW = datetime.now(UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})


def run(place: Installation, instance: dg.DagsterInstance, asset: str, *cells: str) -> LayerResult:
    job = place.definitions.resolve_implicit_global_asset_job_def()
    return layer(job, instance, asset, cells)


def report(place: Installation, instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks of quality/freshness, made now."""
    job = place.definitions.resolve_implicit_global_asset_job_def()
    ended = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["quality", "freshness"])], raise_on_error=False
    )
    return {check.check_name: check for check in ended.get_asset_check_evaluations()}


def test_a_stale_cell_that_dagster_takes_for_fresh_is_found_and_named(
    place: Installation, instance: dg.DagsterInstance
) -> None:
    for cell_id, days in ((HERE, 12.5), (THERE, 0.1)):
        crawl(place.storage.raw(), cell_id, [capture()], crawled_at=days_ago(days))
        instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "panoramax"], partition=cell_id))
    assert asset_freshness(instance, place.definitions, dg.AssetKey(["raw", "panoramax"])) == "PASS"
    stale = report(place, instance)["stale_cells"]
    assert (stale.passed, stale.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert stale.description == f"1 cells are older than allowed: panoramax 1 of 2, oldest 12.5 days ({HERE})"
    assert stale.metadata["stale_cells"].value == 1
    assert stale.metadata["oldest_days"].value == pytest.approx(12.5, abs=0.01)

    crawl(place.storage.raw(), HERE, [capture()], crawled_at=NOW)
    assert report(place, instance)["stale_cells"].passed


def age(place: Installation) -> str:
    """Of the only cell that was crawled."""
    (age,) = crawled_cells(place.storage, place.storage.catalog().counts_by_source(), now=NOW)["age"]
    return str(age)


@pytest.mark.parametrize(
    ("cell_id", "found", "days", "expected"),
    [
        *((SEA, 0, 28, "fresh"), (SEA, 0, 29, "due"), (SEA, 0, 35, "due"), (SEA, 0, 36, "overdue")),
        *((SEA, 1, 7, "fresh"), (SEA, 1, 8, "due"), (SEA, 1, 10, "overdue"), (HERE, 0, 10, "overdue")),
    ],
)
def test_only_cells_without_land_where_nothing_was_found_may_be_older(
    cell_id: str, found: int, days: int, expected: str, place: Installation
) -> None:
    crawl(place.storage.raw(), cell_id, [capture()][:found], crawled_at=days_ago(days))
    assert age(place) == expected


def test_a_crawl_that_brought_nothing_new_still_makes_its_cell_fresh(place: Installation) -> None:
    """The catalog is not merged then, and its own account of crawls stays old."""
    show(place, 1, days=12)
    assert age(place) == "overdue"
    crawl(place.storage.raw(), HERE, [capture("000")], crawled_at=NOW)
    assert age(place) == "fresh"


def published(platform: Platform) -> tuple[set[str], set[str]]:
    """Captures of Panoramax with a row, and those with a vector, asked of the stores themselves."""
    rows = platform.rows.query("SELECT capture_id FROM captures WHERE source = 'panoramax'")["capture_id"]
    return set(rows), {vector_id for vector_id in platform.index.ids() if vector_id.startswith("panoramax:")}


def refresh(platform: Platform, instance: dg.DagsterInstance) -> dict[str, set[str]]:
    """Crawl two sources and do what follows: the cells that failed, by asset."""
    job = platform.definitions.resolve_implicit_global_asset_job_def()
    crawls = [crawl_source(job, instance, CELLS, name) for name in ("panoramax", "amsterdam")]
    return {done.asset: set(done.failed) for done in (*crawls, *run_below_raw(job, instance, CELLS)) if done.failed}


def test_a_source_down_during_a_refresh_keeps_what_it_showed_and_holds_back_nobody(ran: Ran) -> None:
    platform, instance = ran.platform, ran.instance
    assert all(check.passed for check in report(platform, instance).values())
    before = published(platform)
    assert len(before[0]) == 12
    gone = platform.storage.catalog().captures(CELLS).filter(source="amsterdam")["source_capture_id"][0]

    platform.tell_sandbox("POST", {"source": "panoramax", "kind": "html"})  # "Maintenance", and no retries
    platform.tell_sandbox("POST", {"vanish": [gone]})
    assert refresh(platform, instance) == {"raw/panoramax": set(CELLS)}
    assert published(platform) == before, "what the source last showed stays"
    assert platform.captures() == {"panoramax": 12, "amsterdam": 8}, "the others are up to date"

    checks = report(platform, instance)
    assert {name for name, check in checks.items() if not check.passed} == {"source_down"}
    text = str(checks["source_down"].description)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert f"panoramax is down since {today}" in text and "2 cells with 12 captures rest on data of" in text
    assert "amsterdam 1; 1 without another" in text and "PayloadError" in text
    assert checks["source_down"].severity is dg.AssetCheckSeverity.WARN
    named = [record.data for record in checks["source_down"].metadata["cells"].records]  # type: ignore[union-attr]
    assert [(row["source"], row["cell_id"], row["data_from"][:10]) for row in named] == [
        ("panoramax", cell_id, today) for cell_id in CELLS
    ]
    notes = platform.storage.raw().failures()
    assert notes["attempts"].to_list() == [1, 1]

    platform.tell_sandbox("DELETE")
    assert refresh(platform, instance) == {}
    assert all(check.passed for check in report(platform, instance).values())
    assert platform.storage.raw().failures().is_empty()


def test_a_few_failed_cells_are_told_although_their_source_is_not_down() -> None:
    check = down_check([], pl.DataFrame({"source": ["amsterdam", "panoramax"], "failed_cells": [3, 0]}))
    assert check.passed
    assert check.description == "no source is down; at the last try failed: amsterdam 3 cells"


def test_a_source_that_is_switched_off_grows_old_but_is_not_called_down(
    place: Installation, instance: dg.DagsterInstance
) -> None:
    place.set(GEOPIN_PROFILE="live", GEOPIN_CONTACT="me@example.org")
    crawl(place.storage.raw(), HERE, [capture(source="stac")], source="stac", crawled_at=days_ago(10))
    place.storage.raw().note_failure("stac", HERE, "PermanentError: 401", now=days_ago(9))
    checks = report(place, instance)
    assert checks["source_down"].passed
    assert str(checks["stale_cells"].description).partition(", switched off: ")[2].count("GEOPIN_STAC_URLS") == 1


@pytest.fixture(scope="module")
def lossy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 captures published, of which the next crawl shows 200. Without vectors: rows tell the same."""
    folder = tmp_path_factory.mktemp("lossy")
    place = Installation(folder, {"GEOPIN_PROFILE": "sandbox"})
    show(place, 300, days=0.2)
    with new_instance() as instance:
        assert run(place, instance, "publish/d1", HERE).failed_count == 0
    show(place, 200, days=0.1)
    return folder


@pytest.fixture
def lossy(lossy_data: Path, tmp_path: Path) -> Installation:
    shutil.copytree(lossy_data, tmp_path / "lossy")
    return Installation(tmp_path / "lossy", {"GEOPIN_PROFILE": "sandbox"})


def show(place: Installation, count: int, *, days: float) -> None:
    crawl(place.storage.raw(), HERE, [capture(f"{n:03}") for n in range(count)], crawled_at=days_ago(days))
    place.storage.catalog().merge([HERE], place.storage.raw())


def rows(place: Installation) -> int:
    return place.rows.count("captures")


@pytest.mark.parametrize(("asset", "cells"), [("publish/d1", (HERE,)), ("publish/vectorize", CELLS)])
def test_nothing_is_published_after_a_source_lost_a_third(
    asset: str, cells: tuple[str, ...], lossy: Installation, instance: dg.DagsterInstance
) -> None:
    refused = run(lossy, instance, asset, *cells)
    assert (refused.cells, refused.failed_count, rows(lossy)) == (0, len(cells), 300)
    (text,) = refused.failed.values()
    assert "panoramax lost 100 of 300 captures (33%) since" in text
    assert "GEOPIN_MAX_SOURCE_LOSS" in text


def test_a_loss_that_is_right_is_published_when_it_is_allowed(
    lossy: Installation, instance: dg.DagsterInstance
) -> None:
    lossy.set(GEOPIN_MAX_SOURCE_LOSS="0.4")
    assert run(lossy, instance, "publish/d1", HERE).failed_count == 0
    assert rows(lossy) == 200


def test_the_check_of_losses_fails_with_the_guard_and_passes_when_they_are_allowed(
    lossy: Installation, instance: dg.DagsterInstance
) -> None:
    lost = report(lossy, instance)["source_lost"]
    assert (lost.passed, lost.severity, lost.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert str(lost.description).startswith("panoramax lost 100 of 300 captures (33%) since ")
    event = instance.get_latest_materialization_event(dg.AssetKey(["quality", "freshness"]))
    assert event is not None, "the report is there all the same"

    lossy.set(GEOPIN_MAX_SOURCE_LOSS="1")
    assert report(lossy, instance)["source_lost"].passed


def test_what_comes_back_is_published_without_anybody_allowing_it(
    lossy: Installation, instance: dg.DagsterInstance
) -> None:
    show(lossy, 300, days=0)
    assert run(lossy, instance, "publish/d1", HERE).failed_count == 0
    assert rows(lossy) == 300


def test_what_was_taken_down_is_no_loss(lossy: Installation, instance: dg.DagsterInstance) -> None:
    gone = [f"panoramax:{n:03}" for n in range(200, 300)]
    lossy.storage.takedowns().take_down(gone, note="asked for", now=NOW)
    lossy.storage.catalog().apply_takedowns()
    assert run(lossy, instance, "publish/d1", HERE).failed_count == 0
    assert rows(lossy) == 200


def test_a_loss_that_was_held_back_for_longer_than_a_week_is_still_held_back(
    lossy: Installation, instance: dg.DagsterInstance
) -> None:
    """The index was last written before the loss, however long ago that is."""
    in_a_month = datetime.now(UTC) + timedelta(days=30)
    instance.report_runless_asset_event(dg.AssetMaterialization(["publish", "d1"], partition=HERE))
    assert losses(lossy.storage, instance, now=in_a_month)[0].is_empty(), "what the index has already left out"
    show(lossy, 100, days=0)
    assert losses(lossy.storage, instance, now=in_a_month)[0].rows() == [("panoramax", 200, 100)]
