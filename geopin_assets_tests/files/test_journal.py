"""A file that only grows: nothing that was promised is ever missing, whoever writes and whatever ends them."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geopin_assets.errors import DamagedFileError, StorageFullError
from geopin_assets.files.journal import Journal, Line, encode, parse
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.processes import end, start

FIRST: list[Line] = [{"n": 0, "said": "stays"}, {"n": 1, "said": "ends\nhere, “so”"}]
APPEND_100 = """
    import pathlib, sys
    from geopin_assets.files.journal import Journal
    for n in range(100):
        Journal(pathlib.Path(sys.argv[1])).append([{"who": sys.argv[2], "n": n}])
        print(n, flush=True)
"""
tmp = settings(max_examples=examples(25, 2000), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "data" / "a.jsonl", remedy="mend it")


def test_lines_are_read_as_they_were_appended_and_no_file_is_no_lines(journal: Journal) -> None:
    assert journal.read() == []
    assert not journal.path.parent.exists()
    journal.append(FIRST[:1])
    journal.append(FIRST[1:])
    assert journal.read() == FIRST
    assert journal.path.read_bytes() == encode(FIRST)


def test_processes_that_append_at_once_lose_nothing(journal: Journal) -> None:
    assert [end(process)[0] for process in [start(APPEND_100, journal.path, who) for who in "abc"]] == [0, 0, 0]
    found = journal.read()
    assert [[line["n"] for line in found if line["who"] == who] for who in "abc"] == [[*range(100)]] * 3


def test_what_a_killed_process_was_told_is_there(journal: Journal) -> None:
    for kills, lines in enumerate((1, 7, 20)):
        process = start(APPEND_100, journal.path, str(kills))
        assert process.stdout
        told = [process.stdout.readline() for _ in range(lines)][-1]
        os.kill(process.pid, signal.SIGKILL)
        told = (process.communicate()[0].splitlines() or [told])[-1]
        found = [line["n"] for line in journal.read() if line["who"] == str(kills)]
        assert found[: int(told) + 1] == [*range(int(told) + 1)]


@given(size=st.integers(0, len(encode(FIRST))))
@tmp
def test_a_torn_last_line_is_passed_over_and_the_next_one_takes_its_place(tmp_path: Path, size: int) -> None:
    journal = Journal(tmp_path / "torn.jsonl")
    journal.path.write_bytes(encode(FIRST)[:size])
    whole = sum(size >= len(encode(FIRST[: n + 1])) - 1 for n in range(2))
    assert journal.read() == FIRST[:whole]
    journal.append([{"n": 2}])
    assert journal.read() == [*FIRST[:whole], {"n": 2}]
    assert journal.path.read_bytes() == encode([*FIRST[:whole], {"n": 2}])


@given(place=st.integers(0, len(encode(FIRST)) - 2), flipped=st.integers(1, 255))
@tmp
def test_a_byte_that_flipped_is_an_error_and_never_a_shorter_list(place: int, flipped: int) -> None:
    spoiled = bytearray(encode(FIRST))
    spoiled[place] ^= flipped
    with pytest.raises(DamagedFileError, match=r"list: . of its lines cannot be read \(line [12].*mend it"):
        parse(bytes(spoiled)).sound("list", "mend it")


@pytest.mark.parametrize(
    "spoiled",
    [
        encode(FIRST).replace(b"\n", b"\r"),
        bytes(len(encode(FIRST))),
        encode(FIRST).decode().encode("utf-16"),
        b"\xef\xbb\xbf" + encode(FIRST),
        encode(FIRST) + b"\n",
        encode(FIRST) + b"<html>",
        encode(FIRST) + b"{\t",
        encode(FIRST)[:-9] + b"\n",
    ],
)
def test_what_no_append_can_have_left_is_damage_and_no_torn_line(spoiled: bytes) -> None:
    with pytest.raises(DamagedFileError):
        parse(spoiled).sound("list")


@pytest.mark.parametrize("end", [b"\0" * 100, b'{"n": 2, "sa\0\0\0', b'{"n": 2, "said": "st'])
def test_zeros_where_a_disk_lost_power_are_a_torn_line(end: bytes) -> None:
    assert parse(encode(FIRST) + end).sound("list") == FIRST


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_something_else_in_its_place_is_damage_that_hangs_nobody(
    make: Callable[[Path], None], journal: Journal
) -> None:
    journal.append(FIRST)
    journal.path.unlink()
    make(journal.path)
    for act in (journal.read, lambda: journal.append(FIRST)):
        with pytest.raises(DamagedFileError, match=r"not a plain file\. mend it"):
            act()
    place = journal.mend(lambda sound: FIRST)
    assert place and os.path.lexists(place) and journal.read() == FIRST


def test_a_damaged_file_takes_no_lines_until_it_is_mended(journal: Journal) -> None:
    journal.append(FIRST)
    damaged = journal.path.read_bytes().replace(b"stays", b"leaves", 1)
    journal.path.write_bytes(damaged)
    with pytest.raises(DamagedFileError, match="mend it"):
        journal.append([{"n": 2}])
    assert journal.path.read_bytes() == damaged
    place = journal.mend(lambda sound: [FIRST[0], {"kept": len(sound)}])
    assert place and place.read_bytes() == damaged
    assert journal.read() == [FIRST[1], FIRST[0], {"kept": 1}]
    assert journal.mend(lambda sound: []) is None


def test_a_full_disk_takes_nothing_from_what_is_there(journal: Journal) -> None:
    journal.append(FIRST)
    size = journal.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for room in (0, 1, 30):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
        try:
            with pytest.raises(StorageFullError, match=r"a\.jsonl: no space left"):
                journal.append([{"n": 2, "said": "x" * 100}])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert journal.read() == FIRST
        assert journal.path.stat().st_size == size
    signal.signal(signal.SIGXFSZ, before)
