"""Readers elsewhere get a catalog that nobody writes, and never half of one."""

from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from geopin_assets.errors import ConfigurationError, DamagedFileError
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import ObjectStore, memory_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets.store.snapshot import current, fetch, publish
from geopin_assets_tests.factories import DAY_1, capture, crawl

A = "nh-amsterdam-r090c051"


@pytest.fixture
def raw() -> RawStore:
    return RawStore(memory_store())


@pytest.fixture
def catalog(tmp_path: Path, raw: RawStore) -> Catalog:
    made = Catalog(tmp_path / "catalog.duckdb")
    merged(made, raw, "1")
    made.continue_from("here", [])
    return made


def merged(catalog: Catalog, raw: RawStore, *ids: str) -> None:
    crawl(raw, A, [capture(one) for one in ids])
    catalog.merge([A], raw)


def held(path: Path) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as db:
        return db.execute("select capture_id from captures order by all").fetchall()


def test_what_is_fetched_is_the_catalog_as_it_was_published(
    catalog: Catalog, raw: RawStore, object_store: ObjectStore, tmp_path: Path
) -> None:
    made = publish(catalog, object_store, now=DAY_1)
    merged(catalog, raw, "1", "2")
    got = tmp_path / "elsewhere.duckdb"
    assert fetch(object_store, got) == made == current(object_store)
    assert held(got) == [("panoramax:1",)], "what was merged since is not in it"
    with duckdb.connect(str(got), read_only=True) as db:
        assert db.execute("select captures from coverage_by_cell").fetchall() == [(1,)], "views go with it"
    publish(catalog, object_store)
    fetch(object_store, got)
    assert held(got) == [("panoramax:1",), ("panoramax:2",)]


def test_the_one_before_stays_for_those_who_read_it_and_older_ones_go(
    catalog: Catalog, raw: RawStore, object_store: ObjectStore
) -> None:
    made = []
    for nth in range(4):
        merged(catalog, raw, *map(str, range(nth + 2)))
        made.append(publish(catalog, object_store).key)
    assert snapshots(object_store) == made[-2:] and publish(catalog, object_store).key == made[-1], (
        "nothing new, nothing done"
    )


def test_nothing_was_published_yet(object_store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="geopin catalog publish"):
        fetch(object_store, tmp_path / "x.duckdb")
    assert not (tmp_path / "x.duckdb").exists()


def test_a_damaged_pointer_is_said_to_be_and_the_next_publish_makes_it_anew(
    catalog: Catalog, object_store: ObjectStore
) -> None:
    made = publish(catalog, object_store, now=DAY_1)
    for content in (b"", b"{", b"[]", b'{"key": 1}'):
        object_store.put("current.json", content)
        with pytest.raises(DamagedFileError, match="geopin catalog publish"):
            current(object_store)
        assert publish(catalog, object_store, now=DAY_1) == made == current(object_store)


def test_a_pointer_whose_snapshot_is_gone_is_said_to_be_nothing(
    catalog: Catalog, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.delete([publish(catalog, object_store).key])
    with pytest.raises(ConfigurationError):
        fetch(object_store, tmp_path / "x.duckdb")
    assert orjson.loads(object_store.get("current.json"))["generation"] >= 1


def test_what_was_taken_down_is_in_no_snapshot_that_could_be_fetched(
    catalog: Catalog, raw: RawStore, object_store: ObjectStore, tmp_path: Path
) -> None:
    merged(catalog, raw, "1", "2")
    publish(catalog, object_store)
    catalog.takedowns().take_down(["panoramax:1"], note="asked", now=DAY_1)
    catalog.apply_takedowns()
    publish(catalog, object_store, keeps_before=False)
    assert len(snapshots(object_store)) == 1
    fetch(object_store, tmp_path / "x.duckdb")
    assert held(tmp_path / "x.duckdb") == [("panoramax:2",)]


def test_nothing_of_what_was_taken_down_stays_where_somebody_else_was_faster_or_was_killed(
    catalog: Catalog, raw: RawStore, object_store: ObjectStore
) -> None:
    merged(catalog, raw, "1", "2")
    publish(catalog, object_store)
    catalog.takedowns().take_down(["panoramax:1"], note="asked", now=DAY_1)
    catalog.apply_takedowns()
    made = publish(catalog, object_store)  # of maintenance, which keeps the one before
    assert publish(catalog, object_store, keeps_before=False) == made
    assert snapshots(object_store) == [made.key]


def test_as_many_that_were_taken_down_are_not_the_same(
    catalog: Catalog, raw: RawStore, object_store: ObjectStore, tmp_path: Path
) -> None:
    merged(catalog, raw, "1", "2")
    catalog.takedowns().take_down(["panoramax:unknown"], note="asked", now=DAY_1)
    catalog.apply_takedowns()
    publish(catalog, object_store)
    catalog.takedowns().undo(["panoramax:unknown"], now=DAY_1)
    catalog.takedowns().take_down(["panoramax:1"], note="asked", now=DAY_1)
    catalog.apply_takedowns()
    publish(catalog, object_store, keeps_before=False)
    fetch(object_store, tmp_path / "x.duckdb")
    assert held(tmp_path / "x.duckdb") == [("panoramax:2",)]


def test_of_two_that_publish_at_once_none_takes_the_newest_away(
    catalog: Catalog, raw: RawStore, tmp_path: Path
) -> None:
    class Overtaken(FolderStore):
        """In which another process publishes as soon as this one's pointer is there."""

        def put(self, key: str, content: bytes, **condition: Any) -> str:
            version = super().put(key, content, **condition)
            merged(catalog, raw, "1", "2")
            publish(catalog, FolderStore(self.root))
            return version

    publish(catalog, Overtaken(tmp_path / "snapshots"))
    fetch(FolderStore(tmp_path / "snapshots"), tmp_path / "x.duckdb")
    assert held(tmp_path / "x.duckdb") == [("panoramax:1",), ("panoramax:2",)]


def snapshots(objects: ObjectStore) -> list[str]:
    return [stored.key for stored in objects.walk() if stored.key.endswith(".duckdb")]
