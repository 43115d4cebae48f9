import logging
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geopin_assets.errors import TransientError
from geopin_assets.files.lease import Leases
from geopin_assets.files.losable import Place
from geopin_assets_tests.files.odd import ODD
from geopin_assets_tests.files.processes import at_work, end, start

HOLD = """
    import sys
    from geopin_assets.files.lease import Leases
    from geopin_assets_tests.files.places import place_of
    place, *units = sys.argv[1:]
    with Leases(place_of(place)).held("raw/town", units or None, what="run 1a2b") as lease:
        print("held", flush=True)
        for line in sys.stdin:
            lease.let_go(line.strip())
            print("let go", flush=True)
"""
COUNT_IN_EVERY_CELL = """
    import pathlib, random, sys
    from geopin_assets.files.lease import Leases
    from geopin_assets_tests.files.places import place_of
    folder, seed, leases = pathlib.Path(sys.argv[1]), int(sys.argv[2]), Leases(place_of(sys.argv[3]))
    for _ in range(20):
        cells = random.Random(seed).sample([f"c{n}" for n in range(8)], 5)
        with leases.held("raw/town", cells):
            for cell in cells:
                number = int((folder / cell).read_text())
                (folder / cell).write_text(str(number + 1))
        seed += 1000
"""
CELLS = [f"c{number}" for number in range(8)]


def test_processes_that_want_overlapping_cells_in_any_order_take_turns(tmp_path: Path, place: Place) -> None:
    expected = dict.fromkeys(CELLS, 0)
    for seed in (1, 2, 3):
        for step in range(20):
            for cell in random.Random(seed + 1000 * step).sample(CELLS, 5):
                expected[cell] += 1
    for cell in CELLS:
        (tmp_path / cell).write_text("0")
    processes = [start(COUNT_IN_EVERY_CELL, tmp_path, seed, place) for seed in (1, 2, 3)]
    assert [end(process)[0] for process in processes] == [0, 0, 0]
    assert {cell: int((tmp_path / cell).read_text()) for cell in CELLS} == expected


def test_waiting_names_the_holder(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    said: list[str] = []
    with (
        at_work(HOLD, place, "c1", "c2") as other,
        pytest.raises(
            TransientError, match=rf"raw/town c2 is held by process {other.pid} \(-c, run 1a2b\) on .+ since"
        ),
        Leases(place).held("raw/town", ["c2", "c3"], patience_s=1.5, say=said.append),
    ):
        pass
    assert len(said) == 1 and f"process {other.pid}" in said[0]
    assert [record.message for record in caplog.records if "waiting" in record.message] == said


def test_other_cells_and_other_assets_are_free(place: Place) -> None:
    leases = Leases(place)
    with at_work(HOLD, place, "c1", "c2"):
        with leases.held("raw/town", ["c3"], patience_s=0), leases.held("raw/city", ["c1"], patience_s=0):
            pass
        with leases.some("raw/town", ["c1", "c2", "c3"]) as mine:
            assert mine.units == {"c3"}
        with leases.free("raw/town", ["c1", "c2"]) as free:
            assert free == frozenset()


def test_a_thing_as_a_whole_meets_every_cell_of_it(place: Place) -> None:
    leases = Leases(place)
    with at_work(HOLD, place, "c1"), pytest.raises(TransientError), leases.held("raw/town", patience_s=0):
        pass
    with at_work(HOLD, place):
        with pytest.raises(TransientError), leases.some("raw/town", ["c9"], patience_s=0):
            pass
        with leases.free("raw/town", ["c9"]) as free:
            assert free == frozenset()


def test_a_killed_process_lets_go_at_once(place: Place) -> None:
    leases = Leases(place)
    with at_work(HOLD, place, "c1") as other:
        (holder,) = leases.holders("raw/town")
        assert (holder.pid, holder.units) == (other.pid, {"c1"})
        other.kill()
        other.wait()
        with leases.held("raw/town", ["c1"], patience_s=0):
            assert [found.pid for found in leases.holders("raw/town")] == [os.getpid()]
    assert leases.holders("raw/town") == []
    if isinstance(place, Path):
        assert list(place.rglob("*.lease")) == []


def test_what_is_let_go_is_free_while_the_rest_stays(place: Place) -> None:
    leases = Leases(place)
    with at_work(HOLD, place, "c1", "c2") as other:
        assert other.stdin and other.stdout
        other.stdin.write("c1\n")
        other.stdin.flush()
        other.stdout.readline()
        with leases.held("raw/town", ["c1"], patience_s=0):
            pass
        with pytest.raises(TransientError), leases.held("raw/town", ["c2"], patience_s=0):
            pass


def test_threads_of_one_process_exclude_each_other(place: Place) -> None:
    leases, counted = Leases(place), 0

    def add(_: int) -> None:
        nonlocal counted
        with leases.held("a", ["b"]):
            before = counted
            leases.holders("something else")
            counted = before + 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(40)))
    assert counted == 40


def test_whoever_else_looks_in_the_same_process_takes_nothing_away(place: Place) -> None:
    with Leases(place).held("raw/town", ["c1"]):
        with pytest.raises(TransientError, match=f"process {os.getpid()}"):
            Leases(place).take_for_life("raw/town", "c1")
        assert [holder.units for holder in Leases(place).holders("raw/town")] == [{"c1"}]


def test_a_holder_that_could_not_say_what_it_holds_holds_everything(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with leases.held("a", ["b"]):
        (path,) = tmp_path.rglob("*.lease")
        path.write_bytes(b"")
        with pytest.raises(TransientError, match=f"process {os.getpid()}"), leases.held("a", ["c"], patience_s=0):
            pass


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_file_in_a_leases_place_holds_nothing(odd: str, tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with leases.held("raw/town", ["a"]):
        (folder,) = tmp_path.iterdir()
        ODD[odd](folder / "1-abcd.lease")
    with leases.held("raw/town", ["a"], patience_s=0):
        pass


def test_a_holder_whose_file_has_another_name_is_one_too(tmp_path: Path) -> None:
    with Leases(tmp_path).held("raw/town"):
        (lease,) = tmp_path.rglob("*.lease")
        lease.rename(renamed := lease.with_name("of a copy.lease"))
        renamed.write_bytes(b"")
        with pytest.raises(TransientError, match="held by process 0"), Leases(tmp_path).held("raw/town", patience_s=0):
            pass


def test_for_life_is_until_the_process_ends(place: Place) -> None:
    code = """
        import sys
        from geopin_assets.files.lease import Leases
        from geopin_assets_tests.files.places import place_of
        Leases(place_of(sys.argv[1])).take_for_life("process", sys.argv[2])
        print("held", flush=True)
        sys.stdin.read()
    """
    leases = Leases(place)
    with at_work(code, place, "p1") as other, at_work(code, place, "p2"):
        with pytest.raises(TransientError, match=str(other.pid)):
            leases.take_for_life("process", "p1")
        other.kill()
        other.wait()
        assert [set(holder.units or ()) for holder in leases.holders("process")] == [{"p2"}]


def test_ten_thousand_cells_are_one_file_and_one_descriptor(tmp_path: Path) -> None:
    cells = [f"nh-amsterdam-r{row:03d}c{column:03d}" for row in range(100) for column in range(100)]
    leases, descriptors = Leases(tmp_path), len(list(Path("/dev/fd").iterdir()))
    with leases.held("raw/town", cells) as lease:
        assert len(list(tmp_path.rglob("*.lease"))) == 1
        assert len(list(Path("/dev/fd").iterdir())) == descriptors + 1
        for cell in cells[:5000]:
            lease.let_go(cell)
        (holder,) = leases.holders("raw/town")
        assert holder.units == set(cells[5000:])
