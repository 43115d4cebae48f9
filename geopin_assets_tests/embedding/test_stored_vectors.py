"""All stored vectors: those of captures that are taken down, whatever model made them, and those that are not sound."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.embedding.audit import Audit
from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.stored_vectors import AUDITS, StoredVectors, audit_files, stored_vectors, take_out
from geopin_assets.embedding.vectors import HELD_SCHEMA, CellVectors, VectorFiles, vector_rows
from geopin_assets.errors import PayloadError
from geopin_assets.files.object_store import ObjectStore, memory_store, open_store
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.stores import only_a_folder

GONE = "s:gone"


def append(cell: CellVectors, *names: str, views: int = 1) -> None:
    each = [CaptureImage("cell", f"s:{name}", "s", name, "", "1", False, 10.0) for name in names]
    images = [image for image in each for _ in range(views)]
    vectors = np.tile(np.eye(1, cell.dim, dtype=np.float16), (len(images), 1))
    cell.append(vector_rows(images, list(range(views)) * len(names), vectors, cell.key.split("/")[0]))


def commit(cell: CellVectors, *names: str, views: int = 1) -> None:
    append(cell, *names, views=views)
    wanted = [(f"s:{name}", "1", views, 10.0, 0) for name in names]
    cell.commit(pl.DataFrame(wanted, schema=HELD_SCHEMA, orient="row"), cell.held())


@pytest.fixture
def objects(object_store: ObjectStore) -> ObjectStore:
    """Two models of different dimensions, in three cells, one of them not finished."""
    old, new = VectorFiles(object_store, "old-1.0", 4), VectorFiles(object_store, "new", 8)
    commit(old.cell("a"), "gone", "stays", views=12)
    commit(new.cell("a"), "stays")
    commit(new.cell("b"), "gone", "stays")
    append(new.cell("c"), "gone", "stays")
    return object_store


def test_vectors_are_found_in_every_model_cell_and_unfinished_part(objects: ObjectStore) -> None:
    assert list(stored_vectors(objects, [GONE, "s:unknown"])) == [
        StoredVectors("new", "b", GONE, 1),
        StoredVectors("new", "c", GONE, 1),
        StoredVectors("old-1.0", "a", GONE, 12),
    ]


def test_nothing_is_found_where_nothing_was_embedded() -> None:
    assert list(stored_vectors(memory_store(), [GONE])) == []


def test_what_is_taken_out_is_gone_and_the_rest_is_as_it_was(objects: ObjectStore) -> None:
    cells = [VectorFiles(objects, "old-1.0", 4).cell("a"), VectorFiles(objects, "new", 8).cell("b")]
    before = [cell.read().filter(pl.col("capture_id") != GONE) for cell in cells]
    for found in list(stored_vectors(objects, [GONE])):
        take_out(objects, found.model_id, found.cell_id, [GONE])
    assert list(stored_vectors(objects, [GONE])) == []
    assert [frame.height for frame in before] == [12, 1]
    for cell, frame in zip(cells, before, strict=True):
        assert cell.read().equals(frame)


def test_vectors_that_are_not_sound_are_taken_out_too(object_store: ObjectStore) -> None:
    for names in (["gone"], ["gone", "stays"]):
        cell = VectorFiles(object_store, "m", 4).cell("-".join(names))
        commit(cell, *names)
        rows = cell.read().with_columns(embedding=pl.lit([9.0, 9, 9, 9]).cast(pl.Array(pl.Float16, 4)))
        with object_store.replacing(cell.key) as path:
            rows.write_parquet(path)
        take_out(object_store, "m", "-".join(names), [GONE])
    assert list(stored_vectors(object_store, [GONE])) == []


@only_a_folder
@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_a_damaged_file_may_hold_any_capture_and_nothing_can_be_taken_out_of_it(
    objects: ObjectStore, content: bytes
) -> None:
    objects.put("new/d.parquet", content)
    assert StoredVectors("new", "d", None, 0) in list(stored_vectors(objects, [GONE]))
    with pytest.raises(PayloadError, match="d"):
        take_out(objects, "new", "d", [GONE])


DIM = 512


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def store(vectors: np.ndarray, model_id: str = "m1") -> CellVectors:
    embedding = pl.Series(vectors.astype(np.float16), dtype=pl.Array(pl.Float16, DIM))
    cell = VectorFiles(memory_store(), model_id, DIM).cell("a")
    with cell.objects.replacing(cell.key) as path:
        pl.DataFrame({"model_id": [model_id] * len(vectors), "embedding": embedding}).write_parquet(path)
    return cell


def test_unit_vectors_are_sound_after_being_rounded_to_16_bits() -> None:
    assert store(unit_vectors(1000)).counted() == Audit(1000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_with_one_component_that_is_no_number_is_not_finite(value: float) -> None:
    vectors = unit_vectors(3)
    vectors[1, 17] = value
    audit = store(vectors).counted()
    assert (audit.vectors, audit.not_finite, audit.not_unit) == (3, 1, 0)


@pytest.mark.parametrize("length", [0.0, 0.99, 1.01, 3.0])
def test_a_vector_of_another_length_is_not_unit(length: float) -> None:
    vectors = unit_vectors(3)
    vectors[2] *= length
    audit = store(vectors).counted()
    assert (audit.vectors, audit.not_finite, audit.not_unit) == (3, 0, 1)


def test_cells_without_a_vector_and_no_cells_at_all_are_sound() -> None:
    assert audit_files(VectorFiles(memory_store(), "m1", DIM), AUDITS.to_frame()).is_empty()
    assert store(np.empty((0, DIM))).counted() == Audit(0)


def committed(objects: ObjectStore, cell_id: str, vectors: np.ndarray) -> CellVectors:
    """A cell as embedding writes it: one flat image per vector."""
    images = [CaptureImage(cell_id, f"s:{n}", "s", str(n), "", "1", False, None) for n in range(len(vectors))]
    cell = VectorFiles(objects, "m1", DIM).cell(cell_id)
    cell.append(vector_rows(images, [0] * len(images), vectors.astype(np.float16), "m1"))
    cell.commit(cell.in_parts(), cell.held())
    return cell


def test_what_was_counted_at_writing_is_believed_and_a_changed_file_is_counted_again(tmp_path: Path) -> None:
    """Of ten cells, those are read that something else has written, and as many more as a look may take."""
    objects = open_store(tmp_path)
    cells = [committed(objects, f"c{n}", unit_vectors(10, n)) for n in range(10)]
    assert [cell.noted() for cell in cells] == [Audit(10)] * 10
    files = VectorFiles(objects, "m1", DIM)
    first = audit_files(files, AUDITS.to_frame(), counted_again=0)
    assert first["vectors"].to_list() == [10] * 10
    longer = unit_vectors(10, 3)
    longer[4] *= 2
    with objects.replacing(cells[3].key) as path:
        rows = cells[3].read()
        embedding = pl.Series("embedding", longer.astype(np.float16), dtype=rows.schema["embedding"])
        rows.with_columns(embedding).write_parquet(path)
    (tmp_path / "m1" / "c5.parquet").write_bytes(b"damaged")
    second = audit_files(files, first, counted_again=0)
    wrong = second.filter(pl.any_horizontal(pl.col("not_unit", "damaged") > 0))
    assert wrong.select("cell_id", "not_unit", "damaged").rows() == [("c3", 1, 0), ("c5", 0, 1)]


@pytest.mark.parametrize("cells", [4, 8, 16])
def test_a_look_reads_no_more_however_much_is_stored(
    cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, read = open_store(tmp_path), list[str]()
    for n in range(cells):
        committed(objects, f"c{n:02d}", unit_vectors(10, n))
    files, whole = VectorFiles(objects, "m1", DIM), CellVectors.counted
    monkeypatch.setattr(CellVectors, "counted", lambda cell: (read.append(cell.key), whole(cell))[1])
    known = audit_files(files, AUDITS.to_frame(), counted_again=20)
    assert len(read) == 2
    audit_files(files, known, counted_again=20, seed=1)
    assert len(read) == 4


@given(seed=st.integers(0, 2**32 - 1), sharpness=st.floats(0.1, 8))
@settings(max_examples=examples(10, 300))
def test_no_shape_of_unit_vector_trips_the_tolerance(seed: int, sharpness: float) -> None:
    """From one dominant component to all components alike."""
    vectors = np.sign(unit_vectors(20, seed)) * np.abs(unit_vectors(20, seed)) ** sharpness
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert store(vectors).counted().not_unit == 0
