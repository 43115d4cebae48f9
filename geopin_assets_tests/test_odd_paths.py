"""Folders and photos whose names mean something to a library: patterns, addresses, escapes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from geopin_assets.cli.console import find_dagster_home
from geopin_assets.embedding.stored_vectors import stored_vectors
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.object_store import open_store
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.settings import Settings
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets.store.catalog import Catalog
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.platform import CELLS, Platform
from geopin_assets_tests.sources.recordings.own_photos import CELL, NOW, RIGHTS, write_photo

ODD = 'what [2024] [a-z]* {a,b} ümläut 街 it\'s "so" #1 %41 %20 +&=; ~ $HOME : -x'
MORE = ["brackets [2024]", "star*", "**", "[!a]", "a\\b", "percent%41", "s3:", "{a,b}", "{x", "#1"]


def test_an_installation_works_in_any_folder(
    build_platform: Callable[[str], Platform], instance: dg.DagsterInstance
) -> None:
    _works(build_platform(ODD), instance)


@pytest.mark.skipif(not IS_LONG, reason="minutes")
@pytest.mark.parametrize("name", MORE)
def test_an_installation_works_in_a_folder_named(
    name: str, build_platform: Callable[[str], Platform], instance: dg.DagsterInstance
) -> None:
    _works(build_platform(name), instance)


def _works(platform: Platform, instance: dg.DagsterInstance) -> None:
    """A decoy beside it, with a name that the folder's would match as a pattern, is neither read nor written."""
    data = Path(platform.storage.settings().data_dir)
    name = data.parent.name
    decoy = data.parent.with_name("".join(c for c in name if c not in "[]*?{}") or "x")
    layers = platform.run(instance)
    assert not any(layer.failed for layer in layers.values())
    assert platform.captures() == {"panoramax": 12, "amsterdam": 9}
    assert layers["publish/vectorize"].totals["upserted"] == 12 + 9 * 12
    if decoy != data.parent:
        shutil.copytree(data, decoy / "data")
    raw = platform.storage.raw()
    held = raw.ids_of("panoramax", CELLS[0])
    assert len(held) > 1
    again = platform.run(instance, reports=False)
    assert (again["index/embeddings"].totals["embedded"], again["index/embeddings"].totals["reused"]) == (0, 21)
    ids = [f"panoramax:{id_}" for id_ in held]
    assert {found.capture_id for found in stored_vectors(platform.storage.embeddings(), ids)} == set(ids)
    assert isinstance(platform.storage.catalog().captures(CELLS), pl.DataFrame)


@pytest.mark.parametrize("name", [ODD, *MORE, "what?"])
def test_photos_are_found_whatever_they_and_their_folders_are_called(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    write_photo(folder / name / f"{name}.jpg")
    write_photo(folder / "plain.jpg", lon=4.896)
    source = OwnPhotos(LocalFolder(folder), RIGHTS, now=lambda: NOW)
    crawl = crawl_cell(source, CELL)
    assert len(crawl.captures) == 2 and crawl.report.is_complete


def test_a_photo_whose_name_has_a_line_end_is_left_out_for_that_reason(tmp_path: Path) -> None:
    write_photo(tmp_path / "new\nline.jpg")
    crawl = crawl_cell(OwnPhotos(LocalFolder(tmp_path), RIGHTS, now=lambda: NOW), CELL)
    assert (crawl.captures, dict(crawl.report.rejected)) == ([], {"unreadable": 1})


def test_a_folder_in_which_duckdb_loses_its_journal_is_refused_before_anything_is_crawled(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"GEOPIN_DATA.*choose a path in UTF-8, without \?"):
        Settings.from_env({"GEOPIN_DATA": str(tmp_path / "what?" / "data")})
    with pytest.raises(ConfigurationError, match=r"GEOPIN_DATA: choose a path in UTF-8, without \?"):
        Settings.from_env({"DAGSTER_HOME": str(tmp_path / "what?")})
    with pytest.raises(ConfigurationError, match="no catalog can be kept in"):
        Catalog(tmp_path / "what?" / "catalog.duckdb").captures(CELLS)


def test_so_is_one_whose_name_is_no_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    for variable in ("GEOPIN_DATA", "GEOPIN_STORE"):
        with pytest.raises(ConfigurationError, match=variable) as raised:
            Settings.from_env({variable: str(folder)})
        str(raised.value).encode()
    folder.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    with pytest.raises(ConfigurationError, match="or no UTF-8"):
        find_dagster_home()


def test_so_is_one_in_which_dagster_keeps_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "what?"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with pytest.raises(ConfigurationError, match=r"Dagster keeps no history in a path with a \?"):
        find_dagster_home()


@pytest.mark.parametrize("name", ["new\nline", "a\ttab", os.fsdecode(b"caf\xe9")])
def test_a_folder_in_which_nothing_can_be_stored_is_refused_in_words(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder with a tab or line end in its name"):
        open_store(tmp_path / name)
