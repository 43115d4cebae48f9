"""A changed parser shows on its source's cells and nowhere else, and starts nothing; what an asset is, it links to."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCauseCategory
from dagster._core.loader import LoadingContextForTest

from geopin_assets.capture import Capture
from geopin_assets.cells import cell_ids
from geopin_assets.definitions import defs
from geopin_assets.defs import declare
from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.graph import CATALOG, D1, EMBEDDINGS, GRAPH, RAW, VECTORIZE, Node
from geopin_assets.defs.running.materialize import CellDone, materialize_cells
from geopin_assets.sources import SOURCES

SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
CELLS = cell_ids()[:3]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `sources/` whose versions are taken instead."""
    ours = declare._PACKAGE
    shutil.copytree(ours / "sources", tmp_path / "sources", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(declare, "_PACKAGE", tmp_path)
    declare._read.cache_clear()
    yield tmp_path
    declare._read.cache_clear()


def versions() -> dict[str, str]:
    declare._read.cache_clear()
    return {source.name: declare.version_of_source(source.__module__) for source in SOURCES}


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, version in versions().items() if before[name] != version}


def test_a_changed_parser_is_another_version_of_its_source_alone(package: Path) -> None:
    before = versions()
    parser = package / "sources/amsterdam.py"
    parser.write_text(parser.read_text() + "\n\ndef parse_more() -> int:\n    return 1\n")
    assert changed(before) == {"amsterdam"}


def test_words_about_a_parser_are_no_other_version_of_it(package: Path) -> None:
    before = versions()
    parser = package / "sources/amsterdam.py"
    text = re.sub(r'^"""', '"""Other words. ', parser.read_text(), count=1)
    parser.write_text(text + "\n\n# a comment\n")
    assert changed(before) == set()


def test_a_helper_is_part_of_the_sources_that_use_it_and_how_every_crawl_goes_of_none(package: Path) -> None:
    before = versions()
    for name in ("base", "crawl"):
        path = package / f"sources/{name}.py"
        path.write_text(path.read_text() + "\n\nNEW = 1\n")
    assert changed(before) == set()
    helper = package / "sources/tiles.py"
    helper.write_text(helper.read_text() + "\n\nNEW = 1\n")
    assert {"mapillary", "panoramax"} <= changed(before) < {source.name for source in SOURCES}


def test_every_asset_has_a_version_and_every_source_its_own() -> None:
    assert [key for key, spec in SPECS.items() if not spec.code_version] == []
    assert len({SPECS[key].code_version for key in RAW}) == len(RAW)


class Town:
    """A raw asset and one made from it, at some versions of their code."""

    def __init__(self, instance: dg.DagsterInstance, parser: str = "1", model: str = "1") -> None:
        self.instance = instance

        @cell_asset(["raw", "town"], cells_per_run=250, code_version=parser)
        def raw(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
            yield from materialize_cells(context, lambda cells: (CellDone(cell, 1, "same") for cell in cells))

        @cell_asset(["index", "town"], cells_per_run=100, code_version=model, deps=[raw])
        def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
            yield from materialize_cells(context, lambda cells: (CellDone(cell, 1, "same") for cell in cells))

        self.raw, self.made = raw, made
        self.defs = dg.Definitions([raw, made])

    def run(self, asset: dg.AssetsDefinition) -> None:
        tags = {RANGE_START: CELLS[0], RANGE_END: CELLS[-1]}
        assert dg.materialize([asset], instance=self.instance, tags=tags, selection=[asset]).success

    def out_of_step(self, asset: dg.AssetsDefinition) -> list[StaleCauseCategory]:
        """Why the UI calls a cell unsynced."""
        graph = self.defs.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        return [cause.category for cause in resolver.get_stale_causes(asset.key, CELLS[1])]


def test_cells_made_by_other_code_show_as_such_and_those_below_do_not() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        town = Town(instance)
        town.run(town.raw)
        town.run(town.made)
        assert town.out_of_step(town.raw) == town.out_of_step(town.made) == []
        later = Town(instance, parser="2")
        assert later.out_of_step(later.raw) == [StaleCauseCategory.CODE]
        assert later.out_of_step(later.made) == []
        later.run(later.raw)
        assert later.out_of_step(later.raw) == later.out_of_step(later.made) == [], "what was found is the same"
        assert Town(instance, "2", "2").out_of_step(later.made) == [StaleCauseCategory.CODE]


@pytest.mark.parametrize("row", GRAPH, ids=lambda row: row.key)
def test_every_asset_links_to_its_code_and_says_where_its_data_lies(row: Node) -> None:
    metadata = SPECS[row.key].metadata
    files = [Path(reference.file_path) for reference in metadata["dagster/code_references"].code_references]
    assert files and all(file.is_file() for file in files)
    assert any(file.parent.name == "assets" for file in files)
    if row.path is not None:
        assert unquote(urlsplit(str(metadata["dagster/uri"])).path).endswith(row.path)


def test_a_column_that_passes_through_unchanged_says_from_where() -> None:
    def above(key: str, column: str) -> set[str]:
        lineage = SPECS[key].metadata["dagster/column_lineage"].deps_by_column
        return {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in lineage.get(column, ())}

    assert above(CATALOG, "license") == {f"{key}.license" for key in RAW}
    assert above(D1, "license") == {f"{CATALOG}.license"}
    assert above(EMBEDDINGS, "capture_id") == {f"{CATALOG}.capture_id"}
    assert above(VECTORIZE, "embedding") == {f"{EMBEDDINGS}.embedding"}
    assert above(CATALOG, "row_hash") == above(VECTORIZE, "captured_year") == set()
    for field in set(Capture.__dataclass_fields__) - {"payload"}:
        assert above(CATALOG, field), field
