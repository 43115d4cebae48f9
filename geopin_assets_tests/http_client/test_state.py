"""What processes share of a source: rate, pauses, outages; and that file when it is damaged or a clock was wrong."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.errors import PermanentError, SourceUnavailable, TransientError
from geopin_assets.files.losable import Place
from geopin_assets.http_client import CircuitBreaker, DailyUse, Quota, build_politeness, shared_politeness
from geopin_assets.http_client.state import SharedState, Values
from geopin_assets_tests.http_client.world import Clock, client_of, json_reply

DEAD = TransientError("panoramax: GET /: answered 500")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(place: Place, clock: Clock) -> Callable[[], CircuitBreaker]:
    """That of another process each time."""
    return lambda: CircuitBreaker(failures=3, clock=clock, state=SharedState(place, "panoramax/", clock))


def hears(breaker: CircuitBreaker) -> CircuitBreaker:
    breaker.check()
    breaker.succeeded()
    return breaker


def test_a_source_that_one_process_found_dead_is_not_asked_by_others(breaker: Callable[[], CircuitBreaker]) -> None:
    first, second = hears(breaker()), hears(breaker())
    for _ in range(3):
        first.failed(DEAD)
    with pytest.raises(SourceUnavailable, match=r"answered 500 \(not asked again for 60 s\)"):
        second.check()


def test_who_is_new_asks_once_and_is_believed_by_all(breaker: Callable[[], CircuitBreaker], clock: Clock) -> None:
    first, failing, healed = hears(breaker()), breaker(), breaker()
    for _ in range(3):
        first.failed(DEAD)
    failing.check()
    failing.failed(DEAD)
    with pytest.raises(SourceUnavailable):
        failing.check()
    hears(healed)
    first.check()


def test_a_refusal_is_kept_too_until_somebody_has_a_better_key(breaker: Callable[[], CircuitBreaker]) -> None:
    first, second = hears(breaker()), hears(breaker())
    first.failed(PermanentError("access denied"), for_good=True)
    with pytest.raises(PermanentError, match="access denied"):
        second.check()
    hears(breaker())
    second.check()


def test_one_process_probes_for_all_and_old_failures_are_forgotten(
    breaker: Callable[[], CircuitBreaker], clock: Clock
) -> None:
    first, second = hears(breaker()), hears(breaker())
    for _ in range(3):
        first.failed(DEAD)
    clock.now += 61
    second.check()
    with pytest.raises(SourceUnavailable):
        first.check()
    clock.now += 2000
    for one in (first, second, breaker()):
        one.check()
    second.failed(DEAD)
    first.check()  # one failure, not the fourth


def test_a_clock_that_was_put_back_keeps_the_length_of_a_pause(place: Place, clock: Clock) -> None:
    state = SharedState(place, "x", clock)
    state.change(lambda values: values.update(paused_until_at_s=clock.now + 300, failures=2))
    clock.now -= 900_000
    assert state.read() == {"paused_until_at_s": clock.now + 300, "failures": 2}


def _not_sqlite(path: Path) -> None:
    path.write_bytes(b"lost" * 1000)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _zeros(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(len(content) - 100))


def _other_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("create table states (other text)")
        db.execute("create table used (other text)")


def _no_json(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("update states set told = '[1'")


@pytest.mark.parametrize("damage", [_not_sqlite, _cut, _zeros, _other_tables, _no_json])
def test_a_damaged_file_stops_nobody_and_is_kept_beside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "use.sqlite"

    def asks() -> None:
        (polite,) = shared_politeness({"": Quota(per_second=1000.0)}, path, "panoramax").values()
        polite.breaker.check()
        polite.bucket.acquire()
        DailyUse(path).spend("panoramax", "tiles", 10)
        polite.breaker.succeeded()

    asks()
    damage(path)
    asks()
    asks()
    assert [found.name.split(".damaged")[0] for found in tmp_path.glob("*.damaged-*")] == ["use.sqlite"]


class Counted(SharedState):
    def __init__(self, path: Path, looks: list[str]) -> None:
        super().__init__(path, "x")
        self.looks = looks

    def read(self) -> Values:
        self.looks.append("read")
        return super().read()

    def change(self, change: Callable[[Values], Any]) -> Any:
        self.looks.append("change")
        return super().change(change)


def test_a_request_that_may_go_at_once_takes_one_writing_and_one_reading_look(tmp_path: Path) -> None:
    """About half a millisecond of CPU, beside three of the request itself."""
    looks: list[str] = []
    client, _, _ = client_of(
        json_reply([1]),
        politeness=build_politeness(
            {"": Quota(per_second=1e9)}, clock=time.time, state_of=lambda kind: Counted(tmp_path / "use.sqlite", looks)
        ),
    )
    for _ in range(5):
        assert client.get_json("https://api.example/") == [1]
    assert sorted(looks) == ["change"] * 5 + ["read"] * 5
