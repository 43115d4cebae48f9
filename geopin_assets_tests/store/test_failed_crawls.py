"""What is remembered of crawls that failed."""

import pytest

from geopin_assets.defs.assets.raw import store_cell
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.crawl import CellCrawl
from geopin_assets.store.raw import FAILED_SCHEMA, RawStore
from geopin_assets_tests.factories import DAY_1, DAY_2, DAY_3, capture, crawl

HERE, THERE = "nh-amsterdam-r089c051", "nh-amsterdam-r089c052"


@pytest.fixture
def raw(object_store: ObjectStore) -> RawStore:
    return RawStore(object_store)


def store(raw: RawStore, outcome: CellCrawl | GeoPinError) -> None:
    list(store_cell(raw, "panoramax", HERE, outcome))


def crawled(*incomplete: str) -> CellCrawl:
    return CellCrawl([capture()], CrawlReport(incomplete=list(incomplete)), 0.1)


def test_a_cell_remembers_since_when_it_fails_how_often_and_how_old_its_data_is(raw: RawStore) -> None:
    assert raw.failures().schema == FAILED_SCHEMA and raw.failures().is_empty()
    crawl(raw, HERE, [capture()], crawled_at=DAY_1)
    raw.note_failure("panoramax", HERE, "TransientError: 500", now=DAY_2)
    raw.note_failure("panoramax", HERE, "TransientError: 503", now=DAY_3)
    assert raw.failures().rows() == [("panoramax", HERE, DAY_2, DAY_3, 2, "TransientError: 503", DAY_1)]
    assert raw.account("panoramax", HERE).crawled_at == DAY_1


def test_a_good_crawl_forgets_the_failure_and_an_incomplete_one_does_not(raw: RawStore) -> None:
    crawl(raw, HERE, [capture()], crawled_at=DAY_1)
    store(raw, TransientError("down"))
    store(raw, crawled("a box"))
    (note,) = raw.failures().to_dicts()
    assert (note["attempts"], note["good_at"]) == (2, DAY_1), "an incomplete crawl is none to go back to"
    assert note["error"] == "incomplete, 1 captures found; not complete: a box"
    assert note["last_failed_at"] == raw.account("panoramax", HERE).crawled_at
    store(raw, crawled())
    assert raw.failures().is_empty()
    assert raw.objects.look("panoramax/failed") == ([], [])


def test_a_cell_that_never_worked_has_nothing_to_go_back_to(raw: RawStore) -> None:
    store(raw, crawled("a box"))
    store(raw, TransientError("down"))
    (note,) = raw.failures().to_dicts()
    assert (note["attempts"], note["good_at"], note["error"]) == (2, None, "TransientError: down")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"first_failed_at": 3}', b"\xff"])
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
    assert raw.crawls().rows() == [("panoramax", THERE, DAY_1, 2, True)]
    assert list(raw.find_captures("panoramax", ["panoramax:a"])) == [(THERE, "panoramax:a")]


def test_a_file_that_cannot_be_read_is_listed_without_its_time(raw: RawStore) -> None:
    crawl(raw, HERE, [capture()])
    raw.objects.put(raw.key("panoramax", THERE), b"damaged")
    assert raw.crawls().drop("source").rows() == [(HERE, DAY_1, 1, True), (THERE, None, None, None)]
