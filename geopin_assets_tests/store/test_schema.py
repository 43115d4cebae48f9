"""The version of a frame's content."""

import hashlib
from io import BytesIO

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.store.schema import content_version

SCHEMA = pl.Schema({"id": pl.String(), "heading_deg": pl.Float64()})
ROWS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.floats(0, 359)), max_size=8)


def frame(rows: list[tuple[str, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


OLD, NEW = frame([("a", 90.0)]), frame([("a", 90.0), ("b", None)])


@given(ROWS, ROWS)
def test_versions_are_equal_exactly_when_the_rows_are(one: list, other: list) -> None:
    assert (content_version(frame(one)) == content_version(frame(other))) is frame(one).equals(frame(other))


def test_a_version_survives_being_stored() -> None:
    NEW.write_parquet(stored := BytesIO())
    assert content_version(pl.read_parquet(stored.getvalue())) == content_version(NEW)


def test_a_version_is_the_hash_of_plain_json_so_it_is_the_same_on_every_machine() -> None:
    written = b'{"id":"a","heading_deg":90.0}\n'
    assert content_version(OLD) == hashlib.sha256(written).hexdigest()[:16]
