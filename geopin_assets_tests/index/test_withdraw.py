"""Single ids leave a store at once, also one that a publish was killed in the middle of writing."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from geopin_assets.index.publish import publish, withdraw
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target, VectorTarget
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.index.frames import NOW, Faults, Killed, captures, claimed, vectors
from geopin_assets_tests.index.test_publish import INDEX_CALLS, LEDGER_CALLS, STORE_CALLS, Workplace

GONE = pl.Series(["gone", "gone too", "never there"])
ROWS = [("gone", 1), ("gone too", 2), ("stays", 3)]


def vector_target(place: Workplace, faults: Faults) -> Target:
    return VectorTarget(faults.wrap(place.index, INDEX_CALLS), place.wait, group_size=1)


def row_target(place: Workplace, faults: Faults) -> Target:
    return RowTarget(faults.wrap(place.store, STORE_CALLS), TABLES["captures"], group_size=1)


BuildTarget = Callable[[Workplace, Faults], Target]
each_store = pytest.mark.parametrize("target", [vector_target, row_target])
never = Faults(-1, after=False)
START_AND_STRIDE = ((0, 1), (0, 1)) if IS_LONG else ((0, 2), (1, 2))
"""Of the steps that something is killed at, before a call and after it: `make test` takes every other one of each."""


def send(place: Workplace, target: BuildTarget, rows: list[tuple[str, int]], faults: Faults = never) -> None:
    desired = vectors(rows) if target is vector_target else captures(rows)
    publish(desired, ["a"], target(place, faults), faults.wrap(place.ledger, LEDGER_CALLS), now=NOW)


def take(place: Workplace, target: BuildTarget, faults: Faults = never) -> int:
    return withdraw(GONE, target(place, faults), faults.wrap(place.ledger, LEDGER_CALLS))


def known(place: Workplace, target: BuildTarget) -> tuple[set[str], set[str]]:
    """What the store holds, and what the ledger says."""
    held = place.held_vectors() if target is vector_target else place.held_rows()
    return set(held), set(place.ledger.published(target(place, never).key)["id"])


@each_store
def test_ids_leave_the_store_and_the_ledger_and_nothing_else_does(tmp_path: Path, target: BuildTarget) -> None:
    place = Workplace(tmp_path)
    send(place, target, ROWS)
    assert take(place, target) == 2
    assert known(place, target) == ({"stays"}, {"stays"})
    assert claimed(place.ledger, target(place, never).key, "a", "b") == {"a": 1}


@each_store
def test_ids_that_were_never_published_are_asked_for_and_nothing_is_written(
    tmp_path: Path, target: BuildTarget
) -> None:
    place = Workplace(tmp_path)
    send(place, target, [("stays", 3)])
    silent = target(place, never)
    assert withdraw(GONE, silent, place.ledger) == 0
    assert (silent.usage.requests, silent.usage.rows_written, silent.usage.mutation) == (1, 0, "")


@each_store
def test_ids_leave_a_store_that_the_ledger_knows_nothing_of(tmp_path: Path, target: BuildTarget) -> None:
    place = Workplace(tmp_path)
    send(place, target, ROWS)
    place.ledger.forget(target(place, never).key)
    assert take(place, target) == 2
    assert known(place, target) == ({"stays"}, set())


@each_store
@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after a call"])
def test_whatever_step_a_publish_was_killed_at_its_ids_can_be_withdrawn(
    tmp_path: Path, target: BuildTarget, after: bool
) -> None:
    died, step, stride = True, *START_AND_STRIDE[after]
    while died:
        place, died = Workplace(tmp_path / str(step)), False
        try:
            send(place, target, ROWS, Faults(step, after=after))
        except Killed:
            died, step = True, step + stride
        target(place, never).prepare()
        take(place, target)
        store, ledger = known(place, target)
        assert not (store | ledger) & set(GONE), f"killed at step {step}"
        send(place, target, [("stays", 3)])
        assert known(place, target) == ({"stays"}, {"stays"}), f"killed at step {step}"
    assert step >= 10  # every call to the store and the ledger was a place to die


@each_store
@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after a call"])
@pytest.mark.parametrize("is_undone", [False, True], ids=["then repeated", "then published again"])
def test_a_withdrawal_killed_at_any_step_is_known_to_whatever_comes_next(
    tmp_path: Path, target: BuildTarget, after: bool, is_undone: bool
) -> None:
    died, step, stride = True, *START_AND_STRIDE[after]
    while died:
        place, died = Workplace(tmp_path / str(step)), False
        send(place, target, ROWS)
        try:
            take(place, target, Faults(step, after=after))
        except Killed:
            died, step = True, step + stride
        if is_undone:
            send(place, target, ROWS)
        else:
            take(place, target)
        left = {"gone", "gone too", "stays"} if is_undone else {"stays"}
        assert known(place, target) == (left, left), f"killed at step {step}"
    assert step >= 5
