"""Whole files, replaced at once, and the version of their content."""

import hashlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.store.parquet import content_version, write_frame

SCHEMA = pl.Schema({"id": pl.String(), "heading_deg": pl.Float64()})
ROWS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.floats(0, 359)), max_size=8)


def frame(rows: list[tuple[str, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


OLD, NEW = frame([("a", 90.0)]), frame([("a", 90.0), ("b", None)])


class FullDisk(pl.DataFrame):
    """Ends in the middle of writing, as a full disk or a lost bucket does."""

    def write_parquet(self, file: Path, **options: object) -> None:  # type: ignore[override]
        file.write_bytes(b"PAR1 half of")
        raise OSError(28, "No space left on device")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "source" / "cell.parquet"
    write_frame(path, NEW, {"crawled": "today"})
    assert pl.read_parquet(path).equals(NEW)
    assert pl.read_parquet_metadata(path)["crawled"] == "today"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "cell.parquet"
    write_frame(path, OLD)
    with pytest.raises(OSError, match="No space left"):
        write_frame(path, FullDisk(NEW))
    assert pl.read_parquet(path).equals(OLD)
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_holds_the_old_file_open_reads_it_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "cell.parquet"
    write_frame(path, OLD)
    with path.open("rb") as reading:
        write_frame(path, NEW)
        assert pl.read_parquet(reading.read()).equals(OLD)
    assert pl.read_parquet(path).equals(NEW)


@given(ROWS, ROWS)
def test_versions_are_equal_exactly_when_the_rows_are(one: list, other: list) -> None:
    assert (content_version(frame(one)) == content_version(frame(other))) is frame(one).equals(frame(other))


def test_a_version_survives_being_stored(tmp_path: Path) -> None:
    write_frame(tmp_path / "cell.parquet", NEW)
    assert content_version(pl.read_parquet(tmp_path / "cell.parquet")) == content_version(NEW)


def test_a_version_is_the_hash_of_plain_json_so_it_is_the_same_on_every_machine() -> None:
    written = b'{"id":"a","heading_deg":90.0}\n'
    assert content_version(OLD) == hashlib.sha256(written).hexdigest()[:16]
