"""What is remembered of crawls that failed."""

import json
from datetime import UTC, datetime

import pytest

from geopin_assets.defs.assets.raw import store_cell
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.grid import Bbox
from geopin_assets.sources.base import CrawlReport, Missed
from geopin_assets.sources.crawl import CellCrawl
from geopin_assets.store.failed_crawls import FAILED_SCHEMA
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import DAY_1, DAY_2, DAY_3, capture, crawl
from geopin_assets_tests.files.stores import only_a_folder

NOTE = {
    **{"source": "panoramax", "cell_id": "nh-amsterdam-r089c051", "attempts": 1, "error": "x", "good_at": None},
    **{"first_failed_at": "2026-05-04T03:00:00+00:00", "last_failed_at": "2026-05-04T03:00:00+00:00"},
}
WRONG = [
    *({"attempts": many} for many in ("1", None, 1.5, 2**70, [])),
    *({"error": error} for error in (3, None, ["x"])),
    *({"first_failed_at": at} for at in (None, 3, "yesterday", {})),
    *({"source": "flickr"}, {"cell_id": "b"}, {"cell_id": 7}, {"good_at": 7}, {"good_number": "1"}, {"more": 1}),
]
MISSHAPEN = [json.dumps(NOTE | wrong).encode() for wrong in WRONG]
BOX = Bbox(4.8, 52.3, 4.9, 52.4)
HERE, THERE = "nh-amsterdam-r089c051", "nh-amsterdam-r089c052"


@pytest.fixture
def raw(object_store: ObjectStore) -> RawStore:
    return RawStore(object_store)


def store(raw: RawStore, outcome: CellCrawl | GeoPinError) -> None:
    list(store_cell(raw, "panoramax", HERE, outcome))


def crawled(*boxes: Bbox) -> CellCrawl:
    return CellCrawl([capture()], CrawlReport(incomplete=[Missed(box, "a page vanished") for box in boxes]), 0.1)


def test_a_cell_remembers_since_when_it_fails_how_often_and_how_old_its_data_is(raw: RawStore) -> None:
    assert raw.failures().schema == FAILED_SCHEMA and raw.failures().is_empty()
    crawl(raw, HERE, [capture()], crawled_at=DAY_1)
    raw.note_failure("panoramax", HERE, "TransientError: 500", now=DAY_2)
    raw.note_failure("panoramax", HERE, "TransientError: 503", now=DAY_3)
    assert raw.failures().rows() == [("panoramax", HERE, DAY_2, DAY_3, 2, "TransientError: 503", DAY_1, 1)]
    assert raw.account("panoramax", HERE).crawled_at == DAY_1


def test_a_good_crawl_forgets_the_failure_and_an_incomplete_one_does_not(raw: RawStore) -> None:
    crawl(raw, HERE, [capture()], crawled_at=DAY_1)
    store(raw, TransientError("down"))
    store(raw, crawled(BOX))
    (note,) = raw.failures().to_dicts()
    assert (note["attempts"], note["good_at"]) == (2, DAY_1), "an incomplete crawl is none to go back to"
    assert note["error"] == f"incomplete, 1 captures found; not complete: {BOX} (a page vanished)"
    assert note["last_failed_at"] == raw.account("panoramax", HERE).crawled_at
    store(raw, crawled())
    assert raw.failures().is_empty()
    assert raw.objects.look("panoramax/failed") == ([], [])


@pytest.mark.parametrize("clock", [DAY_1, DAY_3, datetime(2031, 1, 1, tzinfo=UTC)])
def test_a_note_from_before_a_good_crawl_is_none_whatever_the_clock_said(raw: RawStore, clock: datetime) -> None:
    """A process that was killed between storing a crawl and forgetting the failure before it."""
    crawl(raw, HERE, [capture()], crawled_at=DAY_1)
    raw.note_failure("panoramax", HERE, "before", now=clock)
    assert raw.failures()["good_at"].to_list() == [DAY_1]
    crawl(raw, HERE, [capture()], crawled_at=DAY_2, is_complete=False)
    assert raw.failures()["error"].to_list() == ["before"], "an incomplete one changes nothing"
    crawl(raw, HERE, [capture()], crawled_at=DAY_2)
    assert raw.failures().is_empty()
    raw.note_failure("panoramax", HERE, "after", now=DAY_1)
    assert raw.failures()["error"].to_list() == ["after"]


def test_times_of_notes_that_have_not_come_yet_are_refused(object_store: ObjectStore) -> None:
    raw = RawStore(object_store, clock=lambda: DAY_2)
    crawl(raw, HERE, [capture()], crawled_at=DAY_3)
    raw.note_failure("panoramax", HERE, "x", now=DAY_3)
    assert raw.failures().select("first_failed_at", "last_failed_at", "good_at").rows() == [(DAY_2, None, None)]


def test_a_cell_that_never_worked_has_nothing_to_go_back_to(raw: RawStore) -> None:
    store(raw, crawled(BOX))
    store(raw, TransientError("down"))
    (note,) = raw.failures().to_dicts()
    assert (note["attempts"], note["good_at"], note["error"]) == (2, None, "TransientError: down")


@only_a_folder
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"first_failed_at": 3}', b"\xff", *MISSHAPEN])
def test_a_damaged_note_breaks_no_report_and_the_next_failure_replaces_it(raw: RawStore, content: bytes) -> None:
    raw.note_failure("panoramax", HERE, "first", now=DAY_1)
    raw.note_failure("panoramax", THERE, "first", now=DAY_1)
    raw.objects.put(f"panoramax/failed/{HERE}.json", content)
    assert raw.failures()["cell_id"].to_list() == [THERE]
    raw.note_failure("panoramax", HERE, "second", now=DAY_2)
    assert raw.failures().select("cell_id", "attempts").rows() == [(HERE, 1), (THERE, 1)]


def test_an_endless_error_is_cut(raw: RawStore) -> None:
    raw.note_failure("panoramax", HERE, "x" * 100_000, now=DAY_1)
    assert raw.failures()["error"].str.len_chars().to_list() == [500]


def test_notes_are_no_crawls(raw: RawStore) -> None:
    raw.note_failure("panoramax", HERE, "first", now=DAY_1)
    crawl(raw, THERE, [capture("a"), capture("b")])
    assert raw.sources_of([HERE, THERE]) == [("panoramax", THERE)]
    assert raw.crawls().rows() == [("panoramax", THERE, DAY_1, 2, True, None)]
    assert list(raw.find_captures("panoramax", ["panoramax:a"])) == [(THERE, "panoramax:a")]


def test_a_file_that_cannot_be_read_is_listed_without_its_time(raw: RawStore) -> None:
    crawl(raw, HERE, [capture()])
    raw.objects.put(raw.key("panoramax", THERE), b"damaged")
    assert raw.crawls().drop("source").rows() == [(HERE, DAY_1, 1, True, None), (THERE, None, None, None, "unreadable")]
