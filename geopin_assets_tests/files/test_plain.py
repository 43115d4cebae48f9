"""What is no plain file is refused by its kind wherever a stranger's file is opened, and nobody waits for a pipe."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from geopin_assets.embedding.model import checkpoints, whitening
from geopin_assets.embedding.model.scenes import LIST, Scenes
from geopin_assets.errors import ConfigurationError, DamagedFileError, GeoPinError
from geopin_assets.exchange.areas import read_areas
from geopin_assets.exchange.manifest import read_manifest
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import open_store
from geopin_assets.files.plain import open_plain, read_plain
from geopin_assets.locate.photo import read_photo
from geopin_assets.photo_folder import LocalFolder
from geopin_assets_tests.files.odd import ODD

PACKAGE = Path(__file__).parents[2] / "geopin_assets"
OF_OURS = {
    *("attempts.py", "build_cells.py", "cells.py", "coverage.py", "database.py", "declare.py", "geo.py", "layers.py"),
    *(
        "map_html.py",
        "merge.py",
        "opening.py",
        "pages.py",
        "report.py",
        "tables.py",
        "tiles.py",
        "adopting.py",
        "checkpoints.py",
        "ui.py",
    ),
}
"""Modules that read files which this project wrote or brings along, or the kernel's of a process."""


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_plain_file_is_called_what_it_is(tmp_path: Path, kind: str) -> None:
    ODD[kind](path := tmp_path / "file")
    with pytest.raises(ConfigurationError, match=f"{path} is {kind}, not a plain file"):
        open_plain(path)


@pytest.mark.parametrize("kind", ODD)
def test_in_place_of_an_object_it_is_damage_of_that_one_which_is_set_aside_or_written_over(
    tmp_path: Path, kind: str
) -> None:
    store = FolderStore(tmp_path)
    store.put("cells/a.parquet", b"a")
    for name in ("b.parquet", "c.parquet"):
        ODD[kind](tmp_path / "cells" / name)
    with pytest.raises(DamagedFileError, match=f"is {kind}, not a plain file"):
        store.get("cells/b.parquet")
    is_object = kind != "a folder"  # two of which one is below the other are none
    assert store.has("cells/b.parquet") == is_object
    assert {one.key for one in store.look("cells")[1]} >= {"cells/a.parquet"}
    assert len(store.walk()) == (3 if is_object else 1)
    aside = store.set_aside("cells/b.parquet")
    store.put("cells/c.parquet", b"c")
    assert [store.get(one.key) for one in store.walk()] == [b"a", b"c"]
    assert aside in store.aside()
    store.delete(store.aside())
    assert [path.name for path in sorted((tmp_path / "cells").iterdir())] == ["a.parquet", "c.parquet"]


def test_a_link_to_a_folder_above_is_walked_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b/c", b"c")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "nothing").symlink_to("nowhere")
    found = [one.key for one in store.walk()]
    assert found[0] == "a/b/c" and len(found) < 4


def test_a_store_is_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("x")
    os.mkfifo(tmp_path / "a pipe")
    for kind in ("a file", "a pipe"):
        with pytest.raises(ConfigurationError, match=f"is {kind}, not a folder"):
            open_store(tmp_path / kind)


def test_a_store_is_not_where_a_link_leads_nowhere(tmp_path: Path) -> None:
    (link := tmp_path / "unmounted").symlink_to(tmp_path / "disk" / "data")
    with pytest.raises(ConfigurationError, match="unmounted is a link to what is not there"):
        open_store(link)


def test_a_plain_file_is_read_as_ever_and_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(path)
    assert read_plain(path) == read_plain(tmp_path / "link") == b"content"
    assert read_plain(path, 3) == b"con"
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "nothing")


def as_file(store: FolderStore, key: str) -> None:
    with store.as_file(key):
        pass


READERS: dict[str, Callable[[Path], object]] = {
    "areas": lambda folder: read_areas(folder / "x"),
    "photo": lambda folder: read_photo(folder / "x"),
    "whitening": lambda folder: whitening.read(folder / "x"),
    "weights": lambda folder: checkpoints.read_weights(folder / "x"),
    "hash of weights": lambda folder: checkpoints.weights_sha256(folder / "x"),
    "scenes": lambda folder: Scenes(folder),
    "positions": lambda folder: LocalFolder(folder).read("x", 100),
    "manifest": lambda folder: read_manifest(FolderStore(folder)),
    "object": lambda folder: FolderStore(folder).get("x"),
    "its end": lambda folder: FolderStore(folder).get_end("x", 9),
    "a part": lambda folder: FolderStore(folder).get_range("x", 0, 9),
    "as a file": lambda folder: as_file(FolderStore(folder), "x"),
}


@pytest.mark.parametrize("reader", READERS)
def test_nobody_waits_for_a_pipe(tmp_path: Path, reader: str) -> None:
    for name in ("x", LIST, "manifest.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(GeoPinError, match="is a pipe, not a plain file"):
        READERS[reader](tmp_path)


def test_files_that_strangers_name_are_opened_in_no_other_way() -> None:
    ways = re.compile(r"\.read_bytes\(|\.read_text\(|\.open\(\"rb\"\)")
    others = [path for path in PACKAGE.rglob("*.py") if path.parent.name not in ("files", "sandbox")]
    found = {path.name for path in others if ways.search(path.read_text(encoding="utf-8"))}
    assert found - OF_OURS == {"files.py"}, "exchange/files.py opens what a store has checked"
