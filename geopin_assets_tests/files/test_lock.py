import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geopin_assets.errors import TransientError
from geopin_assets.files.lock import hold_for_life, holder, locked
from geopin_assets_tests.files.processes import at_work, end, start

HOLD = """
    import pathlib, sys
    from geopin_assets.files.lock import locked
    with locked(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""
ADD_ONE_50_TIMES = """
    import pathlib, sys
    from geopin_assets.files.lock import locked
    folder = pathlib.Path(sys.argv[1])
    for _ in range(50):
        with locked(folder / "lock"):
            number = int((folder / "number").read_text())
            (folder / "number").write_text(str(number + 1))
"""


def test_processes_take_turns(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [start(ADD_ONE_50_TIMES, tmp_path) for _ in range(3)]
    assert [end(process)[0] for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "150"


def test_threads_take_turns(tmp_path: Path) -> None:
    counted = 0

    def add(_: int) -> None:
        nonlocal counted
        with locked(tmp_path / "lock"):
            before = counted
            time.sleep(0.001)
            counted = before + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert counted == 40


def test_waiting_ends_in_an_error_that_names_the_holder(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "captures.lock"
    with (
        at_work(HOLD, lock) as other,
        pytest.raises(TransientError, match=rf"captures\.lock is still held by process {other.pid} \(-c\) since 20"),
        locked(lock, patience_s=0.0),
    ):
        pass


def test_a_killed_process_lets_go_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with at_work(HOLD, lock) as other:
        other.kill()
        other.wait()
        with locked(lock, patience_s=0.0):
            assert holder(lock).startswith(f"process {os.getpid()} ")


def test_an_exception_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "lock"):
        raise KeyboardInterrupt
    with locked(tmp_path / "lock", patience_s=0.0):
        pass


def test_whoever_waits_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lock = tmp_path / "a.lock"
    with ThreadPoolExecutor(1) as pool, locked(lock):
        waiting = pool.submit(lambda: locked(lock, patience_s=1.2).__enter__())
        with pytest.raises(TransientError):
            waiting.result()
    said = [record.message for record in caplog.records if "waiting" in record.message]
    assert len(said) == 1 and said[0].startswith(f"waiting for a.lock, held by process {os.getpid()} ")


def test_a_lock_for_life_is_refused_to_others_and_is_free_when_the_holder_is_killed(tmp_path: Path) -> None:
    code = """
        import pathlib, sys
        from geopin_assets.files.lock import hold_for_life
        print(hold_for_life(pathlib.Path(sys.argv[1])), hold_for_life(pathlib.Path(sys.argv[1])), flush=True)
        sys.stdin.read()
    """
    lock = tmp_path / "cuda-0.lock"
    with at_work(code, lock) as other:
        assert not hold_for_life(lock)
        assert end(start(code, lock)) == (0, "False False\n")
        other.kill()
        other.wait()
    assert hold_for_life(lock) and hold_for_life(lock)
    assert end(start(code, lock)) == (0, "False False\n")


def test_nobody_is_named_where_nobody_signed(tmp_path: Path) -> None:
    assert holder(tmp_path / "nothing") == "a process"
