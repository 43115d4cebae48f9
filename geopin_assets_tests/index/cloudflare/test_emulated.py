"""Both clients on the stand-in: what goes wrong there is survived, and the end is right."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from geopin_assets.errors import GeoPinError, PermanentError, TransientError
from geopin_assets.http_client import AccessDenied
from geopin_assets.index.cloudflare import CloudflareApi, D1Store, VectorizeIndex
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.protocol import METADATA
from geopin_assets.index.publish import PublishReport, publish_vectors
from geopin_assets_tests.cloudflare import CloudflareEmulator, CloudflareFault, Lag, Limits
from geopin_assets_tests.cloudflare.faults import D1_RETRY, D1_TOO_MUCH
from geopin_assets_tests.cloudflare.transport import CloudflareTransport
from geopin_assets_tests.depth import examples
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.frames import (
    DIM,
    NOW,
    Clock,
    captures,
    publish_rows,
    row_hashes,
    unit,
    upsertable,
    vectors,
)

ROWS = [(f"s:{i}", i) for i in range(40)]
AFTER = [(f"s:{i}", i * 7) for i in range(5, 45)]


class Workplace:
    """An account with an index and a database, and the ledger of both."""

    def __init__(self, folder: Path, api: CloudflareApi, emulator: CloudflareEmulator, clock: Clock) -> None:
        self.api, self.emulator, self.clock = api, emulator, clock
        self.wait = wait_by(clock, timeout_s=120, poll_s=2)
        self.index = VectorizeIndex(api, "geopin-test-v1", DIM, wait=self.wait)
        self.store = D1Store(api, "geopin", wait=self.wait)
        self.ledger = Ledger(folder / "ledger.sqlite")

    def publish(self, rows: list[tuple[str, int]]) -> tuple[PublishReport, PublishReport]:
        return (
            publish_vectors(vectors(rows), ["a"], self.index, self.ledger, now=NOW, wait=self.wait),
            publish_rows(captures(rows), ["a"], self.store, self.ledger),
        )

    def publish_until_done(self, rows: list[tuple[str, int]]) -> int:
        """Again and again, as a scheduler would; how often it failed on the way."""
        for failures in range(40):
            try:
                self.publish(rows)
            except TransientError:
                self.clock.sleep(600)
            else:
                return failures
        raise AssertionError("never done")

    def held(self) -> tuple[set[str], dict[str, str]]:
        self.emulator.clear_faults()
        rows = self.store.query("SELECT capture_id, row_hash FROM captures")
        return set(self.index.ids()), dict(rows.iter_rows())


def wanted(rows: list[tuple[str, int]]) -> tuple[set[str], dict[str, str]]:
    frame = captures(rows)
    hashes = dict(zip(frame["capture_id"], row_hashes("captures", frame), strict=True))
    return {id_ for id_, _ in rows}, hashes


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    clock = Clock()
    with emulated(tmp_path, clock, lag=Lag(mutation_s=20.0, count_s=100.0)) as (api, emulator):
        yield Workplace(tmp_path, api, emulator, clock)


def test_a_publish_waits_for_its_vectors_and_a_second_one_asks_nothing(place: Workplace) -> None:
    of_vectors, of_rows = place.publish(ROWS)
    assert (of_vectors.upserted, of_rows.rows_written) == (40, 40)
    assert place.held() == wanted(ROWS)
    before = place.emulator.requests.total()
    place.publish(ROWS)
    assert place.emulator.requests.total() == before


def test_every_setting_up_is_done_once_and_changes_are_sent_alone(place: Workplace) -> None:
    place.publish(ROWS)
    asked = place.emulator.requests.copy()
    assert asked["vectorize.create_index"] == asked["d1.create_database"] == 1
    assert asked["vectorize.create_metadata_index"] == len(METADATA)
    of_vectors, of_rows = place.publish([*ROWS[:-1], ("s:39", 99)])
    assert (of_vectors.upserted, of_rows.rows_written) == (1, 1)
    again = place.emulator.requests - asked
    assert (again["vectorize.upsert"], again["vectorize.list_indexes"], again["d1.list_databases"]) == (1, 0, 0)


FAULTS: dict[str, list[dict[str, Any]]] = {
    "500 before the work": [{"share": 0.3}],
    "500 after the work": [{"share": 0.3, "committed": True}],
    "success false": [{"kind": "unsuccessful", "share": 0.3, "message": "Network connection lost."}],
    "cut connections": [{"kind": "reset", "share": 0.3, "committed": True}],
    "no answer": [{"kind": "hang", "share": 0.3, "committed": True}],
    "half an answer": [{"kind": "truncated", "share": 0.3}],
    "throttled": [{"status": 429, "code": 971, "share": 0.1, "retry_after_s": 90}],
    "throttled without a word": [{"status": 429, "code": 971, "share": 0.1}],
    "every word of D1's": [{"service": "d1", "status": 400, "code": 7500, "message": m, "times": 1} for m in D1_RETRY],
    "nothing for a while": [{"times": 30}],
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_whatever_goes_wrong_the_end_is_what_was_desired(place: Workplace, faults: list[dict[str, Any]]) -> None:
    for rows in (ROWS, AFTER):
        place.emulator.faults[:] = [CloudflareFault(**fault) for fault in faults]
        place.publish_until_done(rows)
        assert place.held() == wanted(rows)


def test_a_lost_mutation_is_found_out_and_published_again(place: Workplace) -> None:
    place.publish(ROWS)
    place.emulator.faults.append(CloudflareFault(kind="lost", path="*/upsert", times=1))
    with pytest.raises(TransientError, match="written but not read back"):
        place.publish(AFTER)
    assert place.publish_until_done(AFTER) == 0
    assert place.held() == wanted(AFTER)


def test_a_stuck_index_is_waited_for_no_longer_than_said(place: Workplace) -> None:
    place.publish(ROWS)
    place.emulator.faults.append(CloudflareFault(kind="stuck", path="*/upsert", times=1))
    with pytest.raises(TransientError, match="not visible after 120 s"):
        place.publish(AFTER)
    place.emulator.clear_faults()
    place.publish(AFTER)
    assert place.held() == wanted(AFTER)


@pytest.mark.parametrize("message", D1_TOO_MUCH)
def test_a_chunk_that_is_too_much_for_d1_goes_in_halves(place: Workplace, message: str) -> None:
    place.store.migrate()
    place.emulator.faults.append(CloudflareFault(service="d1", access="write", status=500, message=message, times=3))
    _, of_rows = place.publish(ROWS)
    assert of_rows.rows_written == 40
    assert place.held() == wanted(ROWS)


def test_a_token_that_is_not_taken_ends_a_publish_at_once(place: Workplace, tmp_path: Path) -> None:
    place.emulator.token = "another"
    with pytest.raises(AccessDenied, match="10000: Authentication error"):
        place.publish(ROWS)
    assert place.emulator.requests.total() == 1


def test_a_block_is_never_met_and_one_that_others_caused_is_sat_out(tmp_path: Path) -> None:
    clock = Clock()
    with emulated(tmp_path, clock) as (api, emulator):
        store = D1Store(api, "geopin")
        store.migrate()
        for _ in range(asked := examples(1_300, 2_500)):  # of 1,200 in five minutes
            store.count("captures")
        assert emulator.requests["d1.raw"] > asked
    with emulated(tmp_path, clock, limits=Limits(requests_per_window=50, min_dimensions=DIM)) as (api, emulator):
        store, began = D1Store(api, "geopin"), clock.now
        store.migrate()
        for _ in range(60):
            store.count("captures")
        assert 300 <= (clock.now - began).total_seconds() < 400


def test_a_load_by_file_leaves_what_an_upsert_would(place: Workplace) -> None:
    rows = captures([(f"s:{i}", i) for i in range(2_000)])
    odd = rows.with_columns(attribution=pl.concat_str(pl.lit('it\'s; -- "é"\n日本 ?1 '), pl.col("capture_id")))
    place.index.create()
    place.store.migrate()
    loaded = place.store.load("captures", [odd.head(1_500), odd.tail(500)])
    assert (loaded.changes, loaded.rows_written) == (2_000, 2_000)
    assert place.held()[1] == dict(zip(odd["capture_id"], row_hashes("captures", odd), strict=True))
    stored = place.store.query("SELECT * FROM captures ORDER BY capture_id")
    other = D1Store(place.api, "other")
    other.migrate()
    other.upsert("captures", odd)
    assert stored.equals(other.query("SELECT * FROM captures ORDER BY capture_id"))
    assert place.store.load("captures", [odd]).rows_written == 0
    assert place.store.upsert("captures", odd).rows_written == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"service": "files", "status": 403},
        {"service": "files", "share": 0.5},
        {"kind": "truncated", "path": "*/import", "share": 0.5},
        {"kind": "hang", "path": "*/import", "committed": True, "times": 2},
        {"kind": "reset", "path": "*/import", "committed": True, "share": 0.5},
        {"path": "*/import", "status": 400, "code": 7500, "message": "Network connection lost.", "share": 0.5},
    ],
)
def test_a_load_survives_what_may_pass(tmp_path: Path, fault: dict[str, Any]) -> None:
    clock = Clock()
    with emulated(tmp_path, clock, lag=Lag(import_s=5.0)) as (api, emulator):
        store = D1Store(api, "geopin", import_from_rows=1, wait=wait_by(clock))
        store.migrate()
        emulator.faults.append(CloudflareFault(**{"times": 3} | fault))
        rows = captures([(f"s:{i}", i) for i in range(500)])
        store.upsert("captures", rows)
        assert store.count("captures") == 500


def test_while_a_file_is_imported_others_are_told_to_come_back(tmp_path: Path) -> None:
    clock = Clock()
    with emulated(tmp_path, clock, attempts=1, lag=Lag(import_s=5.0)) as (api, _):
        reader = D1Store(api, "geopin")
        reader.migrate()
        seen: list[GeoPinError] = []

        def look(seconds: float) -> None:
            with pytest.raises(GeoPinError) as caught:
                reader.count("captures")
            seen.append(caught.value)
            clock.sleep(seconds)

        wait = wait_by(clock)
        writer = D1Store(api, "geopin", wait=type(wait)(wait.timeout_s, wait.poll_s, look, wait.clock))
        writer.load("captures", [captures(ROWS)])
        assert {type(error) for error in seen} == {TransientError}
        assert reader.count("captures") == 40


def test_a_broken_publish_can_be_undone_to_the_bookmark_before_it(place: Workplace) -> None:
    place.publish(ROWS)
    bookmark = place.store.bookmark()
    place.publish(AFTER)
    place.api.call("POST", f"{place.store._path()}/time_travel/restore", params={"bookmark": bookmark})
    assert place.held()[1] == wanted(ROWS)[1]


def test_many_ids_are_listed_page_by_page(tmp_path: Path) -> None:
    with emulated(tmp_path, Clock()) as (api, emulator):
        index = VectorizeIndex(api, "geopin-test-v1", DIM)
        index.create()
        ids = [f"s:{i:04d}/00" for i in range(2_500)]
        index.upsert(upsertable([(id_, i) for i, id_ in enumerate(ids)]))
        assert list(index.ids()) == ids
        assert emulator.requests["vectorize.list_vectors"] == 3


def test_an_index_that_is_not_there_or_was_dropped_is_an_error(tmp_path: Path) -> None:
    with emulated(tmp_path, Clock()) as (api, _):
        index = VectorizeIndex(api, "geopin-test-v1", DIM)
        with pytest.raises(PermanentError, match="geopin-test-v1/info: answered 404 3000"):
            index.info()
        index.create()
        index.drop()
        index.drop()
        with pytest.raises(PermanentError, match="410"):
            index.query(unit(1), 5)
        with pytest.raises(PermanentError, match="its name can never be used again"):
            index.create()


class OtherFirst(CloudflareTransport):
    """Another process asks for the same, always a moment earlier."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            super().handle_request(request)
        return super().handle_request(request)


def test_two_processes_may_set_up_at_the_same_time(tmp_path: Path) -> None:
    clock = Clock()
    with emulated(tmp_path, clock, transport=OtherFirst) as (api, _):
        store, index = D1Store(api, "geopin"), VectorizeIndex(api, "geopin-test-v1", DIM, wait=wait_by(clock))
        store.migrate()
        index.create()
        assert (store.count("captures"), index.info().vector_count) == (0, 0)
