"""Machines that publish to one place at once and know nothing of each other, and what killed ones leave there."""

import os
from pathlib import Path

import pytest

from geopin_assets.defs.resources import Storage
from geopin_assets.exchange.copies import bring_up_to_date
from geopin_assets.exchange.exporting import Condition, conditions, remember
from geopin_assets.exchange.following import verify
from geopin_assets.exchange.manifest import entry_folder, read_manifest
from geopin_assets.exchange.publish import is_ours, rest
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import ObjectStore, memory_store, open_store
from geopin_assets_tests.depth import IS_LONG, some
from geopin_assets_tests.exchange.worlds import World, content_of, same
from geopin_assets_tests.files.processes import at_work, end, start

PUBLISH = """
    import sys
    from geopin_assets.errors import GeoPinError
    from geopin_assets.files.object_store import open_store
    from geopin_assets_tests.exchange.worlds import CELLS, World
    address, endpoint_url, me, times = sys.argv[1:]
    world, lost = World(), 0
    for name in "abc":
        world.put(name)
    for number in range(int(times)):
        world.put(f"{me}{number}", CELLS[number % 3], 2 + number)
        try:
            world.publish(open_store(address, endpoint_url=endpoint_url, is_durable=False))
        except GeoPinError as error:
            lost += 1
            assert "another process" in str(error) or "repeat this" in str(error) or "not there" in str(error), error
    print(int(times) - lost)
"""
WRITE_AND_WAIT = """
    import pathlib, sys, time
    from geopin_assets.exchange.publish import is_ours
    from geopin_assets.files.folder_store import FolderStore
    store = FolderStore(pathlib.Path(sys.argv[1]))
    with store.at_work(is_ours), store.replacing(sys.argv[2]) as path:
        path.write_bytes(b"half of it")
        print("begun", flush=True)
        time.sleep(600)
"""
KEY = "captures/nh-000009-0123abcd.parquet"
TIMES = 40 if IS_LONG else 4


def keys(store: ObjectStore) -> set[str]:
    return {stored.key for stored in store.walk()} - {"store.json"}


@pytest.mark.parametrize("kind", some(["s3", "folder"]))
def test_of_machines_that_publish_at_once_one_comes_first_and_the_publication_stays_whole(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("s3_address") if kind == "s3" else ""
    address = f"s3://{request.getfixturevalue('s3_bucket')}/index" if url else str(tmp_path / "index")
    store, copy = open_store(address, endpoint_url=url), memory_store()
    World().publish(store)
    list(bring_up_to_date(copy, store, lambda captures: 10**6))

    told = [end(process) for process in [start(PUBLISH, address, url, me, TIMES) for me in ("x", "y")]]
    assert [code for code, _ in told] == [0, 0], told
    manifest = read_manifest(store)
    assert manifest.sequence == sum(int(said) for _, said in told) >= TIMES

    verify(store, manifest)
    list(bring_up_to_date(copy, store, lambda captures: 10**6))
    assert same(copy, store)
    World().publish(store)
    manifest = read_manifest(store)
    assert not rest(store, manifest)
    kept = {file.key for file in manifest.files()} | {"manifest.json"}
    assert {key for key in keys(store) if not key.startswith("feed/")} == kept
    assert {key.rpartition("/")[0] for key in keys(store) if key.startswith("feed/")} == {
        entry_folder(stamp) for stamp in manifest.feed
    }


def test_what_a_killed_export_left_is_removed_by_the_next_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    world, store = World(), FolderStore(tmp_path)
    world.put("a")
    world.publish(store)
    mine = tmp_path / "captures" / ".mine.parquet.1-0123abcd.partial"
    mine.write_bytes(b"somebody else's")
    with at_work(WRITE_AND_WAIT, tmp_path, KEY) as other:
        world.put("b")
        world.publish(store)
        (left,) = store.left(is_ours)
        assert left.read_bytes() == b"half of it" and f".{other.pid}-" in left.name
        os.kill(other.pid, 9)
        other.wait()
        assert world.publish(store).changes is None
    assert store.left(is_ours) == [] and mine.exists()
    assert [folder.name for folder in (tmp_path / "feed").iterdir()] == list(read_manifest(store).feed)
    assert content_of(store)["captures"].height == 2


def test_what_is_wrong_with_publications_is_told_place_by_place(tmp_path: Path) -> None:
    storage = Storage(overrides={"GEOPIN_DATA": str(tmp_path / "data"), "GEOPIN_PROFILE": "sandbox"})
    assert [(found.is_there, found.missing, found.left) for found in conditions(storage)] == [(False, [], [])]  # type: ignore[union-attr]
    world, store = World(), FolderStore(tmp_path / "index")
    world.put("a")
    key = world.publish(store).manifest.parts["nh"].vectors.key
    remember(storage, store)
    left = store.path("captures") / ".nh-000001-0123abcd.parquet.77-0123abcd.partial"
    left.write_bytes(b"half")
    store.path(key).rename(tmp_path / "vectors")
    _, there = conditions(storage)
    assert isinstance(there, Condition)
    assert (there.address, there.missing, there.left) == (store.address(), [key], [str(left)])
