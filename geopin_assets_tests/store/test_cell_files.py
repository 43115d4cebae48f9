"""What the merge hands to whoever embeds: a file per cell, from which a database is not needed."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from geopin_assets.errors import DamagedFileError, TransientError
from geopin_assets.files.object_store import ObjectStore, memory_store, open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import DAY_2, capture, crawl

A, B = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"


@pytest.fixture
def cells(object_store: ObjectStore) -> CellFiles:
    return CellFiles(object_store.below("captures"))


@pytest.fixture
def raw() -> RawStore:
    return RawStore(memory_store())


@pytest.fixture
def catalog(tmp_path: Path, cells: CellFiles) -> Catalog:
    return Catalog(tmp_path / "catalog.duckdb", cells=cells)


def ids(cells: CellFiles, cell_id: str = A) -> list[str]:
    return cells.read(cell_id, ["capture_id"]).captures["capture_id"].to_list()


def gone(cells: CellFiles, *capture_ids: str, cell_id: str = A) -> list[bool]:
    return cells.read(cell_id).gone(pl.DataFrame({"capture_id": capture_ids})).to_list()


def test_a_merged_cell_is_a_file_with_what_the_catalog_holds_of_it(
    raw: RawStore, catalog: Catalog, cells: CellFiles
) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    catalog.merge([A, B], raw)
    assert cells.read(A).captures.equals(catalog.captures([A])) and cells.counts([A, B]) == {A: 2}
    assert ids(cells, B) == [] and cells.mark() is None, "no marks before there was one to continue from"


def test_only_what_changed_is_written_again(raw: RawStore, catalog: Catalog, cells: CellFiles) -> None:
    crawl(raw, A, [capture("1")])
    crawl(raw, B, [capture("2")])
    catalog.merge([A, B], raw)
    before = {stored.key: stored.version for stored in cells.objects.walk()}
    crawl(raw, A, [capture("1")])
    crawl(raw, B, [capture("3")])
    catalog.merge([A, B], raw)
    changed = {stored.key for stored in cells.objects.walk() if before.get(stored.key) != stored.version}
    assert changed == {f"{B}.parquet"}


def test_what_a_complete_crawl_lacks_is_gone_and_what_an_incomplete_one_lacks_is_not(
    raw: RawStore, catalog: Catalog, cells: CellFiles
) -> None:
    crawl(raw, A, [capture("1")])
    crawl(raw, A, [capture("1", source="amsterdam")], source="amsterdam", is_complete=False)
    catalog.merge([A], raw)
    assert gone(cells, "panoramax:9", "amsterdam:9", "mapillary:9") == [True, False, False]
    assert gone(cells, "panoramax:9", cell_id=B) == [False], "never merged"


def test_a_capture_that_moved_away_is_known_to_have_left(raw: RawStore, catalog: Catalog, cells: CellFiles) -> None:
    crawl(raw, A, [capture("1"), capture("2")], is_complete=False)
    catalog.merge([A], raw)
    crawl(raw, B, [capture("1")], is_complete=False)
    catalog.merge([B], raw)
    assert (ids(cells, A), ids(cells, B)) == (["panoramax:2"], ["panoramax:1"])
    assert gone(cells, "panoramax:1", "panoramax:7") == [True, False]


def test_what_is_taken_down_leaves_the_file_with_the_catalog(raw: RawStore, catalog: Catalog, cells: CellFiles) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    catalog.merge([A], raw)
    catalog.takedowns().take_down(["panoramax:1"], note="asked", now=DAY_2)
    catalog.apply_takedowns()
    assert ids(cells) == ["panoramax:2"]


class Broken(ObjectStore):
    """Takes no file of these cells."""

    def __init__(self, cell_ids: Sequence[str]) -> None:
        super().__init__(memory_store()._inner, "broken:")
        self.cell_ids = set(cell_ids)

    def put(self, key: str, content: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        if key.removesuffix(".parquet") in self.cell_ids:
            raise TransientError(f"{key}: answered 503")
        return super().put(key, content, if_absent=if_absent, if_version=if_version)


def test_a_file_that_could_not_be_written_is_written_by_the_next_merge_of_anything(
    raw: RawStore, tmp_path: Path
) -> None:
    objects = Broken([B])
    catalog, cells = Catalog(tmp_path / "catalog.duckdb", cells=CellFiles(objects)), CellFiles(objects)
    crawl(raw, A, [capture("1")])
    crawl(raw, B, [capture("2")])
    with pytest.raises(TransientError):
        catalog.merge([A, B], raw)
    assert set(catalog.unmerged(raw)) == {A, B}, "whoever asks what is left is told"
    objects.cell_ids.clear()
    catalog.merge([], raw)
    assert ids(cells, B) == ["panoramax:2"] and not catalog.unmerged(raw)


def test_what_is_not_merged_is_told_by_cell_and_source_but_what_has_time(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    crawl(raw, A, [capture("2", source="amsterdam")], source="amsterdam")
    crawl(raw, B, [capture("3")], crawled_at=DAY_2)
    assert catalog.unmerged(raw) == {A: {"amsterdam"}, B: {"panoramax"}}
    assert catalog.unmerged(raw, DAY_2) == {A: {"amsterdam"}}
    assert catalog.unmerged(raw, source="panoramax") == {B: {"panoramax"}}


def test_a_catalog_from_before_there_were_files_writes_all_of_them(raw: RawStore, tmp_path: Path) -> None:
    path, cells = tmp_path / "catalog.duckdb", CellFiles(open_store(tmp_path / "captures"))
    crawl(raw, A, [capture("1")])
    Catalog(path).merge([A], raw)
    with Catalog(path)._database.connect() as db:
        db.execute("drop table unwritten_cells")
    Catalog(path, cells=cells).apply_takedowns()  # as whoever embeds or publishes does first
    assert ids(cells) == ["panoramax:1"]


@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_a_damaged_or_lost_file_is_written_anew_by_the_next_merge_of_its_cell(
    raw: RawStore, catalog: Catalog, cells: CellFiles, content: bytes
) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    cells.objects.put(f"{A}.parquet", content)
    with pytest.raises(DamagedFileError):
        cells.read(A)
    cells.set_aside(A)
    assert [*catalog.unmerged(raw)] == [A]
    catalog.merge([A], raw)
    assert ids(cells) == ["panoramax:1"] and not catalog.unmerged(raw)
