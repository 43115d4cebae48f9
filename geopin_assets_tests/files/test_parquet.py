"""Frames in files: those of other versions have the columns of this one. What damage does to them: `test_damage.py`."""

from pathlib import Path

import polars as pl
import pytest

from geopin_assets.files import parquet
from geopin_assets.files.damage import is_aside

SCHEMA = pl.Schema({"a": pl.String(), "b": pl.Float64()})


def test_where_there_is_no_file_there_are_no_rows(tmp_path: Path) -> None:
    assert parquet.read_if_there(tmp_path / "x.parquet", SCHEMA).equals(SCHEMA.to_frame())


def test_a_file_of_another_version_has_the_columns_of_this_one(tmp_path: Path) -> None:
    parquet.write_frame(tmp_path / "x.parquet", pl.DataFrame({"c": [1], "a": ["one"]}))
    found = parquet.read_if_there(tmp_path / "x.parquet", SCHEMA)
    assert (found.schema, found.rows()) == (SCHEMA, [("one", None)])


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", bytes(5000)])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "x.parquet").write_bytes(content)
    assert parquet.read_if_there(path, SCHEMA).equals(SCHEMA.to_frame())
    assert [is_aside(left) for left in tmp_path.iterdir()] == [True]


def test_so_is_one_whose_columns_hold_something_else(tmp_path: Path) -> None:
    parquet.write_frame(path := tmp_path / "x.parquet", pl.DataFrame({"a": [[1]], "b": ["two"]}))
    assert parquet.read_if_there(path, SCHEMA).is_empty() and not path.exists()
