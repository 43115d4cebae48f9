"""Frames in files: those of other versions have the columns of this one. What damage does to them: `test_damage.py`."""

from pathlib import Path

import polars as pl

from geopin_assets.files import parquet

SCHEMA = pl.Schema({"a": pl.String(), "b": pl.Float64()})


def test_where_there_is_no_file_there_are_no_rows(tmp_path: Path) -> None:
    assert parquet.read_if_there(tmp_path / "x.parquet", SCHEMA).equals(SCHEMA.to_frame())


def test_a_file_of_another_version_has_the_columns_of_this_one(tmp_path: Path) -> None:
    parquet.write_frame(tmp_path / "x.parquet", pl.DataFrame({"c": [1], "a": ["one"]}))
    found = parquet.read_if_there(tmp_path / "x.parquet", SCHEMA)
    assert (found.schema, found.rows()) == (SCHEMA, [("one", None)])
