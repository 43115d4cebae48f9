"""What databases say of themselves, and that rows come before vectors and leave after them."""

from datetime import timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest

from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publication import announce, told
from geopin_assets.index.publish import LEAVING, publish_each
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target
from geopin_assets.index.versions import IndexVersion, State
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets_tests.index.frames import NOW, captures

SOURCES = pl.DataFrame(
    [{"source": "panoramax", "title": "Panoramax", "homepage": "https://example.org", "captures": 3}]
)
LATER = NOW + timedelta(days=1)


def version(number: int, state: State, shards: int = 1) -> IndexVersion:
    return IndexVersion("net", number, 512, shards, state, NOW)


@pytest.fixture
def stores(tmp_path: Path) -> list[SqliteStore]:
    stores = [SqliteStore(tmp_path / f"metadata-s{number}.sqlite") for number in range(2)]
    for store in stores:
        store.migrate()
    return stores


def say(stores: list[SqliteStore], vectors: dict[IndexVersion, int], now=NOW) -> list[str]:
    return announce(stores, SOURCES, vectors, captures=3, embedder="net", now=now, installation_id="here")


def test_one_row_of_any_database_says_all_that_a_search_needs(stores: list[SqliteStore]) -> None:
    say(stores, {version(1, State.RETIRED): 7, version(2, State.SERVING, shards=3): 9})
    for store in stores:
        (row,) = store.query("SELECT * FROM publication WHERE state = 'serving'").iter_rows(named=True)
        assert orjson.loads(row["indexes"]) == [f"geopin-net-v2-s{shard}" for shard in range(3)]
        assert orjson.loads(row["databases"]) == ["metadata-s0", "metadata-s1"]
        facts = ("model_id", "version", "dim", "captures", "vectors", "installation_id")
        assert [row[fact] for fact in facts] == ["net", 2, 512, 3, 9, "here"]
        assert row["since"] == row["published_at"].replace("Z", "+00:00") == NOW.isoformat()


def test_every_open_license_has_its_address_in_every_database(stores: list[SqliteStore]) -> None:
    say(stores, {})
    for store in stores:
        assert dict(store.query("SELECT license, url FROM licenses").iter_rows()) == {
            license_.id: license_.url for license_ in OPEN_LICENSES.values()
        }


def test_what_did_not_change_is_not_said_again_and_what_is_gone_is_forgotten(stores: list[SqliteStore]) -> None:
    both = {version(1, State.RETIRED): 7, version(2, State.SERVING): 9}
    assert say(stores, both) == ["metadata-s0", "metadata-s1"]
    assert say(stores, both, LATER) == []
    stores[1].delete("publication", ["geopin-net-v2"])
    assert say(stores, both, LATER) == ["metadata-s1"]
    say(stores, {version(2, State.SERVING): 9}, LATER)
    assert [told(store)["index_name"].to_list() for store in stores] == [["geopin-net-v2"]] * 2


def test_a_row_that_no_cell_wants_stays_for_as_long_as_it_must(tmp_path: Path, stores: list[SqliteStore]) -> None:
    """And is an ordinary row again when a cell wants it."""
    store, ledger, must_stay = stores[0], Ledger(tmp_path / "ledger.sqlite"), {"s:1"}
    target = RowTarget(store, TABLES["captures"])

    def keep(_: Target, ids: pl.Series) -> pl.Series:
        return ids.filter(ids.is_in(list(must_stay)))

    def publish(*ids: str, cells: tuple[str, ...] = ("a",)) -> list[str]:
        rows = captures((id_, 1) for id_ in ids)
        publish_each([(target, rows)], cells, ledger, now=NOW, keep=keep)
        return store.query("SELECT capture_id FROM captures ORDER BY 1")["capture_id"].to_list()

    assert publish("s:1", "s:2", "s:3") == ["s:1", "s:2", "s:3"]
    assert publish("s:3") == ["s:1", "s:3"]
    assert ledger.claims(target.key, [LEAVING])["id"].to_list() == ["s:1"]
    assert publish("s:1", "s:3") == ["s:1", "s:3"]
    assert ledger.claims(target.key, [LEAVING]).is_empty()
    publish("s:3")
    must_stay.clear()
    assert publish(cells=()) == ["s:3"]
    assert ledger.claims_of(target.key, pl.Series(["s:1", "s:2"])).is_empty()
