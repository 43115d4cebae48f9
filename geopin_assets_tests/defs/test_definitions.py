"""What the definitions promise to Dagster, to whoever reads its UI, and to its command line tools."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.capture import Capture
from geopin_assets.definitions import defs
from geopin_assets.defs.declare import cells
from geopin_assets.defs.resources import Embedding
from geopin_assets.sources import SOURCES
from geopin_assets_tests.depth import IS_LONG

CHECKOUT = Path(__file__).parents[2]
GRAPH = defs.resolve_asset_graph()
ASSETS = {key.to_user_string(): GRAPH.get(key) for key in sorted(GRAPH.get_all_asset_keys())}
BY_CELL = [name for name, asset in ASSETS.items() if asset.is_partitioned]


def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of this environment in the checkout, with its configuration but a history and a home elsewhere."""
    shutil.copy(CHECKOUT / "dagster.yaml", folder)
    binaries = Path(sys.executable).parent
    own = {"DAGSTER_HOME": str(folder), "HOME": str(folder), "VIRTUAL_ENV": str(binaries.parent)}
    environ = {**os.environ, **own, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(words, cwd=CHECKOUT, env=environ, capture_output=True, text=True)


SLOW = ("torch", "lancedb", "matplotlib", "aiohttp", "httpx", "numpy", "pyarrow", "duckdb", "shapely", "boto3")
"""What some assets work with, and none needs to be defined: half of what Dagster itself takes to load."""


def test_loading_the_definitions_imports_nothing_that_only_work_needs() -> None:
    code = (
        "import sys; from geopin_assets.definitions import defs; defs.get_repository_def();"
        f"print([name for name in {SLOW} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_every_registered_source_is_one_raw_asset_and_nothing_else_is() -> None:
    assert [name for name in ASSETS if name.startswith("raw/")] == sorted(f"raw/{source.name}" for source in SOURCES)


def test_every_cell_asset_shares_the_one_partitions_definition() -> None:
    assert {name for name in BY_CELL if ASSETS[name].partitions_def is not cells} == set()
    assert {f"raw/{source.name}" for source in SOURCES} < set(BY_CELL)


@pytest.mark.parametrize("name", BY_CELL)
def test_a_backfill_of_a_cell_asset_takes_many_cells_a_run(name: str) -> None:
    policy = ASSETS[name].backfill_policy
    assert policy is not None
    assert (policy.max_partitions_per_run or 0) >= 100, "one run for all 20,000 cells, or one run for each"


def test_cell_assets_that_depend_on_each_other_never_meet_in_one_range_run() -> None:
    """Dagster joins assets of equal partitions and policy in one run; there, a range leaves out what comes after."""
    joined = [
        (name, parent.to_user_string())
        for name in BY_CELL
        for parent in GRAPH.get_ancestor_asset_keys(ASSETS[name].key)
        if GRAPH.get(parent).is_partitioned and GRAPH.get(parent).backfill_policy == ASSETS[name].backfill_policy
    ]
    assert joined == []


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_says_what_it_is_and_whose(name: str) -> None:
    asset = ASSETS[name]
    assert len(asset.description or "") > 40
    assert asset.owners
    assert asset.kinds
    assert len(asset.key.path) == 2
    assert asset.group_name == asset.key.path[0]


def test_assets_that_share_a_limited_thing_share_its_pool() -> None:
    pools = {name: asset.pools for name, asset in ASSETS.items() if asset.is_partitioned}
    assert pools == {
        **{f"raw/{source.name}": {source.name} for source in SOURCES},
        "catalog/captures": {"duckdb"},
        "index/embeddings": {"gpu"},
        "publish/vectorize": {"cloudflare"},
        "publish/d1": {"cloudflare"},
    }


def test_images_are_fetched_no_faster_than_the_owner_of_their_host_asks(tmp_path: Path) -> None:
    fetcher = Embedding(overrides={"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(tmp_path)}).fetcher()
    assert fetcher.lanes("upload.wikimedia.org") == 2 < fetcher.lanes("elsewhere.example")


@pytest.mark.parametrize("name", [*(f"raw/{s.name}" for s in SOURCES), "catalog/captures", "index/embeddings"])
def test_assets_that_people_query_describe_their_columns(name: str) -> None:
    columns = {column.name: column for column in ASSETS[name].metadata["dagster/column_schema"].columns}
    assert [column.name for column in columns.values() if not column.description] == []
    assert "capture_id" in columns
    if name != "index/embeddings":
        assert set(Capture.__dataclass_fields__) - {"payload"} <= set(columns)


def test_checks_sit_on_reports_without_cells_and_say_what_to_do() -> None:
    checks = GRAPH.asset_check_keys
    assert len(checks) >= 5
    for key in checks:
        assert not GRAPH.get(key.asset_key).is_partitioned, key
        assert len(GRAPH.get_check_spec(key).description or "") > 60, key


def test_runs_use_one_process() -> None:
    """Another interpreter for each step would cost seconds, and a range run has one step."""
    assert defs.executor is dg.in_process_executor


def test_the_instance_of_the_checkout_waits_for_pools_and_retries_crashes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert (str(pools.pool_granularity.value), pools.default_pool_limit) == ("run", 1)
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds > 0
        assert not instance.telemetry_enabled


def test_the_workspace_loads_its_code_location(tmp_path: Path) -> None:
    validated = command(tmp_path, "dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert validated.returncode == 0, validated.stderr
    assert "Validation successful for code location geopin_assets" in validated.stderr + validated.stdout


@pytest.mark.skipif(not IS_LONG, reason="test_scaffold.py has dg load the same: make test-long")
def test_dg_finds_the_project_and_its_definitions_sound(tmp_path: Path) -> None:
    checked = command(tmp_path, "dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
