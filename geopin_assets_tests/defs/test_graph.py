"""The table of the assets is the only place that says what it says, and what Dagster is told is what it says."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from geopin_assets import defs as package
from geopin_assets.definitions import defs
from geopin_assets.defs.automation.sensors import sensors
from geopin_assets.defs.graph import GRAPH, RAW, Node, markdown_table, started_by
from geopin_assets.sources import SOURCES

DEFS = Path(package.__file__).parent
CHECKOUT = DEFS.parents[1]
ASSETS = defs.resolve_asset_graph()
MOST_FLOORS = 5


@pytest.mark.parametrize("row", GRAPH, ids=lambda row: row.key)
def test_an_asset_is_declared_as_its_row_says(row: Node) -> None:
    (asset,) = [ASSETS.get(key) for key in ASSETS.get_all_asset_keys() if key.to_user_string() == row.key]
    assert {key.to_user_string() for key in asset.parent_keys} == set(row.above)
    assert asset.pools == ({row.pool} if row.pool else set())
    assert asset.group_name == row.group
    assert asset.is_partitioned == (row.cells_per_run is not None)
    if asset.backfill_policy:
        assert asset.backfill_policy.max_partitions_per_run == row.cells_per_run


def test_data_flows_down_the_table_and_every_source_has_a_row() -> None:
    keys = [row.key for row in GRAPH]
    assert len(set(keys)) == len(keys) == len(ASSETS.get_all_asset_keys())
    assert all(keys.index(above) < keys.index(row.key) for row in GRAPH for above in row.above)
    assert tuple(f"raw/{source.name}" for source in SOURCES) == RAW == tuple(keys[: len(RAW)])


def test_each_sensor_asks_for_what_the_table_says_it_starts() -> None:
    for sensor in sensors:
        asked = {key.to_user_string() for key in sensor.asset_selection.resolve(ASSETS)}
        assert asked == {row.key for row in started_by(sensor.name)} != set()
    assert {row.started_by for row in GRAPH} == {sensor.name for sensor in sensors} | {"weekly_maintenance"}


@cache
def imported(path: Path) -> frozenset[Path]:
    """The modules of `defs/` that one imports; names of packages count as the modules below them."""
    found = set()
    for line in ast.walk(ast.parse(path.read_text())):
        if isinstance(line, ast.ImportFrom) and line.module and line.module.startswith(package.__name__):
            below = DEFS.joinpath(*line.module.split(".")[2:])
            found |= {below / f"{alias.name}.py" for alias in line.names} | {below.with_suffix(".py")}
            if any(alias.name == "assets" for alias in line.names):
                found |= set((DEFS / "assets").glob("*.py"))
    return frozenset(module for module in found if module.exists())


@cache
def chain(path: Path) -> tuple[str, ...]:
    """The longest way down from a module, by what imports what."""
    below = max((chain(module) for module in imported(path)), key=len, default=())
    return (path.stem, *below)


def test_the_deepest_chain_of_imports_is_short() -> None:
    longest = max((chain(path) for path in DEFS.rglob("*.py")), key=len)
    assert len(longest) <= MOST_FLOORS, " → ".join(longest)


def test_assets_do_not_import_each_other() -> None:
    declaring = {path for path in (DEFS / "assets").glob("*.py") if re.search(r"@(asset|report)\(", path.read_text())}
    assert len(declaring) > 8
    assert {path.stem: imported(path) & declaring for path in declaring if imported(path) & declaring} == {}


def test_keys_of_assets_stand_in_the_table_only() -> None:
    """But where an asset is declared, and in words for people."""
    keys = "|".join(re.escape(row.key) for row in GRAPH)
    found = {
        f"{path.name}: {text}"
        for path in DEFS.rglob("*.py")
        if path.parent.name != "assets" and path.name != "graph.py"
        for text in re.findall(rf'"({keys})"', path.read_text())
    }
    assert found == {"sensors.py: quality/freshness"}


@pytest.mark.parametrize("page", ["README.md"])
def test_what_people_read_of_the_graph_is_the_table(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    assert markdown_table() in text, f"{page} needs the table that graph.markdown_table() gives"
