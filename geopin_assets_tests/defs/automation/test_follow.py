"""What follows a crawl, and when reports are made: by content, not by the clock."""

import subprocess
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE
from typing import Any

import dagster as dg
import polars as pl
import pytest

from geopin_assets.cells import cell, cell_ids
from geopin_assets.definitions import defs
from geopin_assets.defs.automation.follow import GAP_CELLS, MOST_CELLS, Follow, memory, remembered
from geopin_assets.defs.automation.sensors import (
    FORGOTTEN_EVERY_S,
    REPORT,
    a_blocking_check_fails,
    forgotten_too,
    in_catalog,
    sensors,
)
from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.running.materialize import CellDone, materialize_cells
from geopin_assets.embedding.plan import FAILURE_SCHEMA
from geopin_assets.files.object_store import open_store
from geopin_assets.sources import SOURCES
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.refresh import raw_asset
from geopin_assets_tests.simulated import SimulatedLog
from geopin_assets_tests.store.failed_images import fail

IDS = cell_ids()
HERE, THERE = IDS[100], IDS[300]
SEA = tuple(cell_id for cell_id in IDS if cell_id.startswith("sea-"))[:3]
GRAPH = defs.resolve_asset_graph()


def below(key: list[str], deps: list[dg.AssetsDefinition], condition: Follow) -> dg.AssetsDefinition:
    @cell_asset(key, cells_per_run=500, deps=deps, automation_condition=condition)
    def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from materialize_cells(context, lambda cells: (CellDone(cell, 1, "same") for cell in cells))

    return made


class Layers:
    """Two sources, the catalog, embeddings and a report, with an event log of our own."""

    def __init__(self, log: SimulatedLog) -> None:
        self.log = log
        self.now = datetime.now(UTC)
        self.retries: set[str] = set()
        nothing = dg.AutomationCondition.newly_requested()
        self.raw, self.other = raw_asset("panoramax", nothing), raw_asset("mapillary", nothing)
        self.catalog = below(["catalog", "captures"], [self.raw, self.other], Follow())
        retries = Follow(also=lambda: self.retries)
        self.embeddings = below(["index", "embeddings"], [self.catalog], retries)

        @dg.asset(key=["quality", "report"], deps=[self.catalog], **REPORT)
        def report() -> None: ...

        @dg.asset(
            key=["quality", "freshness"],
            check_specs=[dg.AssetCheckSpec("source_lost", asset=["quality", "freshness"], blocking=True)],
        )
        def freshness() -> dg.MaterializeResult:
            return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=not self.is_source_lost)])

        self.freshness, self.is_source_lost = freshness, False
        self.publish = below(["publish", "d1"], [self.catalog], Follow(unless=a_blocking_check_fails("freshness")))
        self.report = report
        self.cell_assets = [self.raw, self.other, self.catalog, self.embeddings]
        self.defs = dg.Definitions(assets=[*self.cell_assets, self.publish, freshness, report])
        self._cursors: dict[str, Any] = {}

    def run(self, asset: dg.AssetsDefinition, *cells: str, version: str = "same") -> None:
        """A minute later, a run makes these cells."""
        self.now += timedelta(minutes=1)
        self.log.run(asset.key, dict.fromkeys(cells, version), self.now)

    def asked(self, asset: dg.AssetsDefinition, minutes: int = 5) -> set[str | None]:
        """What the sensor of an asset asks for some minutes later."""
        self.now += timedelta(minutes=minutes)
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.log.instance,
            asset_selection=dg.AssetSelection.assets(asset.key),
            evaluation_time=self.now,
            cursor=self._cursors.get(asset.key.to_string()),
        )
        self._cursors[asset.key.to_string()] = result.cursor
        return set(result.get_requested_partitions(asset.key))


@pytest.fixture
def layers(log: SimulatedLog) -> Layers:
    return Layers(log)


def test_what_was_crawled_before_automation_first_looked_follows(layers: Layers) -> None:
    layers.run(layers.raw, HERE, THERE)
    layers.run(layers.catalog, HERE)
    assert layers.asked(layers.catalog) == {THERE}


def test_after_a_run_by_hand_through_all_layers_nothing_is_done_again(layers: Layers) -> None:
    for asset in layers.cell_assets:
        layers.run(asset, HERE, THERE)
    assert [layers.asked(asset) for asset in (layers.catalog, layers.embeddings)] == [set(), set()]
    assert [layers.asked(asset) for asset in (layers.catalog, layers.embeddings)] == [set(), set()]


def test_an_unchanged_week_leads_to_nothing_and_a_changed_cell_to_itself(layers: Layers) -> None:
    for asset in layers.cell_assets:
        layers.run(asset, HERE, THERE)
    assert layers.asked(layers.catalog) == layers.asked(layers.embeddings) == set()
    layers.now += timedelta(days=7)
    layers.run(layers.raw, HERE, THERE)
    assert layers.asked(layers.catalog) == set()

    layers.run(layers.other, THERE, version="another")
    assert layers.asked(layers.catalog) == {THERE}
    layers.run(layers.catalog, THERE)  # … whose captures turn out to be the same
    assert layers.asked(layers.catalog) == layers.asked(layers.embeddings) == set()
    layers.run(layers.catalog, THERE, version="another")
    assert layers.asked(layers.embeddings) == {THERE}


def test_a_change_that_arrives_while_the_cell_is_being_made_is_not_lost(layers: Layers) -> None:
    for asset in layers.cell_assets:
        layers.run(asset, HERE)
    layers.asked(layers.catalog)
    layers.log.plan(layers.catalog.key, [HERE], layers.now)
    layers.run(layers.raw, HERE, version="another")
    layers.asked(layers.catalog)
    layers.log.make(layers.catalog.key, [HERE], layers.now)
    assert layers.asked(layers.catalog) == {HERE}
    layers.run(layers.catalog, HERE)
    assert layers.asked(layers.catalog) == set()


def test_what_a_person_did_meanwhile_is_not_done_again(layers: Layers) -> None:
    layers.asked(layers.catalog)
    layers.run(layers.raw, HERE)
    layers.run(layers.catalog, HERE)
    assert layers.asked(layers.catalog) == set()
    layers.run(layers.raw, HERE)  # the same again
    assert layers.asked(layers.catalog) == set()


def test_a_cell_that_failed_is_tried_once_a_day_until_it_is_made(layers: Layers) -> None:
    layers.run(layers.raw, HERE)
    assert layers.asked(layers.catalog) == {HERE}
    layers.log.plan(layers.catalog.key, [HERE], layers.now)  # … and it fails
    assert layers.asked(layers.catalog) == layers.asked(layers.catalog, minutes=20 * 60) == set()
    assert layers.asked(layers.catalog, minutes=4 * 60) == {HERE}
    layers.run(layers.catalog, HERE)
    assert layers.asked(layers.catalog, minutes=25 * 60) == set()


def test_a_cell_that_failed_by_a_clock_that_was_ahead_does_not_wait_until_then(layers: Layers) -> None:
    layers.run(layers.raw, HERE)
    layers.log.plan(layers.catalog.key, [HERE], layers.now + timedelta(days=365))
    assert layers.asked(layers.catalog) == {HERE}


def test_a_change_waits_for_other_sources_under_way_but_not_for_ever(layers: Layers) -> None:
    run = layers.log.instance.create_run_for_job(
        dg.Definitions(assets=[layers.other]).resolve_implicit_global_asset_job_def(),
        asset_selection={layers.other.key},
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": HERE},
    )
    layers.run(layers.raw, HERE, THERE)
    assert layers.asked(layers.catalog) == {THERE}
    assert layers.asked(layers.catalog, minutes=5 * 60) == {THERE}
    assert HERE in layers.asked(layers.catalog, minutes=60)
    layers.log.instance.delete_run(run.run_id)


def test_images_that_may_be_tried_again_have_their_cell_embedded_though_nothing_changed(layers: Layers) -> None:
    for asset in layers.cell_assets:
        layers.run(asset, HERE, THERE)
    assert layers.asked(layers.embeddings) == set()
    layers.retries = {THERE}
    assert layers.asked(layers.embeddings) == {THERE}


def test_few_unchanged_cells_between_two_changed_ones_make_one_run_of_two(layers: Layers) -> None:
    near, far = IDS[100 + GAP_CELLS], IDS[102 + 2 * GAP_CELLS]
    for asset in layers.cell_assets:
        layers.run(asset, *IDS[100:250])
    layers.asked(layers.catalog)
    layers.run(layers.raw, HERE, near, far, version="another")
    assert layers.asked(layers.catalog) == {*IDS[100 : 101 + GAP_CELLS], far}


def test_cells_that_were_never_made_or_failed_are_no_bridge(layers: Layers) -> None:
    cells = IDS[100:110]
    for asset in layers.cell_assets:
        layers.run(asset, *cells[:2], *cells[3:])  # cells[2] was never made
    layers.log.plan(layers.catalog.key, [cells[6]], layers.now)  # … and cells[6] failed
    layers.asked(layers.catalog)
    changed = [cells[0], cells[4], cells[7], cells[9]]
    layers.run(layers.raw, *changed, version="another")
    assert layers.asked(layers.catalog) == {*changed, cells[8]}


def test_what_waits_is_remembered_in_few_words_and_without_memory_everything_waits() -> None:
    waiting = {*IDS[:500], IDS[700], *IDS[900:1000]}
    assert remembered(memory(waiting), IDS) == waiting
    assert len(memory(waiting)) < 200
    assert remembered(None, IDS) == set(IDS)
    assert remembered(memory(()), IDS) == set()


def test_a_first_fill_follows_in_portions(layers: Layers) -> None:
    cells = IDS[: MOST_CELLS + 500]
    layers.run(layers.raw, *cells)
    assert layers.asked(layers.catalog) == set(cells[:MOST_CELLS])
    layers.run(layers.catalog, *cells[:MOST_CELLS])
    assert layers.asked(layers.catalog) == set(cells[MOST_CELLS:])


def test_nothing_is_published_while_a_source_has_lost_too_much_and_everything_after(layers: Layers) -> None:
    layers.run(layers.catalog, HERE)
    layers.is_source_lost = True
    dg.materialize([layers.freshness], instance=layers.log.instance, raise_on_error=False)
    assert layers.asked(layers.publish) == set()
    layers.is_source_lost = False
    dg.materialize([layers.freshness], instance=layers.log.instance)
    assert layers.asked(layers.publish) == {HERE}


def test_a_report_is_made_after_changes_and_each_morning_and_not_otherwise(layers: Layers) -> None:
    layers.now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    layers.run(layers.catalog, HERE)

    def hourly() -> bool:
        return layers.asked(layers.report, minutes=60) == {None}

    assert not hourly()  # its first look
    layers.run(layers.catalog, HERE, version="another")
    assert [hourly(), hourly()] == [True, False]
    layers.run(layers.catalog, HERE, version="another")
    assert not hourly()
    made_at = [layers.now.hour for _ in range(24) if hourly()]
    assert made_at == [5], "six in the morning in Amsterdam"


def test_each_source_and_each_layer_has_one_switch_and_nothing_has_two() -> None:
    automated = {key for key in GRAPH.get_all_asset_keys() if GRAPH.get(key).automation_condition}
    switches = [(sensor.name, key) for sensor in sensors for key in sensor.asset_selection.resolve(GRAPH)]
    assert sorted(key for _, key in switches if key in automated) == sorted(automated)
    assert {f"refresh_{source.name}" for source in SOURCES} < {sensor.name for sensor in sensors}
    assert {"raw", "catalog", "index", "publish", "quality"} <= {key.path[0] for key in automated}
    assert "default_automation_condition_sensor" not in {s.name for s in defs.get_repository_def().sensor_defs}


@pytest.mark.parametrize("sensor", sensors, ids=lambda sensor: sensor.name)
def test_every_switch_is_on_says_what_it_does_and_keeps_layers_apart(sensor: Any) -> None:
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert len(sensor.description) > 60
    targets = sensor.asset_selection.resolve(GRAPH)
    assert not any(GRAPH.get(key).parent_keys & targets for key in targets if GRAPH.get(key).is_partitioned)


def test_conditions_are_described_to_whoever_reads_the_automation_tab() -> None:
    for key in GRAPH.get_all_asset_keys():
        condition = GRAPH.get(key).automation_condition
        assert condition is None or condition.get_label() or len(condition.description) > 60, key


@pytest.mark.filterwarnings("ignore:Function `AssetSelection.keys`")  # Dagster's own call
def test_the_sensors_themselves_ask_for_one_backfill_of_stale_cells(
    log: SimulatedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = [cell for cell in IDS[:250] if cell != HERE]
    monkeypatch.setenv("GEOPIN_DATA", str(tmp_path))
    raw = RawStore(open_store(tmp_path / "raw", is_durable=False))
    for cell_id in stale:
        crawl(raw, cell_id, [], crawled_at=datetime.now(UTC) - timedelta(days=8))
    source = raw_asset("panoramax", dg.AutomationCondition.newly_requested())
    log.run(source.key, stale, datetime.now(UTC) - timedelta(days=8))
    (sensor,) = (sensor for sensor in sensors if sensor.name == "refresh_panoramax")
    context = dg.build_sensor_context(instance=log.instance, repository_def=defs.get_repository_def())
    (request,) = sensor.evaluate_tick(context).run_requests
    subset = request.asset_graph_subset
    assert subset.asset_keys == {source.key}
    assert set(subset.get_asset_subset(source.key).value.get_partition_keys()) == set(stale)


@pytest.fixture
def catalog_path(tmp_path: Path) -> Path:
    """A catalog in which Panoramax found nothing at sea and in a village, and something in another cell at sea."""
    raw, path = RawStore(open_store(tmp_path / "raw")), tmp_path / "catalog.duckdb"
    at_sea = cell(SEA[1]).bbox.center
    crawl(raw, SEA[0], [])
    crawl(raw, SEA[1], [capture("a1", lon=at_sea[0], lat=at_sea[1])])
    crawl(raw, SEA[2], [], is_complete=False)
    crawl(raw, HERE, [])
    Catalog(path).merge([*SEA, HERE], raw)
    return path


def test_what_was_crawled_follows_though_no_event_tells_and_is_looked_for_every_six_hours(
    catalog_path: Path, layers: Layers
) -> None:
    raw, now_s, looks = RawStore(open_store(catalog_path.with_name("raw"))), 0.0, 0
    merged = Catalog(catalog_path, cells=CellFiles(open_store(catalog_path.with_name("captures"))))
    merged.merge([], raw)

    def unmerged() -> Collection[str]:
        nonlocal looks
        looks += 1
        return in_catalog(lambda catalog: catalog.unmerged(raw), catalog_path)

    catalog = below(["catalog", "captures"], [layers.raw, layers.other], forgotten_too([unmerged], lambda: now_s))
    layers.defs = dg.Definitions(assets=[layers.raw, layers.other, catalog])
    assert layers.asked(catalog) == set()
    crawl(raw, HERE, [capture("of a run that was deleted")])
    now_s = FORGOTTEN_EVERY_S - 1.0
    assert layers.asked(catalog) == set() and looks == 1
    now_s += 1.0
    assert layers.asked(catalog) == {HERE}
    merged.merge([HERE], raw)
    now_s *= 2
    assert layers.asked(catalog) == set() and looks == 3


def test_without_a_catalog_or_where_it_stays_locked_no_image_is_tried_again(catalog_path: Path) -> None:
    now = datetime.now(UTC)
    row = ["a1", "panoramax", "1", "timeout", 1, now, now - timedelta(hours=1)]
    fail(Catalog(catalog_path), {SEA[1]: pl.DataFrame([row], FAILURE_SCHEMA, orient="row")})
    missing = catalog_path.with_name("none.duckdb")
    assert in_catalog(lambda catalog: catalog.cells_to_retry(now, timedelta(days=7)), missing) == ()
    assert not missing.exists(), "a look made the catalog"
    hold = f"import duckdb; db = duckdb.connect({str(catalog_path)!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=PIPE, stdout=PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert (
            in_catalog(lambda catalog: catalog.cells_to_retry(now, timedelta(days=7)), catalog_path, patience_s=0) == ()
        )
        writer.communicate("done\n")
    assert in_catalog(lambda catalog: catalog.cells_to_retry(now, timedelta(days=7)), catalog_path) == {SEA[1]}


def test_cells_to_retry_are_those_whose_images_are_due(catalog_path: Path) -> None:
    now = datetime.now(UTC)
    tries = {SEA[0]: now + timedelta(hours=1), SEA[1]: now - timedelta(hours=1), HERE: None}
    tries[SEA[2]] = now + timedelta(days=365)  # noted by a clock that was ahead
    rows = {cell_id: ["a1", "panoramax", "1", "timeout", 1, now, due] for cell_id, due in tries.items()}
    frames = {cell_id: pl.DataFrame([row], FAILURE_SCHEMA, orient="row") for cell_id, row in rows.items()}
    fail(Catalog(catalog_path), frames)
    assert in_catalog(lambda catalog: catalog.cells_to_retry(now, timedelta(days=7)), catalog_path) == {SEA[1], SEA[2]}
