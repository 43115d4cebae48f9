import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.files.atomic import creating, is_partial, replacing, write_bytes, write_text
from geopin_assets.files.parquet import write_frame
from geopin_assets_tests.files.processes import end, start

OLD, NEW = (
    pl.DataFrame({"id": ["a"], "heading_deg": [90.0]}),
    pl.DataFrame({"id": ["a", "b"], "heading_deg": [90.0, None]}),
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    assert write_text(path, "old") == write_text(path, "new\r\nline ë") == path
    assert path.read_bytes() == "new\r\nline ë".encode()
    assert names(path.parent) == ["a.txt"]


@given(content=st.binary(max_size=300))
def test_bytes_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "b"
    assert write_bytes(path, content, is_durable=False).read_bytes() == content


def test_a_failed_write_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a", b"old")
    with pytest.raises(OSError, match="disk"), replacing(path) as partial:
        partial.write_bytes(b"ne")
        raise OSError("disk full")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_library_that_writes_nothing_replaces_nothing(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a", b"old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_bytes() == b"old"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path) as first, replacing(path) as second:
        assert first != second and first.parent == second.parent == tmp_path
        second.write_bytes(b"second")
        first.write_bytes(b"first")
    assert path.read_bytes() == b"first" and names(tmp_path) == ["a"]


def test_what_is_durable_is_on_the_disk_before_it_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str]]] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, names(tmp_path)))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_bytes(tmp_path / "cache", b"x", is_durable=False)
    assert synced == []
    write_bytes(tmp_path / "a", b"x")
    (file, before), (folder, after) = synced
    assert is_partial(Path(file)) and before == [file, "cache"]
    assert folder == tmp_path.name and after == ["a", "cache"]


def test_a_process_that_ends_in_the_middle_leaves_the_old_file_and_a_leftover_that_is_known(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a", b"old")
    code = """
        import os, pathlib, sys
        from geopin_assets.files.atomic import replacing
        with replacing(pathlib.Path(sys.argv[1])) as partial:
            partial.write_bytes(b"ne")
            os._exit(9)
    """
    assert end(start(code, path))[0] == 9
    assert path.read_bytes() == b"old"
    (leftover,) = (p for p in tmp_path.iterdir() if p != path)
    assert is_partial(leftover) and not is_partial(path)
    assert write_bytes(path, b"new").read_bytes() == b"new"


def test_a_reader_never_sees_half_of_what_two_processes_write(tmp_path: Path) -> None:
    code = """
        import pathlib, sys
        from geopin_assets.files.atomic import write_bytes
        while not pathlib.Path(sys.argv[3]).exists():
            write_bytes(pathlib.Path(sys.argv[1]), sys.argv[2].encode() * 50_000, is_durable=False)
    """
    (tmp_path / "there").mkdir()
    path, enough = write_bytes(tmp_path / "there" / "a", b"0" * 50_000), tmp_path / "enough"
    writers = [start(code, path, letter, enough) for letter in "12"]
    seen, looks = set(), 0
    while not (seen >= {b"1", b"2"} and looks >= 500):
        content = path.read_bytes()
        assert len(content) == 50_000 and len(set(content)) == 1
        seen.add(content[:1])
        looks += 1
    enough.touch()
    assert [end(writer)[0] for writer in writers] == [0, 0]
    assert names(tmp_path / "there") == ["a"]


def test_of_two_that_create_a_file_the_first_wins(tmp_path: Path) -> None:
    with creating(tmp_path / "a") as slow:
        slow.write_bytes(b"second")
        with creating(tmp_path / "a") as quick:
            quick.write_bytes(b"first")
    assert (tmp_path / "a").read_bytes() == b"first" and names(tmp_path) == ["a"]
    with pytest.raises(ZeroDivisionError), creating(tmp_path / "b") as partial:
        partial.write_bytes(b"1" * (1 // 0))
    assert names(tmp_path) == ["a"]


def test_whoever_holds_the_old_file_open_reads_it_to_the_end(tmp_path: Path) -> None:
    path = write_frame(tmp_path / "cell.parquet", OLD)
    with path.open("rb") as reading:
        write_frame(path, NEW)
        assert pl.read_parquet(reading.read()).equals(OLD)
    assert pl.read_parquet(path).equals(NEW)
