"""A copy that follows the feed holds what a fresh export does, whatever happened meanwhile."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.errors import ConfigurationError, EvidenceError, PayloadError
from geopin_assets.exchange.copies import bring_up_to_date
from geopin_assets.exchange.manifest import entry_folder, read_manifest
from geopin_assets.exchange.publish import published as taken
from geopin_assets.exchange.publish import put_manifest
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import ConflictError, ObjectStore, memory_store, open_store
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.exchange.worlds import CELLS, START, World, content_of, entry_of, same

NAMES = "abcdef"


def follow(copy: ObjectStore, of: ObjectStore, most: int = 10**6) -> int:
    return len(list(bring_up_to_date(copy, of, lambda captures: most)))


def act(world: World, kind: str, name: str, cell_id: str, number: int) -> None:
    match kind:
        case "put":
            world.put(name, cell_id, number, is_pano=number == 2, creator=f"creator {number}")
        case "drop":
            world.drop(name)
        case "embed" if name in world.seed:
            world.seed[name] = number
        case "change" if name in world.captures:
            world.captures[name] = {**world.captures[name], "attribution": f"by {number}"}
        case "close" if name in world.captures:
            world.captures[name] = {**world.captures[name], "license": "CC-BY-NC-4.0"}
        case "take down":
            world.taken_down.setdefault(f"panoramax:{name}", world.now)
        case "undo":
            world.taken_down.pop(f"panoramax:{name}", None)
        case "model":
            world.model, world.dim = f"model-{4 + number}", 4 + number // 2


ACTS = st.tuples(
    st.sampled_from(["put", "put", "put", "drop", "embed", "change", "close", "take down", "undo", "model"]),
    st.sampled_from(NAMES),
    st.sampled_from(CELLS),
    st.integers(0, 3),
)
WEEKS = st.lists(st.tuples(st.lists(ACTS, max_size=6), st.booleans()), min_size=3, max_size=5)


@settings(max_examples=300 if IS_LONG else 3)
@given(weeks=WEEKS)
def test_a_copy_that_follows_the_feed_equals_a_fresh_export(
    weeks: list[tuple[list[tuple[str, str, str, int]], bool]],
) -> None:
    world, publication, copy = World(), memory_store(), memory_store()
    world.put("a")
    world.publish(publication)
    follow(copy, publication)
    for acts, follows in weeks:
        for one in acts:
            act(world, *one)
        if not follows:  # what was taken down leaves before all else is published
            world.withdraw(publication)
            assert world.taken_down.keys().isdisjoint(content_of(publication)["captures"]["capture_id"])
        world.publish(publication)
        if follows and read_manifest(publication).oldest <= read_manifest(copy).sequence + 1:
            follow(copy, publication)
    if read_manifest(publication).oldest > read_manifest(copy).sequence + 1:
        with pytest.raises(ConfigurationError, match="not kept any more"):
            follow(copy, publication)
        return
    follow(copy, publication)
    world.publish(fresh := memory_store())
    assert same(copy, fresh)
    assert same(publication, fresh)
    assert world.taken_down.keys().isdisjoint(content_of(copy)["captures"]["capture_id"])


def folder(path: Path) -> FolderStore:
    return FolderStore(path, is_durable=False)


TwoWeeks = tuple[World, FolderStore, FolderStore]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """Of two weeks, and the folder with what was published and what was copied of it."""
    made = tmp_path_factory.mktemp("two-weeks")
    world, publication, copy = World(), folder(made / "there"), folder(made / "copy")
    for name in NAMES:
        world.put(name)
    world.publish(publication)
    follow(copy, publication)
    world.put("a", CELLS[2], 2)
    world.publish(publication)
    world.drop("b")
    world.taken_down["panoramax:c"] = START
    world.publish(publication)
    return world, made


@pytest.fixture
def two_weeks(made: tuple[World, Path], tmp_path: Path) -> TwoWeeks:
    """A copy of the first publish, and two entries that it lacks."""
    world, there = made
    shutil.copytree(there, tmp_path, dirs_exist_ok=True)
    return deepcopy(world), folder(tmp_path / "there"), folder(tmp_path / "copy")


def test_an_entry_says_what_happened_and_until_when_it_must_be_applied(two_weeks: TwoWeeks) -> None:
    _, publication, _ = two_weeks
    assert entry_of(publication, 1).counts == {"moved": 1, "vectors": 1}
    entry = entry_of(publication, 2)
    assert (entry.counts["removed"], entry.counts["taken_down"], entry.counts["takedowns"]) == (1, 1, 1)
    assert (entry.apply_takedowns_by - entry.published_at).days == 7


def test_what_did_not_change_is_no_entry_and_no_new_file(two_weeks: TwoWeeks) -> None:
    world, publication, _ = two_weeks
    before = {stored.key: stored.version for stored in publication.walk()}
    assert world.publish(publication).changes is None
    assert {stored.key: stored.version for stored in publication.walk()} == before


def test_applying_twice_changes_nothing(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    assert (follow(copy, publication), follow(copy, publication)) == (2, 0)
    world.publish(fresh := memory_store())
    assert same(copy, fresh)


def test_of_two_that_bring_one_copy_up_to_date_the_slower_is_told_and_nothing_is_lost(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    slow = bring_up_to_date(copy, publication, lambda captures: 10**6)
    next(slow)
    version, mine = taken(copy)
    assert follow(copy, publication) == 1
    with pytest.raises(PayloadError, match="repeat this"):
        next(slow)
    with pytest.raises(ConflictError):
        put_manifest(copy, mine, version)
    world.publish(fresh := memory_store())
    assert same(copy, fresh)
    assert follow(copy, publication) == 0


def test_entries_that_hold_what_was_taken_down_are_gone(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    world.put("new")
    world.publish(publication)
    follow(copy, publication)
    world.put("more")
    world.publish(publication)
    world.taken_down["panoramax:new"] = START
    world.publish(publication)
    assert read_manifest(publication).oldest == 4
    names = "*captures*", "*vectors*", "captures/*", "vectors/*"
    held = [path.read_bytes() for name in names for path in publication.root.rglob(name) if path.is_file()]
    assert len(held) > 4
    assert not any(b"panoramax:new" in content for content in held)
    follow(copy, publication)
    world.publish(fresh := memory_store())
    assert same(copy, fresh)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize(
    "file", ["entry.json", "captures.parquet", "vectors.parquet", "removals.parquet", "takedowns.parquet"]
)
def test_a_damaged_entry_is_refused_and_the_copy_is_what_it_was(
    two_weeks: TwoWeeks, damage: Callable[[Path], None], file: str
) -> None:
    _, publication, copy = two_weeks
    before = content_of(copy)
    damage(publication.path(f"{entry_folder(read_manifest(publication).feed[0])}/{file}"))
    with pytest.raises(PayloadError):
        follow(copy, publication)
    after = content_of(copy)
    assert all(before[name].equals(after[name]) for name in before)


def test_a_gap_and_another_feed_are_refused(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    shutil.rmtree(publication.path(entry_folder(read_manifest(publication).feed[0])))
    with pytest.raises(PayloadError, match="entry 1 of its feed is missing"):
        follow(copy, publication)
    shutil.rmtree(publication.root)
    world.publish(publication)
    with pytest.raises(PayloadError, match="another feed"):
        follow(copy, publication)


def test_a_feed_that_was_put_back_from_a_copy_is_refused(two_weeks: TwoWeeks, tmp_path: Path) -> None:
    world, publication, copy = two_weeks
    shutil.copytree(publication.root, tmp_path / "older")
    world.put("g")
    world.publish(publication)
    follow(copy, publication)
    world.put("h")
    world.publish(folder(tmp_path / "older"))
    with pytest.raises(PayloadError, match="put back"):
        follow(copy, folder(tmp_path / "older"))


def test_an_entry_that_removes_too_much_waits_for_somebody_to_say_so(two_weeks: TwoWeeks) -> None:
    world, publication, copy = two_weeks
    follow(copy, publication)
    for name in "def":
        world.drop(name)
    world.publish(publication)
    with pytest.raises(EvidenceError, match="--max-removals 3"):
        follow(copy, publication, most=2)
    assert follow(copy, publication, most=3) == 1


def test_a_publish_that_was_killed_before_its_manifest_is_none(two_weeks: TwoWeeks, tmp_path: Path) -> None:
    world, publication, copy = two_weeks
    shutil.copytree(publication.root, tmp_path / "before")
    world.put("z")
    world.publish(publication)
    shutil.copytree(tmp_path / "before", publication.root, dirs_exist_ok=True)  # as before its last step
    assert follow(copy, publication) == 2
    world.publish(publication)
    follow(copy, publication)
    world.publish(fresh := memory_store())
    assert same(copy, fresh)


def test_files_of_others_in_the_folder_stay(two_weeks: TwoWeeks) -> None:
    world, publication, _ = two_weeks
    publication.path("captures/notes.md").write_text("mine")
    world.put("z")
    world.publish(publication)
    assert publication.path("captures/notes.md").exists()


def test_another_installation_does_not_publish_into_it(two_weeks: TwoWeeks) -> None:
    _, publication, _ = two_weeks
    document = orjson.loads(publication.get("manifest.json")) | {"installation_id": "another"}
    publication.put("manifest.json", orjson.dumps(document))
    with pytest.raises(ConfigurationError, match="another"):
        World().publish(publication)


def test_nothing_is_ever_in_two_cells(two_weeks: TwoWeeks) -> None:
    _, publication, copy = two_weeks
    follow(copy, publication)
    captures = content_of(copy)["captures"]
    assert captures.filter(pl.col("capture_id") == "panoramax:a")["cell_id"].to_list() == [CELLS[2]]


class Failing(FolderStore):
    """Ends whatever writes to it with the write that is counted down to; its files are those of the folder."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root, is_durable=False)
        self.writes = writes

    @contextmanager
    def replacing(self, key: str) -> Iterator[Path]:
        with super().replacing(key) as path:
            yield path
            self._count()

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._count()
            super().delete([key])

    def _count(self) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise KeyboardInterrupt


def test_a_publish_or_a_copy_that_is_ended_anywhere_is_whole_and_goes_on(two_weeks: TwoWeeks, tmp_path: Path) -> None:
    world, publication, copy = two_weeks
    world.publish(fresh := memory_store())
    older, ended = content_of(copy), 0
    for name, work in (("copy", lambda store: follow(store, publication)), ("publication", world.publish)):
        for writes in range(0, 100, 1 if IS_LONG else 6):
            shutil.copytree(tmp_path / ("copy" if name == "copy" else "there"), place := tmp_path / f"{name}-{writes}")
            if name == "publication":
                world.put("g", CELLS[1], writes)
            try:
                work(Failing(place, writes))
                break
            except KeyboardInterrupt:
                ended += 1
            held = content_of(folder(place))  # a publication or a copy, of some publish
            if name == "copy" and read_manifest(folder(place)).sequence == 0:
                assert all(held[kind].equals(older[kind]) for kind in held)
            work(folder(place))
            if name == "copy":
                assert same(folder(place), fresh)
            shutil.rmtree(place)
    assert ended > 5


def test_publications_and_copies_are_in_any_store(object_store: ObjectStore) -> None:
    world, copy = World(), memory_store()
    world.put("a", is_pano=True)
    world.publish(object_store)
    follow(copy, object_store)
    world.put("b", CELLS[2])
    world.put("c")
    world.drop("a")
    world.publish(object_store)
    follow(copy, object_store)
    world.taken_down["panoramax:c"] = START
    assert world.withdraw(object_store) == 1
    follow(copy, object_store)
    world.drop("c")
    world.publish(fresh := memory_store())
    assert same(copy, fresh)
    assert same(object_store, fresh)


def test_a_copy_follows_what_a_web_server_publishes(two_weeks: TwoWeeks) -> None:
    world, publication, _ = two_weeks
    handler = partial(ExactHandler, directory=str(publication.root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        of, copy = open_store(f"http://127.0.0.1:{server.server_port}/below/it/"), memory_store()
        follow(copy, of)
        world.put("g")
        world.publish(publication)
        assert follow(copy, of) == 1
        server.shutdown()
        thread.join()
    world.publish(fresh := memory_store())
    assert same(copy, fresh)


class ExactHandler(SimpleHTTPRequestHandler):
    """Serves a folder at an address below its own, and nothing at one with a slash too many, as buckets do."""

    def translate_path(self, path: str) -> str:
        found = path.removeprefix("/below/it/")
        return super().translate_path("/nothing" if found == path or found.startswith("/") else f"/{found}")

    def log_message(self, *_: object) -> None:
        return
