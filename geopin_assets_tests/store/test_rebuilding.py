"""A catalog made anew: whole and in its place, or not there at all. The command is in `cli/test_alone.py`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from geopin_assets.errors import StorageFullError, TransientError
from geopin_assets.files.object_store import ObjectStore, memory_store
from geopin_assets.store import rebuilding
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import capture, crawl

A, B = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"


class Full(ObjectStore):
    """Of some of its files nothing can be fetched: there is no room for them."""

    def __init__(self) -> None:
        super().__init__(memory_store()._inner, "full:")
        self.keys = set[str]()

    @contextmanager
    def as_file(self, key: str) -> Iterator[Path]:
        if key in self.keys:
            raise StorageFullError(f"{key}: no space left")
        with super().as_file(key) as path:
            yield path


@pytest.fixture
def objects() -> Full:
    return Full()


@pytest.fixture
def raw(objects: Full) -> RawStore:
    raw = RawStore(objects)
    crawl(raw, A, [capture("1")])
    crawl(raw, B, [capture("2")])
    return raw


@pytest.fixture
def path(tmp_path: Path, raw: RawStore) -> Path:
    """A catalog with one of the cells."""
    path = tmp_path / "catalog.duckdb"
    Catalog(path).merge([A], raw)
    return path


def rebuild(path: Path, raw: RawStore, patience_s: float = 10.0) -> dict[str, str]:
    with rebuilding.beside(path) as part:
        damaged = rebuilding.make(part, [A, B], raw, Catalog(path).takedowns(), 0.0, lambda cells: None)
        rebuilding.put_in_place(part, path, patience_s=patience_s)
    return damaged


def names(path: Path) -> set[str]:
    return {one.name for one in path.parent.iterdir() if "catalog" in one.name}


def test_it_takes_the_place_of_the_old_one_which_is_kept_and_what_a_killed_one_left_is_gone(
    path: Path, raw: RawStore
) -> None:
    old = path.stat().st_ino
    for left in ("", ".wal", ".tmp/block", ".9-1a2b3c4d.partial.wal"):
        half = path.parent / f".catalog.duckdb.anew.partial{left}"
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half of one")
    assert rebuild(path, raw) == {}
    assert Catalog(path).size() == (2, 0) and path.stat().st_ino != old
    (kept,) = names(path) - {path.name}
    assert ".damaged-" in kept and path.with_name(kept).stat().st_ino == old


def test_where_a_file_cannot_be_read_for_want_of_room_the_old_one_stays(
    path: Path, raw: RawStore, objects: Full
) -> None:
    old = path.read_bytes()
    objects.keys.add(raw.key("panoramax", B))
    with pytest.raises(TransientError, match="no space left"):
        rebuild(path, raw)
    assert path.read_bytes() == old and names(path) == {path.name}


def test_a_damaged_file_is_told_and_set_aside_and_its_cell_waits_for_another_crawl(
    path: Path, raw: RawStore, objects: Full
) -> None:
    objects.put(raw.key("panoramax", B), b"no parquet")
    assert list(rebuild(path, raw)) == [B]
    assert Catalog(path).size() == (1, 0) and raw.lost("panoramax") == {B}


def test_whoever_writes_the_old_one_is_waited_for_and_it_stays_if_that_takes_too_long(
    path: Path, raw: RawStore
) -> None:
    old = path.stat().st_ino
    hold = f"import duckdb; db = duckdb.connect({str(path)!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=PIPE, stdout=PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(TransientError, match="locked"):
            rebuild(path, raw, patience_s=0)
        writer.communicate("done\n")
    assert path.stat().st_ino == old and names(path) == {path.name}


def test_a_journal_that_a_killed_writer_of_a_damaged_one_left_goes_with_it(path: Path, raw: RawStore) -> None:
    path.write_bytes(b"no database" * 1000)
    path.with_name("catalog.duckdb.wal").write_bytes(b"of the old one")
    rebuild(path, raw)
    assert Catalog(path).size() == (2, 0)
    (journal,) = (name for name in names(path) if name.endswith(".wal"))
    assert ".damaged-" in journal and path.with_name(journal).read_bytes() == b"of the old one"
