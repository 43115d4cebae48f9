"""What is moved arrives whole, from a folder to a bucket and back."""

import os
import time
from pathlib import Path

from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.moving import copy, differences, is_within, newer, surplus
from geopin_assets.files.object_store import ObjectStore, open_store


def test_there_and_back_it_is_the_same(object_store: ObjectStore, tmp_path: Path) -> None:
    here, back = open_store(tmp_path / "here"), open_store(tmp_path / "back")
    for key, content in {"raw/a/1": b"x" * 10, "raw/a/2": b"", "embeddings/m/c": bytes(range(256)) * 40_000}.items():
        here.put(key, content)
    assert [sorted(copy(one, other)) for one, other in ((here, object_store), (object_store, back))] == [
        ["embeddings/m/c", "raw/a/1", "raw/a/2"]
    ] * 2
    assert list(differences(here, object_store)) == list(differences(here, back)) == []
    assert copy(here, object_store) == [], "what is there is not copied again"


def test_what_differs_is_named(object_store: ObjectStore, tmp_path: Path) -> None:
    here = open_store(tmp_path / "here")
    for key in "abc":
        here.put(key, b"1")
    copy(here, object_store)
    object_store.put("a", b"2")
    object_store.delete(["b"])
    object_store.put("d", b"1")
    found = [(difference.key, difference.what) for difference in differences(here, object_store)]
    assert found == [("a", "with other content"), ("b", "not there"), ("d", "only there")]
    assert surplus(here, object_store) == ["d"]


def test_what_was_written_there_since_is_named_and_copies_are_not(object_store: ObjectStore, tmp_path: Path) -> None:
    here = FolderStore(tmp_path / "here")
    for key in ("copied", "changed here", "changed there"):
        here.put(key, b"1")
        os.utime(here.path(key), (0, 0))
    copy(here, object_store)
    assert newer(here, object_store) == []
    object_store.put("changed there", b"22")
    here.put("changed here", b"22")
    os.utime(here.path("changed here"), (time.time() + 60,) * 2)
    assert newer(here, object_store) == ["changed there"]


def test_a_store_is_within_itself_by_any_name(object_store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    here, link = open_store(tmp_path / "here"), open_store(tmp_path / "link")
    assert is_within(link, here) and is_within(here, link) and is_within(link.below("raw"), here)
    assert not is_within(here, link.below("raw")) and not is_within(open_store(tmp_path / "here too"), here)
    assert is_within(object_store.below("raw"), object_store) and not is_within(object_store, object_store.below("raw"))
