from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.stored_vectors import compact_parts, parts_folders
from geopin_assets.embedding.vectors import (
    HELD_SCHEMA,
    PARTS_AT_ONCE,
    SPAN_ROWS,
    CellVectors,
    VectorFiles,
    embedding_schema,
    vector_rows,
)
from geopin_assets.errors import DamagedFileError, PayloadError
from geopin_assets.files.object_store import ObjectStore, memory_store, open_store
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.stores import only_a_folder

DIM = 4


def image(name: str, version: str = "1", center_deg: float | None = 10.0) -> CaptureImage:
    return CaptureImage("cell", f"s:{name}", "s", name, "", version, False, center_deg)


def rows(images: list[CaptureImage], views: int = 1, value: float = 0.0) -> pl.DataFrame:
    """`views` unit vectors of each image; the first component is `value`."""
    owners = [image for image in images for _ in range(views)]
    vectors = np.tile(np.array([value, (1 - value**2) ** 0.5, 0, 0], np.float16), (len(owners), 1))
    return vector_rows(owners, list(range(views)) * len(images), vectors, "model")


def wanted(images: list[CaptureImage], views: int = 1) -> pl.DataFrame:
    held = [(image.capture_id, image.image_version, views, image.center_deg, 0) for image in images]
    return pl.DataFrame(held, schema=HELD_SCHEMA, orient="row")


@pytest.fixture
def cell(object_store: ObjectStore) -> CellVectors:
    return VectorFiles(object_store, "model", DIM).cell("cell")


def written(cell: CellVectors) -> str:
    stored = cell.objects.find(cell.key)
    return stored.version if stored else ""


def parts(cell: CellVectors) -> list[str]:
    return [stored.key for stored in cell.objects.walk(cell.parts_folder)]


def commit(cell: CellVectors, images: pl.DataFrame) -> None:
    cell.commit(images, cell.held())


def test_a_cell_without_files_holds_nothing(cell: CellVectors) -> None:
    assert cell.held().schema == cell.in_parts().schema == HELD_SCHEMA
    assert cell.held().is_empty() and cell.in_parts().is_empty() and cell.read().schema == embedding_schema(DIM)
    commit(cell, cell.held())
    assert not written(cell) and VectorFiles(cell.objects, "model", DIM).cell_ids() == []


def test_parts_count_only_when_they_are_committed(cell: CellVectors) -> None:
    images = [image("b"), image("a", center_deg=None)]
    cell.append(rows(images, views=12))
    assert cell.held().is_empty() and cell.in_parts().equals(wanted(images, 12).sort("capture_id"))
    commit(cell, wanted(images, 12))
    assert cell.in_parts().is_empty() and parts(cell) == []
    assert cell.held().equals(wanted(images, 12).sort("capture_id"))
    stored = cell.read()
    assert stored["vector_id"].to_list() == [f"s:{name}/{view:02d}" for name in "ab" for view in range(12)]
    assert stored["heading_deg"].to_list() == [None] * 12 + [(10 + 30 * view) % 360 for view in range(12)]


def test_what_is_not_wanted_is_gone_and_the_rest_is_the_same(cell: CellVectors) -> None:
    images = [image(str(n)) for n in range(5)]
    cell.append(rows(images, value=0.5))
    commit(cell, wanted(images))
    before = cell.read()
    commit(cell, wanted(images[1:3]))
    assert cell.read().equals(before[1:3])


def test_a_file_that_need_not_change_is_left_alone(cell: CellVectors) -> None:
    cell.append(rows([image("a")]))
    commit(cell, wanted([image("a")]))
    before = written(cell)
    commit(cell, wanted([image("a")]))
    assert written(cell) == before
    commit(cell, wanted([image("a", center_deg=20.0)]))
    assert written(cell) != before and cell.read()["heading_deg"].to_list() == [20.0]


def test_the_newest_part_wins_over_older_ones_and_over_the_file(cell: CellVectors) -> None:
    """An image that was a panorama, embedded anew as a flat one, and embedded twice."""
    cell.append(rows([image("a")], views=12, value=0.1))
    commit(cell, wanted([image("a")], 12))
    cell.append(rows([image("a")], value=0.25))
    cell.append(rows([image("a")], value=0.5))
    commit(cell, wanted([image("a")]))
    assert cell.read()["embedding"].arr.first().to_list() == [0.5]


def test_other_versions_are_told_apart(cell: CellVectors) -> None:
    cell.append(rows([image("a", "1")], value=0.25))
    commit(cell, wanted([image("a", "1")]))
    cell.append(rows([image("a", "2")], value=0.5))
    assert cell.in_parts()["image_version"].to_list() == ["2"]
    commit(cell, wanted([image("a", "2")]))
    assert cell.read()["embedding"].arr.first().to_list() == [0.5] and cell.held()["image_version"].to_list() == ["2"]


def test_committing_what_is_not_there_is_an_error_and_changes_nothing(cell: CellVectors) -> None:
    cell.append(rows([image("a")]))
    commit(cell, wanted([image("a")]))
    before = cell.read()
    with pytest.raises(PayloadError, match="1 vectors where 2 should be"):
        commit(cell, wanted([image("a"), image("b")]))
    assert cell.read().equals(before) and [stored.key for stored in cell.objects.walk()] == ["model/cell.parquet"]


def spoil(cell: CellVectors, key: str, place: float = 0.5) -> None:
    spoiled = bytearray(cell.objects.get(key))
    spoiled[int(len(spoiled) * place)] ^= 0x55
    cell.objects.put(key, bytes(spoiled))


@only_a_folder
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9999])
def test_a_damaged_file_is_an_error_until_it_is_set_aside(cell: CellVectors, place: float) -> None:
    cell.append(rows([image(f"{n:04d}") for n in range(500)]))
    commit(cell, wanted([image(f"{n:04d}") for n in range(500)]))
    cell.append(rows([image("a")]))
    spoil(cell, cell.key, place)
    for read in (cell.held, cell.read, lambda: list(cell.snapshot(embedding_schema(DIM).names())())):
        with pytest.raises(DamagedFileError, match=r"cell\.parquet"):
            read()
    assert cell.set_damaged_aside() == [cell.key] and cell.set_damaged_aside() == []
    assert cell.held().is_empty() and cell.in_parts()["capture_id"].to_list() == ["s:a"]
    commit(cell, wanted([image("a")]))
    assert cell.read()["capture_id"].to_list() == ["s:a"] and len(cell.objects.aside()) == 1


@only_a_folder
def test_of_many_parts_only_the_damaged_one_is_set_aside(cell: CellVectors) -> None:
    for name in "abc":
        cell.append(rows([image(name)]))
    second = parts(cell)[1]
    spoil(cell, second, 0.1)
    assert cell.set_damaged_aside() == [second]
    assert cell.in_parts()["capture_id"].to_list() == ["s:a", "s:c"]
    cell.append(rows([image("d")]))
    assert cell.in_parts()["capture_id"].to_list() == ["s:a", "s:c", "s:d"]


@only_a_folder
@pytest.mark.parametrize("component", [np.nan, np.inf, 0.0, 2.0])
def test_an_image_with_a_vector_that_is_not_of_unit_length_is_not_held(cell: CellVectors, component: float) -> None:
    """A file that was made elsewhere, or before its writer looked: all views of the image are embedded again."""
    vectors = rows([image("a"), image("b")], views=12, value=0.5)["embedding"].to_numpy().copy()
    vectors[17] = component
    owners = [image(name) for name in "ab" for _ in range(12)]
    cell.append(vector_rows(owners, list(range(12)) * 2, vectors, "model"))
    assert cell.in_parts()["capture_id"].to_list() == ["s:a"]


def test_a_snapshot_stays_what_it_was_when_the_file_is_replaced(cell: CellVectors) -> None:
    assert list(cell.snapshot(["vector_id"])()) == []
    cell.append(rows([image("a")]))
    commit(cell, wanted([image("a")]))
    before, snapshot = cell.read(["vector_id", "embedding"]), cell.snapshot(["vector_id", "embedding"])
    cell.append(rows([image("b")]))
    commit(cell, wanted([image("b")]))
    assert not cell.read(["vector_id", "embedding"]).equals(before)
    assert all(pl.concat(snapshot()).equals(before) for _ in range(2))


def test_many_small_parts_become_few() -> None:
    cell = VectorFiles(memory_store(), "model", DIM).cell("cell")
    images = [image(f"{n:04d}") for n in range(3 * PARTS_AT_ONCE + 5)]
    for one in reversed(images):
        cell.append(rows([one]))
    assert len(parts(cell)) <= PARTS_AT_ONCE + 3
    commit(cell, wanted(images))
    assert cell.read()["capture_id"].to_list() == [image.capture_id for image in images]


def test_what_killed_runs_left_becomes_one_part_from_which_the_next_run_continues(cell: CellVectors) -> None:
    images = [image(f"{n}") for n in range(5)]
    for one in images:
        cell.append(rows([one]))
    (folder,) = parts_folders(cell.objects)
    assert compact_parts(cell.objects, [folder]) == 5
    assert len(parts(cell)) == 1
    assert compact_parts(cell.objects, [folder]) == 0
    cell.append(rows([image("5")]))
    commit(cell, wanted([*images, image("5")]))
    assert len(cell.read()) == 6


def test_a_damaged_part_is_named(cell: CellVectors) -> None:
    for name in ("a", "b"):
        cell.append(rows([image(name)]))
    (folder,) = parts_folders(cell.objects)
    cell.objects.put(parts(cell)[0], b"PAR1 not")
    with pytest.raises(PayloadError, match=r"\.parts/0000000_\w{8}\.parquet"):
        compact_parts(cell.objects, [folder])


def test_a_part_that_was_not_written_to_its_end_is_not_read(tmp_path: Path) -> None:
    cell = VectorFiles(open_store(tmp_path), "model", DIM).cell("cell")
    cell.append(rows([image("a")]))
    (tmp_path / cell.parts_folder / ".0000001.parquet.1-2.partial").write_bytes(b"PAR1 killed here")
    assert cell.in_parts()["capture_id"].to_list() == ["s:a"]
    cell.append(rows([image("b")]))
    commit(cell, wanted([image("a"), image("b")]))
    assert len(cell.read()) == 2 and not (tmp_path / cell.parts_folder).exists()


@only_a_folder
def test_a_large_cell_is_written_in_row_groups_of_bounded_size(cell: CellVectors) -> None:
    images = [image(f"{n:05d}") for n in range(SPAN_ROWS // 6 + 100)]
    for start in range(0, len(images), 1000):
        cell.append(rows(images[start : start + 1000], views=12))
    commit(cell, wanted(images, 12))
    with cell.objects.as_file(cell.key) as path:
        sizes = _row_groups(path)
    assert len(sizes) == 3 and max(sizes) <= SPAN_ROWS + 12
    assert cell.read()["vector_id"].is_sorted() and len(cell.read()) == 12 * len(images)


def _row_groups(path: Path) -> list[int]:
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


Step = st.tuples(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))


@given(steps=st.lists(Step, max_size=6))
@settings(max_examples=examples(10, 300), deadline=None)
def test_any_sequence_of_batches_and_commits_holds_what_was_wanted_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[set[str], set[str]]]
) -> None:
    """Each step embeds some images (value: an eighth of its number) and commits some of all that exist."""
    cell = VectorFiles(open_store(tmp_path_factory.mktemp("cell"), is_durable=False), "model", DIM).cell("c")
    newest: dict[str, float] = {}
    for number, (embedded, kept) in enumerate(steps, start=1):
        for name in sorted(embedded):
            cell.append(rows([image(name)], value=number / 8))
            newest[name] = number / 8
        newest = {name: value for name, value in newest.items() if name in kept}
        commit(cell, wanted([image(name) for name in newest]))
        found = {row["capture_id"]: row["embedding"][0] for row in cell.read().iter_rows(named=True)}
        assert found == {f"s:{name}": value for name, value in newest.items()}


def test_of_two_writers_of_a_cell_neither_loses_what_the_other_wrote(cell: CellVectors) -> None:
    one, two = [image("a"), image("b")], [image("b"), image("c")]
    before, held = cell.stored(), cell.held()
    cell.append(rows(one))
    cell.append(rows(two))
    cell.commit(wanted(one), held, before)
    cell.append(rows(two))  # whoever commits first takes the parts of both away
    left = cell.commit(wanted(two), held, before)
    assert cell.read(["capture_id"])["capture_id"].to_list() == ["s:a", "s:b", "s:c"]
    assert left["capture_id"].to_list() == ["s:a", "s:b", "s:c"] and not parts(cell)


def test_who_comes_second_to_the_same_images_finds_them_there(cell: CellVectors) -> None:
    images = [image("a"), image("b")]
    before, held = cell.stored(), cell.held()
    cell.append(rows(images))
    cell.append(rows(images))
    cell.commit(wanted(images), held, before)
    version = written(cell)
    cell.commit(wanted(images), held, before)  # its own parts are gone: the other has them in the file
    assert written(cell) == version and cell.read(["capture_id"]).height == 2


def test_vectors_that_nobody_has_are_an_error_however_many_write(cell: CellVectors) -> None:
    with pytest.raises(PayloadError, match="0 vectors where 1 should be"):
        cell.commit(wanted([image("a")]), cell.held(), cell.stored())
