"""What is taken down leaves what is published with the takedown, not with the next publish."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.defs.running.takedown import Takedown
from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.exchange.exporting import export, places, remember, withdraw
from geopin_assets.exchange.manifest import read_manifest
from geopin_assets.exchange.snapshot import searched_model
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import ConflictError, ObjectStore, memory_store
from geopin_assets.platform.parts import Storage
from geopin_assets_tests.exchange.test_feed import TwoWeeks, folder, follow
from geopin_assets_tests.exchange.test_feed import made as made
from geopin_assets_tests.exchange.test_feed import two_weeks as two_weeks
from geopin_assets_tests.exchange.worlds import START, World, content_of, entry_of, same
from geopin_assets_tests.platform import CELLS, Ran


def files(store: ObjectStore) -> dict[str, str]:
    return {one.key: one.version for one in store.walk()}


def test_only_the_files_of_its_province_are_others_and_its_feed_says_by_when(two_weeks: TwoWeeks) -> None:
    world, publication, _ = two_weeks
    before = files(publication)
    world.taken_down["panoramax:a"] = START  # in Utrecht since the first week
    assert (world.withdraw(publication), world.withdraw(publication)) == (1, 0)
    after, manifest = files(publication), read_manifest(publication)
    nh, ut = manifest.parts["nh"], manifest.parts.get("ut")
    assert ut is None, "it was the only one there"
    assert all(after[file.key] == before[file.key] for file in (nh.captures, nh.vectors))
    held = [path.read_bytes() for path in publication.root.rglob("*captures*") if path.is_file()]
    held += [path.read_bytes() for kind in ("captures", "vectors") for path in publication.path(kind).iterdir()]
    assert not any(b"panoramax:a" in content for content in held)
    entry = entry_of(publication, 3)
    assert (entry.counts["taken_down"], entry.counts["takedowns"]) == (1, 1)
    assert (entry.apply_takedowns_by - entry.published_at).days == 7
    assert manifest.oldest == 2, "the entry that brought it there is gone"
    world.drop("a")
    world.publish(fresh := memory_store())
    assert content_of(publication)["captures"].equals(content_of(fresh)["captures"])
    assert publication.get(manifest.notice.key).count(b"\n") == fresh.get(read_manifest(fresh).notice.key).count(b"\n")


def test_a_copy_follows_and_what_is_published_later_goes_on_from_it(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    follow(copy, publication)
    world.taken_down["panoramax:d"] = START
    assert world.withdraw(publication) == 1
    assert follow(copy, publication) == 1
    assert same(copy, publication)
    world.put("z")
    world.publish(publication)
    follow(copy, publication)
    world.publish(fresh := memory_store())
    assert same(copy, fresh)


def test_what_nobody_published_changes_nothing_but_the_list(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    follow(copy, publication)
    world.taken_down["panoramax:never"] = START
    assert world.withdraw(publication) == 0
    assert "panoramax:never" in content_of(publication)["takedowns"]["capture_id"]
    assert follow(copy, publication) == 1
    assert World().withdraw(memory_store()) == 0, "nothing is published there"


class Overtaken(FolderStore):
    """Another publish comes between reading what is published and writing it."""

    def put(self, key: str, content: bytes, **condition: Any) -> str:
        if key == "manifest.json":
            super().put(key, self.get(key))
        return super().put(key, content, **condition)


def test_a_publish_that_comes_between_is_not_undone(two_weeks: TwoWeeks) -> None:
    world, publication, _ = two_weeks
    world.taken_down["panoramax:d"] = START
    with pytest.raises(ConflictError):
        world.withdraw(Overtaken(publication.root, is_durable=False))
    assert world.withdraw(folder(publication.root)) == 1


class TakenDownMeanwhile(FolderStore):
    """Something comes on the list just before the manifest is there."""

    def __init__(self, root: Path, act: Callable[[], None]) -> None:
        super().__init__(root, is_durable=False)
        self._act = act

    def put(self, key: str, content: bytes, **condition: Any) -> str:
        if key == "manifest.json":
            self._act()
        return super().put(key, content, **condition)


def take_down(storage: Storage, capture_id: str) -> None:
    storage.takedowns().take_down([capture_id], note="", now=datetime.now(UTC))


def test_nothing_is_exported_among_the_files_of_the_installation(ran: Ran, tmp_path: Path) -> None:
    place = ran.platform
    model, settings = searched_model(place.embedding, place.search_index), place.storage.settings()
    (link := tmp_path / "link").symlink_to(settings.data_dir)
    for root in (settings.data_dir, settings.data_dir / "raw", settings.data_dir / "new", link / "captures"):
        with pytest.raises(ConfigurationError, match=r"among the installation's own files: export to .*exports"):
            export(place.storage, model, CELLS, "amsterdam", FolderStore(root))
    assert not (settings.data_dir / "manifest.json").exists()
    export(place.storage, model, CELLS, "amsterdam", FolderStore(settings.data_dir / "exports" / "another"))


def test_a_takedown_takes_a_capture_out_of_every_publication_of_an_installation(ran: Ran, tmp_path: Path) -> None:
    place = ran.platform
    elsewhere = FolderStore(tmp_path / "elsewhere")
    model = searched_model(place.embedding, place.search_index)
    for store in (elsewhere, place.storage.exports()):
        export(place.storage, model, CELLS, "amsterdam", store)
    assert places(place.storage) == [place.storage.exports().address(), elsewhere.address()]
    gone = content_of(elsewhere)["captures"]["capture_id"][0]
    takedown = Takedown((gone,), place.storage, place.search_index)
    found = takedown.begin("asked for")
    assert {elsewhere.address(), place.storage.exports().address()} <= {trace.place for trace in found}
    results = {result.asset: result for result in takedown.finish(place.definitions, ran.instance, found)}
    assert results["publications"].totals == {"withdrawn": 2}
    assert takedown.traces() == []
    for store in (elsewhere, place.storage.exports()):
        assert gone not in content_of(store)["captures"]["capture_id"]
        assert read_manifest(store).sequence == 1
    late = content_of(elsewhere)["captures"]["capture_id"][0]
    slow = TakenDownMeanwhile(tmp_path / "slow", lambda: take_down(place.storage, late))
    export(place.storage, model, CELLS, "amsterdam", slow)
    assert late not in content_of(slow)["captures"]["capture_id"]


def test_a_publication_that_cannot_be_read_is_told_and_the_takedown_goes_on(ran: Ran, tmp_path: Path) -> None:
    place = ran.platform
    place.storage.exports().put("manifest.json", b"{")
    remember(place.storage, FolderStore(gone := tmp_path / "gone"))
    gone.write_text("no folder any more")
    takedown = Takedown(("panoramax:unknown",), place.storage, place.search_index)
    results = {r.asset: r for r in takedown.finish(place.definitions, ran.instance, takedown.begin(""))}
    assert "none of ours" in results["publications"].failed[place.storage.exports().address()]
    assert "not a folder" in results["publications"].failed[str(gone)]
    assert [trace.capture_id for trace in takedown.traces()] == [None, None]
    assert "none of ours" in takedown.traces()[0].place
    with pytest.raises(GeoPinError):
        withdraw(place.storage.exports(), World().listed(), now=START, takedown_days=7)
