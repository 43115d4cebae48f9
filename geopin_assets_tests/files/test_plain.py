"""What is no plain file is refused by its kind wherever a stranger's file is opened, and nobody waits for a pipe."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from geopin_assets.embedding.model import checkpoints, whitening
from geopin_assets.embedding.model.scenes import LIST, Scenes
from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.exchange.areas import read_areas
from geopin_assets.exchange.manifest import read_manifest
from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import open_store
from geopin_assets.files.plain import open_plain, read_plain
from geopin_assets.locate.photo import read_photo
from geopin_assets.photo_folder import LocalFolder

PACKAGE = Path(__file__).parents[2] / "geopin_assets"
OF_OURS = {
    *("attempts.py", "build_cells.py", "cells.py", "coverage.py", "database.py", "declare.py", "geo.py", "layers.py"),
    *("map_html.py", "merge.py", "opening.py", "report.py", "tables.py", "tiles.py", "adopting.py", "checkpoints.py"),
}
"""Modules that read files which this project wrote or brings along."""


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_plain_file_is_called_what_it_is(tmp_path: Path, kind: str) -> None:
    ODD[kind](path := tmp_path / "file")
    with pytest.raises(ConfigurationError, match=f"{path} is {kind}, not a plain file"):
        open_plain(path)
    if kind != "a folder":
        store = FolderStore(tmp_path)
        with pytest.raises(ConfigurationError, match=f"is {kind}, not a plain file"):
            store.get("file")


def test_a_store_is_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("x")
    os.mkfifo(tmp_path / "a pipe")
    for kind in ("a file", "a pipe"):
        with pytest.raises(ConfigurationError, match=f"is {kind}, not a folder"):
            open_store(tmp_path / kind)


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
    "what there is of an object": lambda folder: FolderStore(folder).find("x"),
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
