"""What we rely on in Dagster without a public name: where it may be named, and that it still is what we take it for."""

import ast
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.cells import cell_ids
from geopin_assets.defs import dagster_internals, event_log, postgres_history
from geopin_assets.defs.automation.cell_events import MADE, PLANNED, CellLog, Kind, last_id_before
from geopin_assets.defs.automation.refresh import WEEKLY
from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START, InstanceRef, TimeWindowFreshnessPolicy
from geopin_assets.defs.running import celery_runs, queues
from geopin_assets_tests.refresh import raw_asset
from geopin_assets_tests.simulated import SimulatedLog

CHECKOUT = Path(__file__).parents[2]
PINNED = "1.13"
"""Raise it, in pyproject.toml too, when every test here passes with the new version and its notes were read."""
HERE, THERE, NOWHERE = cell_ids()[:3]


def private_imports(module: Path) -> set[str]:
    """Modules of Dagster with an underscore that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name for name in names if name.startswith("dagster._")}
    return found


def test_one_module_and_what_instances_load_and_definitions_do_not_import_what_dagster_keeps_private() -> None:
    modules = (CHECKOUT / "geopin_assets").rglob("*.py")
    found = {path.relative_to(CHECKOUT).as_posix() for path in modules if private_imports(path)}
    of_instances = {"event_log", "postgres_history", "running.celery_runs", "running.queues"}
    files = {f"geopin_assets/defs/{name.replace('.', '/')}.py" for name in of_instances}
    assert found == files | {"geopin_assets/defs/dagster_internals.py"}
    code = "import sys, geopin_assets.definitions as d; d.defs.get_repository_def(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "geopin_assets.defs.dagster_internals" in loaded
    assert not {f"geopin_assets.defs.{name}" for name in of_instances} & set(loaded)


def test_every_private_import_says_why_it_is_needed() -> None:
    lines = [
        line
        for module in (dagster_internals, event_log, postgres_history, celery_runs, queues)
        for line in Path(module.__file__).read_text(encoding="utf-8").splitlines()
    ]
    bare = [
        line
        for above, line in pairwise(lines)
        if line.startswith("from dagster._") and not above.startswith(("#", "from dagster._"))
    ]
    assert bare == []


def test_dagster_is_pinned_to_the_minor_version_that_was_tested() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    major, minor = PINNED.split(".")
    assert f"dagster>={PINNED},<{major}.{int(minor) + 1}" in project["project"]["dependencies"]
    assert dg.__version__.startswith(f"{PINNED}."), (
        f"Dagster is {dg.__version__}: read what this file tests, and its notes"
    )


@pytest.fixture(scope="module")
def asset() -> dg.AssetsDefinition:
    return raw_asset("panoramax", dg.AutomationCondition.newly_requested())


def test_a_time_window_shows_its_windows_as_timedeltas() -> None:
    assert isinstance(WEEKLY, TimeWindowFreshnessPolicy)
    assert WEEKLY.warn_window is not None
    assert (WEEKLY.warn_window.to_timedelta(), WEEKLY.fail_window.to_timedelta()) == (
        timedelta(days=7),
        timedelta(days=9),
    )


def test_a_run_plans_each_cell_when_it_is_created_and_ids_grow(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition
) -> None:
    tags = {RANGE_START: HERE, RANGE_END: THERE}
    dg.materialize([asset], instance=instance, tags=tags)
    planned, made = (CellLog(instance, asset.key, kind).newest for kind in (PLANNED, MADE))
    assert set(planned) == set(made) == {HERE, THERE}
    assert max(planned.values()) < min(made.values())
    dg.materialize([asset], instance=instance, tags=tags)
    again = CellLog(instance, asset.key, PLANNED).newest
    assert min(again.values()) > max(made.values())
    assert set(CellLog(instance, asset.key, MADE, cells=[THERE, NOWHERE]).newest) == {THERE}
    assert CellLog(instance, asset.key, MADE, after_id=max(again.values()) + 99).newest == {}


def test_the_log_knows_what_is_older_than_a_moment(log: SimulatedLog, asset: dg.AssetsDefinition) -> None:
    start, cells = datetime(2026, 8, 24, tzinfo=UTC), cell_ids()[:500]
    for hour in range(5):
        log.run(asset.key, cells[hour * 100 : hour * 100 + 100], start + timedelta(hours=hour))
    log.make(asset.key, cells[:1], start + timedelta(hours=9))  # … and the first one again
    now = start + timedelta(hours=10)
    for kind in (MADE, PLANNED):
        read = CellLog(log.instance, asset.key, kind)
        first = set(cells[:1]) if kind is MADE else set()
        assert read.before(start - timedelta(seconds=1), now) == set()
        assert read.before(start, now) == set(cells[:100]) - first
        assert read.before(start + timedelta(hours=2.5), now) == set(cells[:300]) - first
        assert read.before(now, now) == set(cells)


class ListedEvents:
    """Of one kind, each with its id and seconds; what an instance answers of them, and how often it was asked."""

    def __init__(self, events: dict[int, float]) -> None:
        self.event_log_storage, self.events, self.asked = self, events, 0

    def get_maximum_record_id(self) -> int | None:
        return max(self.events, default=None)

    def get_asset_event_summary_records(
        self,
        kind: Kind,
        *,
        after_storage_id: int,
        before_storage_id: int | None,
        limit: int | None,
        ascending: bool,
    ) -> list[SimpleNamespace]:
        assert (kind, ascending) == (PLANNED, True)
        self.asked += 1
        found = sorted(id_ for id_ in self.events if after_storage_id < id_ < (before_storage_id or inf))[:limit]
        assert len(found) <= 1_000
        return [SimpleNamespace(storage_id=id_, timestamp=self.events[id_]) for id_ in found]


@given(st.lists(st.tuples(st.integers(1, 5_000), st.integers(0, 3))), st.integers(0, 200))
def test_the_last_event_before_a_moment_is_found_wherever_it_is(steps: list[tuple[int, int]], moment: int) -> None:
    ids, seconds = (list(accumulate(numbers)) for numbers in zip(*steps, strict=True)) if steps else ([], [])
    listed: Any = ListedEvents(dict(zip(ids, map(float, seconds), strict=True)))
    when, now = (datetime.fromtimestamp(second, UTC) for second in (moment, 1_000))
    expected = max((id_ for id_, at in listed.events.items() if at <= moment), default=0)
    assert last_id_before(listed, PLANNED, when, now) == expected
    assert listed.asked <= 8 + 2 * max(ids, default=1).bit_length()


def test_the_last_day_of_years_of_events_is_found_in_a_few_questions() -> None:
    a_million = {7 * number: float(number) for number in range(1, 1_000_001, 100)}
    listed: Any = ListedEvents(a_million)
    when, now = (datetime.fromtimestamp(second, UTC) for second in (997_260, 1_000_000))
    assert last_id_before(listed, PLANNED, when, now) == 7 * 997_201
    assert listed.asked <= 16


def test_what_the_log_dates_after_now_counts_as_old_and_hides_nothing_that_came_later(
    log: SimulatedLog, asset: dg.AssetsDefinition
) -> None:
    start, cells = datetime(2026, 8, 24, tzinfo=UTC), cell_ids()[:500]
    now = start + timedelta(days=3)
    log.plan(asset.key, cells[:100], start)
    log.plan(asset.key, cells[100:400], start + timedelta(days=365))  # its clock was a year ahead
    log.plan(asset.key, cells[400:450], start + timedelta(days=1))
    log.plan(asset.key, cells[450:], now - timedelta(hours=1))
    assert CellLog(log.instance, asset.key, PLANNED).before(now - timedelta(hours=23), now) == set(cells[:450])


def test_an_instance_is_rebuilt_from_its_reference(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> None:
    dg.materialize([asset], instance=instance, partition_key=HERE)
    reference = instance.get_ref()
    assert isinstance(reference, InstanceRef)
    with dg.DagsterInstance.from_ref(reference) as same:
        assert same.get_materialized_partitions(asset.key) == {HERE}


def test_dagster_judges_an_asset_by_its_newest_cell(log: SimulatedLog, asset: dg.AssetsDefinition) -> None:
    now, defs = datetime.now(UTC), dg.Definitions(assets=[asset])
    said = [dagster_internals.asset_freshness(log.instance, defs, asset.key)]
    for age_days in (10, 8, 1):
        log.run(asset.key, [HERE], now - timedelta(days=age_days))
        said.append(dagster_internals.asset_freshness(log.instance, defs, asset.key))
    assert said == ["UNKNOWN", "FAIL", "WARN", "PASS"]
