"""Commands that take the place of what others work with: who is at work is named or waited for; a disk has its word.

Not here: leases themselves (`files/test_lease.py`), what is moved (`defs/test_over_s3.py`) or made anew (`docs`).
"""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from geopin_assets.cli.move import _alone
from geopin_assets.defs.graph import CATALOG, GRAPH
from geopin_assets.exchange.exporting import places, remember
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.lease import Leases, StillHeldError
from geopin_assets.files.object_store import open_store
from geopin_assets.files.sqlite import transaction
from geopin_assets_tests.cli.typed import Ended, Place, complaint, with_sandbox
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.instances import EVENTS, RUNS
from geopin_assets_tests.platform import CELLS, Installation
from geopin_assets_tests.ports import free_port

HERE = CELLS[0]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A cell that was crawled and merged."""
    place = Place(tmp_path)
    storage = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"}).storage
    crawl(storage.raw(), HERE, [capture(str(n)) for n in range(3)])
    storage.catalog().merge([HERE], storage.raw())
    return place


def leases(place: Place) -> Leases:
    return Leases(place.data / "leases")


@contextmanager
def no_room(most_bytes: int) -> Iterator[None]:
    """No file may be longer, whoever writes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("thing", [CATALOG, "raw/amsterdam", "quality/coverage"])
def test_nothing_is_moved_while_somebody_works_on_a_cell_or_a_report(place: Place, tmp_path: Path, thing: str) -> None:
    with leases(place).held(thing, None if "quality" in thing else [HERE], what="at work"):
        said = complaint(place.geopin("move", str(tmp_path / "there")))
    assert "stop the daemon first" in said and thing in said and "at work" in said
    assert not (tmp_path / "there").exists()
    ended = place.geopin("move", str(tmp_path / "there"))
    assert ended.returncode == 0 and "the same in both" in " ".join(ended.stdout.split()), ended


def test_a_store_is_not_moved_into_itself_by_another_name(place: Place, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(place.data)
    for to in (str(place.data), f"{place.data}/", str(tmp_path / "link"), "../data", str(place.data / "raw")):
        assert "is there already" in complaint(place.geopin("move", to)), to
    ended = place.geopin("move", str(place.data / "elsewhere"))
    assert ended.returncode == 0, "a folder of its own is no part of the store"


def test_where_something_was_published_to_is_still_known_where_the_store_went(place: Place, tmp_path: Path) -> None:
    told = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_STORE": str(tmp_path / "there")}
    remember(Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"}).storage, open_store(tmp_path / "handed out"))
    assert place.geopin("move", told["GEOPIN_STORE"]).returncode == 0
    assert places(Installation(tmp_path, told).storage) == [
        str(tmp_path / "there" / "exports"),
        str(tmp_path / "handed out"),
    ], "or what is taken down stays there"


def test_newer_work_there_is_not_replaced_unless_asked(place: Place, tmp_path: Path) -> None:
    there = FolderStore(tmp_path / "there")
    assert place.geopin("move", str(there.root)).returncode == 0
    (longer,), (as_long,) = (
        [one.key for one in there.walk("raw") if one.key.endswith(f"/{name}")]
        for name in (f"{HERE}.parquet", "crawls.json")
    )
    before = there.get(as_long)
    there.put(longer, b"crawled anew" * 10_000)
    said = complaint(place.geopin("move", str(there.root)))
    assert "newer there" in said and "--exactly" in said and longer in said
    assert there.get(longer) == b"crawled anew" * 10_000
    there.put(longer, (place.data / longer).read_bytes())
    there.put(as_long, changed := before.replace(b"1", b"2"))
    ended = place.geopin("move", str(there.root))
    assert ended.returncode == 1 and "with other content" in " ".join(ended.stdout.split())
    assert there.get(as_long) == changed, "what another process has written stays"
    assert place.geopin("move", "--exactly", str(there.root)).returncode == 1
    assert place.geopin("move", "--exactly", str(there.root)).returncode == 0
    assert there.get(as_long) == before


def test_the_store_of_another_installation_stays_its_own(place: Place, tmp_path: Path) -> None:
    other = Installation(tmp_path / "other", {"GEOPIN_PROFILE": "sandbox"}).storage
    crawl(other.raw(), HERE, [capture("of others")])
    other.takedowns().take_down(["panoramax:1"], note="asked", now=datetime.now(UTC))
    other.takedowns().installation_id()
    other.takedowns().sync()
    said = complaint(place.geopin("move", "--exactly", other.objects().address()))
    assert "is the store of installation" in said
    assert other.takedowns().ids() == {"panoramax:1"} and len(other.raw().captures("panoramax", HERE)) == 1


def test_whoever_begins_while_something_is_moved_is_told_who_moves(tmp_path: Path) -> None:
    storage = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"}).storage
    with _alone(storage):
        for node in GRAPH:
            with (
                pytest.raises(StillHeldError, match="geopin move"),
                storage.leases().held(node.key, [HERE], patience_s=0.0),
            ):
                pytest.fail(f"{node.key} was free")
    assert not any(storage.leases().holders(node.key) for node in GRAPH)


def test_a_catalog_is_made_anew_when_whoever_merges_is_done(place: Place) -> None:
    path, ended = place.data / "catalog.duckdb", list[Ended]()
    before = path.stat().st_ino
    thread = Thread(target=lambda: ended.append(place.geopin("catalog", "rebuild")))
    with leases(place).held(CATALOG, [HERE], what="merging"):
        thread.start()
        thread.join(timeout=1.5)
        assert thread.is_alive() and path.stat().st_ino == before
    thread.join()
    assert ended[0].returncode == 0 and "the catalog is complete" in " ".join(ended[0].stdout.split()), ended
    assert path.stat().st_ino != before


@pytest.mark.parametrize("name", [RUNS, EVENTS])
def test_a_damaged_history_of_dagster_is_one_line_that_names_it(place: Place, name: Path) -> None:
    (place.home / name).parent.mkdir(parents=True, exist_ok=True)
    (place.home / name).write_bytes(b"no database" * 1000)
    said = complaint(place.geopin("catalog", "rebuild"))
    assert str(place.home) in said and "not a database" in said


@pytest.mark.parametrize("most_bytes", [3_000, 13_000, 530_000])
def test_a_disk_that_is_full_is_one_line_and_the_old_catalog_stays(place: Place, most_bytes: int) -> None:
    path = place.data / "catalog.duckdb"
    old = path.read_bytes()
    with no_room(most_bytes):
        ended = place.geopin("catalog", "rebuild")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended
    assert len(ended.stderr.splitlines()) <= 1
    assert path.read_bytes() == old and [one.name for one in place.data.glob("*catalog.duckdb*")] == [path.name]
    assert place.geopin("catalog", "rebuild").returncode == 0
    assert place.geopin("doctor").returncode in (0, 1)


def test_a_doctor_looks_at_all_the_rest_and_calls_nothing_damaged_that_it_has_no_room_to_look_at(place: Place) -> None:
    with transaction(place.data / "ledger.sqlite", "create table if not exists a (b)"):
        pass
    with no_room(3_000):
        ended = place.geopin("doctor", "--json", GEOPIN_SANDBOX_PORT=str(free_port()))
    assert ended.returncode == 2, ended
    found = {one["what"]: one for one in json.loads(ended.stdout)["findings"]}
    assert found["takedowns"]["state"] == "ok"
    assert "no space left" in found["stand-ins"]["detail"]
    assert "is there space left" in found["ledger"]["detail"] and found["ledger"]["remedy"] == "see the message"


def test_a_doctor_names_cells_that_were_crawled_and_that_nobody_is_about_to_merge(place: Place) -> None:
    def doctor() -> tuple[int, str]:
        ended = place.geopin("doctor", "--json", GEOPIN_SANDBOX_PORT=str(free_port()))
        findings = json.loads(ended.stdout)["findings"]
        said = [f"{one['detail']} {one['remedy']}" for one in findings if "wait to be merged" in one["detail"]]
        return ended.returncode, " ".join(said)

    storage = Installation(place.folder, {"GEOPIN_PROFILE": "sandbox"}).storage
    assert doctor() == (0, "")
    crawl(storage.raw(), HERE, [capture("new")])
    with leases(place).held(CATALOG, [HERE], what="merging"):
        assert doctor() == (0, "")
    code, said = doctor()
    assert code == 1 and "1 cells" in said and HERE in said and "panoramax" in said and "geopin merge" in said
    assert place.geopin("merge").returncode == 0
    assert doctor() == (0, "")


@pytest.mark.parametrize("commands", [("export", "reconcile"), ("reconcile", "export"), ("merge", "doctor")])
def test_where_nothing_was_ever_done_a_catalog_made_anew_lets_all_else_go_on(
    tmp_path: Path, sandbox_port: int, commands: tuple[str, str]
) -> None:
    geopin = with_sandbox(Place(tmp_path), sandbox_port)
    for command in (("catalog", "rebuild"), *((one,) for one in commands)):
        ended = geopin(*command)
        assert (ended.returncode, ended.stderr) == (0, ""), (command, ended)
