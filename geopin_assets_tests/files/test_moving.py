"""What is moved arrives whole, from a folder to a bucket and back."""

from pathlib import Path

from geopin_assets.files.moving import copy, differences, surplus
from geopin_assets.files.object_store import ObjectStore, open_store


def test_there_and_back_it_is_the_same(object_store: ObjectStore, tmp_path: Path) -> None:
    here, back = open_store(tmp_path / "here"), open_store(tmp_path / "back")
    for key, content in {"raw/a/1": b"x" * 10, "raw/a/2": b"", "embeddings/m/c": bytes(range(256)) * 40_000}.items():
        here.put(key, content)
    assert (copy(here, object_store), copy(object_store, back)) == (3, 3)
    assert list(differences(here, object_store)) == list(differences(here, back)) == []
    assert copy(here, object_store) == 0, "what is there is not copied again"


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
