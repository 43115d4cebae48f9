"""The ledger keeps stores apart and shares its file."""

import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from geopin_assets.index.ledger import _UNFINISHED, Ledger
from geopin_assets_tests.index.frames import NOW


def claims(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"id": pl.String, "cell_id": pl.String}, orient="row")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_a_begun_write_is_known_with_an_unknown_outcome_until_it_is_committed(ledger: Ledger) -> None:
    ledger.begin("d1:captures", claims(("x", "a"), ("y", "a")), pl.Series(["x", "y"]))
    assert set(ledger.claims("d1:captures", ["a"]).iter_rows()) == {("x", "a", None), ("y", "a", None)}
    done = pl.DataFrame({"id": ["x"], "content_hash": ["1"]})
    ledger.commit("d1:captures", done, "mutation", NOW)
    assert set(ledger.published("d1:captures").iter_rows()) == {("x", "1"), ("y", None)}


def test_stores_do_not_know_each_others_ids(ledger: Ledger) -> None:
    ledger.begin("one", claims(("x", "a")), pl.Series(["x"]))
    ledger.begin("two", claims(("x", "b")), pl.Series(["x"]))
    ledger.forget("one")
    assert ledger.published("one").is_empty()
    assert ledger.claims_of("two", pl.Series(["x", "y"])).rows() == [("x", "b", None)]
    assert ledger.published("three").is_empty()


def test_an_id_released_by_one_cell_stays_for_the_other(ledger: Ledger) -> None:
    ledger.begin("one", claims(("x", "a"), ("x", "b")), pl.Series(["x"]))
    ledger.release("one", claims(("x", "a")), pl.Series([], dtype=pl.String))
    assert ledger.claims("one", ["a", "b"]).rows() == [("x", "b", None)]


def test_reading_goes_on_while_another_process_writes(tmp_path: Path, ledger: Ledger) -> None:
    ledger.begin("one", claims(("x", "a")), pl.Series(["x"]))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM claims")
        assert ledger.claims("one", ["a"]).height == 1
        other.execute("ROLLBACK")


def test_counts_are_kept_beside_what_is_counted(tmp_path: Path) -> None:
    """Also in a ledger that was made before there were counts."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    claims = pl.DataFrame({"id": ["x", "y", "z", "x"], "cell_id": ["a", "a", "a", "b"]})
    ledger.begin("s", claims, pl.Series(["x", "y", "z"]))
    ledger.begin("s", claims, pl.Series(["x", "y"]))
    assert (ledger.count("s"), ledger.counts("s"), ledger.count("another")) == (3, {"a": 3, "b": 1}, 0)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.executescript(
            "DROP TRIGGER one_more; DROP TRIGGER one_less; DROP TRIGGER one_more_claim; DROP TRIGGER one_less_claim;"
            "DROP TABLE counts"
        )
    assert (ledger.count("s"), ledger.counts("s")) == (3, {"a": 3, "b": 1})
    ledger.release("s", claims.filter(pl.col("id") == "x"), pl.Series(["x"]))
    assert (ledger.count("s"), ledger.counts("s")) == (2, {"a": 2})
    ledger.forget("s")
    assert (ledger.count("s"), ledger.counts("s")) == (0, {})


def test_what_is_unfinished_is_found_without_reading_what_is_published(tmp_path: Path, ledger: Ledger) -> None:
    """Also in a ledger that was made before it was listed."""
    ledger.begin("one", claims(("x", "a"), ("y", "a")), pl.Series(["x", "y"]))
    ledger.begin("two", claims(("z", "a")), pl.Series(["z"]))
    ledger.commit("one", pl.DataFrame({"id": ["x"], "content_hash": ["1"]}), "mutation", NOW)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.execute("DROP INDEX unfinished")
    assert [ledger.unfinished(store).to_list() for store in ("one", "two", "three")] == [["y"], ["z"], []]
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        ((*_, plan),) = connection.execute(f"EXPLAIN QUERY PLAN {_UNFINISHED}", (1,))
    assert "INDEX unfinished" in plan
    assert ledger.claimed("one", ["a", "b"]).rows() == [("x", "a"), ("y", "a")]
