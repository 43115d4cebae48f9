"""Delta publish: only what changed is sent, and the end is right wherever a publish is killed."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geopin_assets.errors import PermanentError, TransientError
from geopin_assets.files.lease import LEASES, Leases
from geopin_assets.index.cost import RunBudget
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.limits import VECTORS_PER_UPSERT
from geopin_assets.index.protocol import IndexInfo, Wait, WriteResult
from geopin_assets.index.publish import (
    MassRemovalError,
    PublishReport,
    publish,
    publish_each,
    publish_vectors,
)
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, VectorTarget
from geopin_assets_tests.depth import IS_LONG, examples
from geopin_assets_tests.index.frames import (
    DIM,
    NOW,
    Clock,
    Faults,
    Killed,
    LaggingIndex,
    captures,
    claimed,
    publish_rows,
    row_hashes,
    vectors,
)

INDEX_CALLS = ("create", "upsert", "delete", "get", "info", "optimize")
STORE_CALLS = ("migrate", "upsert", "delete", "query")
LEDGER_CALLS = ("claims", "claims_of", "begin", "commit", "release")


class Workplace:
    """An index, a metadata store and a ledger in one folder; two objects on one folder see the same."""

    def __init__(self, folder: Path, *, lag_s: float = 0.0) -> None:
        self.clock = Clock()
        self.wait = Wait(timeout_s=60, poll_s=2, sleep=self.clock.sleep, clock=self.clock)
        self.index: LanceIndex = LaggingIndex(folder, "test", DIM, lag_s=lag_s, clock=self.clock)
        self.store = SqliteStore(folder / "d1.sqlite")
        self.ledger = Ledger(folder / "ledger.sqlite")

    def publish(self, desired: pl.DataFrame, *cells: str) -> PublishReport:
        return publish_vectors(desired, cells, self.index, self.ledger, now=NOW, wait=self.wait)

    def publish_rows(self, desired: pl.DataFrame, *cells: str) -> PublishReport:
        return publish_rows(desired, cells, self.store, self.ledger)

    def held_vectors(self) -> dict[str, str]:
        """id -> content hash of everything in the index."""
        vectors = self.index._table().search().to_polars()
        return dict(zip(vectors["vector_id"], VectorTarget(self.index).hashes(vectors), strict=True))

    def held_rows(self) -> dict[str, str]:
        rows = self.store.query("SELECT capture_id, row_hash FROM captures")
        return dict(rows.iter_rows())


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def wanted_vectors(place: Workplace, desired: pl.DataFrame) -> dict[str, str]:
    return dict(zip(desired["vector_id"], VectorTarget(place.index).hashes(desired), strict=True))


def wanted_rows(desired: pl.DataFrame) -> dict[str, str]:
    return dict(zip(desired["capture_id"], row_hashes("captures", desired), strict=True))


def test_a_first_publish_sends_everything_and_reads_a_sample_back(place: Workplace) -> None:
    report = place.publish(pl.concat([vectors([("x", 1), ("y", 2)]), vectors([("z", 3)], "b")]), "a", "b", "empty")
    assert (report.upserted, report.deleted, report.unchanged, report.verified) == (3, 0, 0, 3)
    assert report.per_cell == {"a": 2, "b": 1, "empty": 0}
    assert report.requests == 3  # upsert, info, get
    assert report.mutation
    assert set(place.held_vectors()) == {"x", "y", "z"}


def test_an_unchanged_second_publish_asks_the_stores_nothing(place: Workplace) -> None:
    place.publish(vectors([("x", 1), ("y", 2)]), "a")
    place.publish_rows(captures([("x", 1), ("y", 2)]), "a")
    silent = Faults(0, after=False)
    place.index = silent.wrap(place.index, INDEX_CALLS)
    place.store = silent.wrap(place.store, STORE_CALLS)
    for report in (
        place.publish(vectors([("x", 1), ("y", 2)]), "a"),
        place.publish_rows(captures([("x", 1), ("y", 2)]), "a"),
    ):
        assert (report.upserted, report.deleted, report.unchanged, report.requests) == (0, 0, 2, 0)
        assert report.per_cell == {"a": 2}


def test_only_new_changed_and_vanished_vectors_are_sent(place: Workplace) -> None:
    place.publish(vectors([("same", 1), ("changed", 2), ("gone", 3)]), "a")
    desired = vectors([("same", 1), ("changed", 4), ("new", 5)])
    report = place.publish(desired, "a")
    assert (report.upserted, report.deleted, report.unchanged) == (2, 1, 1)
    assert place.held_vectors() == wanted_vectors(place, desired)


def test_changed_metadata_is_a_change_of_the_vector(place: Workplace) -> None:
    place.publish(vectors([("x", 1)]), "a")
    assert place.publish(vectors([("x", 1)], source="amsterdam"), "a").upserted == 1


def test_rows_are_billed_only_where_they_changed(place: Workplace) -> None:
    first = place.publish_rows(captures([("x", 1), ("y", 2), ("z", 3)]), "a")
    assert (first.rows_written, first.requests) == (3, 2)  # upsert, read back
    desired = captures([("x", 1), ("y", 9)])
    second = place.publish_rows(desired, "a")
    assert (second.upserted, second.deleted, second.rows_written) == (1, 1, 2)
    assert place.held_rows() == wanted_rows(desired)


def test_other_cells_are_left_alone(place: Workplace) -> None:
    place.publish(vectors([("x", 1)], "a"), "a")
    place.publish(vectors([("y", 2)], "b"), "b")
    place.publish(vectors([], "b"), "b")
    assert set(place.held_vectors()) == {"x"}


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("changed", [1, 2])
def test_a_capture_that_moved_ends_right_in_whatever_order_its_cells_are_published(
    place: Workplace, order: tuple[str, str], changed: int
) -> None:
    place.publish(vectors([("x", 1)], "a"), "a")
    after = {"a": vectors([], "a"), "b": vectors([("x", changed)], "b")}
    for cell in order:
        place.publish(after[cell], cell)
    assert place.held_vectors() == wanted_vectors(place, after["b"])
    assert claimed(place.ledger, place.index.store_key, "a", "b") == {"b": 1}


def test_a_move_within_one_publish_sends_nothing(place: Workplace) -> None:
    place.publish(vectors([("x", 1)], "a"), "a")
    report = place.publish(vectors([("x", 1)], "b"), "a", "b")
    assert (report.upserted, report.deleted, report.requests) == (0, 0, 0)
    assert report.per_cell == {"a": 0, "b": 1}


def test_an_outdated_publish_of_the_old_cell_cannot_take_a_moved_capture_away(place: Workplace) -> None:
    place.publish(vectors([("x", 1)], "a"), "a")
    place.publish(vectors([("x", 1)], "b"), "b")  # it moved
    place.publish(vectors([("x", 1)], "a"), "a")  # with what was known before the move
    place.publish(vectors([], "a"), "a")
    assert set(place.held_vectors()) == {"x"}


def test_an_id_desired_twice_or_by_a_cell_not_published_is_refused(place: Workplace) -> None:
    with pytest.raises(PermanentError, match=r"more than once, e\.g\. x"):
        place.publish(pl.concat([vectors([("x", 1)], "a"), vectors([("x", 2)], "b")]), "a", "b")
    with pytest.raises(PermanentError, match=r"cells not being published, e\.g\. b"):
        place.publish(vectors([("x", 1)], "b"), "a")


def test_a_runaway_publish_is_stopped_before_it_writes(place: Workplace) -> None:
    desired = captures([(f"s:{i}", i) for i in range(10)])
    key = RowTarget(place.store, TABLES["captures"]).key
    with pytest.raises(PermanentError, match=r"10 rows would be written, 9 are left.*GEOPIN_PUBLISH_MAX_ROWS"):
        publish_rows(desired, ["a"], place.store, place.ledger, budget=RunBudget(9, 100))
    with pytest.raises(PermanentError, match=r"1 requests would be sent, 0 are left.*GEOPIN_PUBLISH_MAX_REQUESTS"):
        publish_rows(desired, ["a"], place.store, place.ledger, budget=RunBudget(10, 0))
    assert place.ledger.published(key).is_empty()
    budget = RunBudget(10, 100)
    publish_rows(desired, ["a"], place.store, place.ledger, budget=budget)
    assert budget.rows == 0 and 0 < budget.requests < 100
    publish_rows(desired, ["a"], place.store, place.ledger, budget=budget)  # nothing to write


def test_one_table_is_sent_while_the_next_is_planned_and_has_its_budget_asked_later(
    place: Workplace, tmp_path: Path
) -> None:
    desired = captures([(f"s:{i}", i) for i in range(10)])
    is_planned = threading.Event()

    class Store(SqliteStore):
        def upsert(self, table: str, rows: pl.DataFrame) -> WriteResult:
            assert is_planned.wait(timeout=60)
            return super().upsert(table, rows)

    class Planned(RowTarget):
        def identify(self, rows: pl.DataFrame) -> pl.DataFrame:
            is_planned.set()
            return RowTarget.identify(self, rows)

    one = RowTarget(Store(tmp_path / "slow.sqlite"), TABLES["captures"])
    other = Planned(place.store, TABLES["captures"])
    budget = RunBudget(19, 100)
    with pytest.raises(PermanentError, match="10 rows would be written, 9 are left"):
        publish_each([(one, desired), (other, desired)], ["a"], place.ledger, now=NOW, budget=budget)
    assert budget.rows == 9 and one.count() == 10
    assert place.ledger.published(other.key).is_empty()


def test_what_is_desired_is_asked_for_when_nobody_else_writes(place: Workplace, tmp_path: Path) -> None:
    """Read earlier, it would be what was true before somebody else changed rows beside its cells."""
    target = RowTarget(place.store, TABLES["captures"])
    holders = Leases(tmp_path / LEASES).holders

    def desired() -> list[pl.DataFrame]:
        assert [holder.units for holder in holders("stores of the index")] == [{target.key}]
        return [captures([("x", 1)])]

    publish_each([(target, desired)], ["a"], place.ledger, now=NOW)
    assert target.count() == 1 and not holders("stores of the index")


def test_a_mass_removal_is_refused_before_it_is_begun(place: Workplace) -> None:
    ids = [(f"s:{i}", i) for i in range(10)]
    place.publish(vectors(ids), "a")
    with pytest.raises(MassRemovalError, match="9 vectors to delete, more than 8"):
        publish_vectors(vectors(ids[:1]), ["a"], place.index, place.ledger, now=NOW, max_deletions=8)
    assert (
        len(place.held_vectors()) == 10
        and not place.ledger.published(place.index.store_key).null_count()["content_hash"].item()
    )


def test_success_waits_until_the_mutation_can_be_seen(tmp_path: Path) -> None:
    place = Workplace(tmp_path, lag_s=30)
    report = place.publish(vectors([("x", 1)]), "a")
    assert (place.clock.now - NOW).total_seconds() == 30
    assert report.requests == 1 + 16 + 1  # upsert, one look every 2 s, get


def test_a_mutation_that_never_shows_is_an_error_and_commits_nothing(tmp_path: Path) -> None:
    place = Workplace(tmp_path, lag_s=3_600)
    with pytest.raises(TransientError, match="not visible after 60 s"):
        place.publish(vectors([("x", 1)]), "a")
    assert place.ledger.published(place.index.store_key)["content_hash"].to_list() == [None]


class LosingIndex(LanceIndex):
    """Acknowledges every write and keeps none."""

    def upsert(self, vectors: pl.DataFrame) -> str:
        return super().upsert(vectors.clear())


def test_a_store_that_loses_an_acknowledged_write_is_found_out(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.index = LosingIndex(tmp_path, "test", DIM)
    with pytest.raises(TransientError, match="written but not read back: x"):
        place.publish(vectors([("x", 1)]), "a")


def test_upserts_run_side_by_side_and_the_last_one_alone(place: Workplace) -> None:
    """Mutations are processed in the order they were accepted: whoever waits for the last waits for all."""
    together = threading.Barrier(2, timeout=60)
    log: list[str] = []

    class SideBySide(LanceIndex):
        upserts_at_once = 2

        def upsert(self, rows: pl.DataFrame) -> str:
            if rows.height == VECTORS_PER_UPSERT:
                together.wait()
            log.append(rows["vector_id"][0])
            return f"mutation of {rows['vector_id'][0]}"

        def info(self) -> IndexInfo:
            return IndexInfo(DIM, 0, "mutation of last", None)

    index = SideBySide(Path(), "test", DIM)
    full = [(f"{half}{i}", 1) for half in "ab" for i in range(VECTORS_PER_UPSERT)]
    target = VectorTarget(index, place.wait)
    desired = [vectors(full[:7_000]), vectors([]), vectors([*full[7_000:], ("last", 1)])]
    target.upsert(pl.concat(map(target.identify, desired)), lambda: desired)
    assert sorted(log[:2]) == ["a0", "b0"] and log[2:] == ["last"]
    assert (target.usage.mutation, target.usage.requests) == ("mutation of last", 4)


def test_vectors_are_upserted_and_deleted_in_the_largest_requests_allowed(place: Workplace) -> None:
    report = place.publish(vectors([(f"s:{i}", i % 50) for i in range(5_001)]), "a")
    assert report.requests == 2 + 1 + 1
    report = place.publish(vectors([(f"s:{i}", i % 50) for i in range(4_800)]), "a")
    assert (report.deleted, report.requests) == (201, 3 + 1 + 1)


def _publish_vectors(place: Workplace, faults: Faults, rows: list[tuple[str, int]]) -> None:
    target = VectorTarget(faults.wrap(place.index, INDEX_CALLS), place.wait, group_size=2)
    publish(vectors(rows), ["a"], target, faults.wrap(place.ledger, LEDGER_CALLS), now=NOW)


def _publish_rows(place: Workplace, faults: Faults, rows: list[tuple[str, int]]) -> None:
    target = RowTarget(faults.wrap(place.store, STORE_CALLS), TABLES["captures"], group_size=2)
    publish(captures(rows), ["a"], target, faults.wrap(place.ledger, LEDGER_CALLS), now=NOW)


BEFORE = [("same", 1), ("changed", 2), ("gone", 3), ("gone too", 4)]
DURING = [("same", 1), ("changed", 12), ("new", 5), ("newer", 6)]


OTHER = [*BEFORE[:3], ("new", 99)]


@pytest.mark.parametrize("run", [_publish_vectors, _publish_rows])
@pytest.mark.parametrize(
    ("finally_desired", "after"),
    [(DURING, False), (DURING, True), (OTHER, True)],
    ids=["before a call, then again", "after a call, then again", "after a call, then otherwise"],
)
def test_killed_at_any_step_and_run_again_the_end_is_what_is_desired_then(
    place: Workplace,
    run: Callable[[Workplace, Faults, list[tuple[str, int]]], None],
    finally_desired: list[tuple[str, int]],
    after: bool,
) -> None:
    never, died = Faults(-1, after=False), True
    step, stride = (0, 1) if IS_LONG else (2 * after, 3)  # `make test` takes other steps before calls than after them
    while died:
        run(place, never, BEFORE)
        faults = Faults(step, after=after)
        try:
            run(place, faults, DURING)
            died = False
        except Killed:
            step += stride
        run(place, never, finally_desired)
        if run is _publish_vectors:
            assert place.held_vectors() == wanted_vectors(place, vectors(finally_desired)), f"killed at step {step}"
        else:
            assert place.held_rows() == wanted_rows(captures(finally_desired)), f"killed at step {step}"
    assert step >= 12  # every call to the store and the ledger was a place to die


CELLS = ("a", "b", "c")
states = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("uvwxyz"), st.tuples(st.sampled_from(CELLS), st.integers(1, 3)), max_size=6),
        st.permutations(CELLS),
        st.booleans(),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=examples(4, 60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(states)
def test_any_sequence_of_desired_states_ends_with_the_store_equal_to_the_last(
    sequence: list[tuple[dict[str, tuple[str, int]], list[str], bool, int]],
) -> None:
    """Cells are published together or one by one in any order; every publish but the last state's may die."""
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder))
        for number, (state, order, together, dies_at) in enumerate(sequence):
            frames = {
                cell: captures([(id_, seed) for id_, (home, seed) in state.items() if home == cell], cell)
                for cell in CELLS
            }
            is_last = number == len(sequence) - 1
            faults = Faults(-1 if is_last else dies_at, after=bool(dies_at % 2))
            ledger = faults.wrap(place.ledger, LEDGER_CALLS)
            target_store = faults.wrap(place.store, STORE_CALLS)
            try:
                for cells in [order] if together else [[cell] for cell in order]:
                    desired = pl.concat([frames[cell] for cell in cells])
                    publish_rows(desired, cells, target_store, ledger)
            except Killed:
                assert not is_last
        place.store.migrate()
        assert place.held_rows() == wanted_rows(pl.concat(list(frames.values())))
        published = dict(place.ledger.published(RowTarget(place.store, TABLES["captures"]).key).iter_rows())
        assert published == place.held_rows()


@settings(max_examples=examples(4, 50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.dictionaries(st.sampled_from("uvwxyz"), st.tuples(st.sampled_from(CELLS), st.integers(1, 3))), max_size=3
    )
)
def test_any_sequence_of_desired_vectors_ends_with_the_index_equal_to_the_last(
    sequence: list[dict[str, tuple[str, int]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder))
        place.index.create()
        for state in [*sequence, {"u": ("b", 2)}]:
            for cell in CELLS:
                desired = vectors([(id_, seed) for id_, (home, seed) in state.items() if home == cell], cell)
                place.publish(desired, cell)
        assert place.held_vectors() == wanted_vectors(place, vectors([("u", 2)]))
