import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, SourceUnavailable, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell, crawl_cells
from geopin_assets.sources.panoramax import Panoramax
from geopin_assets_tests.factories import capture
from geopin_assets_tests.sources.replay import client_of

CELL = Cell("nh-amsterdam-r090c052", Bbox(4.8936 - 0.01, 52.37, 4.9229, 52.388))

Yield = Callable[[Cell], Iterator[Capture | Rejected]]


class Scripted(Source):
    """A source that yields what a function says."""

    name = "panoramax"

    def __init__(self, yields: Yield) -> None:
        self._yields = yields

    @classmethod
    def from_settings(cls, settings: Any, client: Any) -> "Scripted":
        raise NotImplementedError

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        report.requests += 1
        return self._yields(cell)


def cells(count: int) -> list[Cell]:
    return [Cell(f"r{number}", CELL.bbox) for number in range(count)]


def test_captures_come_once_in_order_of_id_with_everything_left_out_counted():
    source = Scripted(lambda _: iter([capture("b"), capture("a"), capture("b"), Rejected(Reason.NOT_READY, "c")]))
    crawl = crawl_cell(source, CELL)
    assert [c.source_capture_id for c in crawl.captures] == ["a", "b"]
    assert (crawl.report.duplicates, crawl.report.requests) == (1, 1)
    assert dict(crawl.report.rejected) == {"not_ready": 1}


def test_the_first_records_left_out_are_named_by_reason():
    many = [Rejected(Reason.NO_POSITION, f"{number}.jpg") for number in range(9)]
    report = crawl_cell(Scripted(lambda _: iter([*many, capture("far", lon=9.0)])), CELL).report
    assert report.rejected_examples == {
        "no_position": ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"],
        "outside_cell": ["far"],
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lon": 4.9229}, "outside_cell"),
        ({"lat": float("nan")}, "bad_coordinates"),
        ({"source_capture_id": "a\nb"}, "bad_id"),
        ({"source_capture_id": ""}, "bad_id"),
        ({"license": "CC-BY-NC-4.0"}, "license_not_open"),
        ({"image_url": ""}, "no_image"),
        ({"source": "mapillary"}, "malformed"),
        ({"attribution": ""}, "malformed"),
        ({"page_url": ""}, "malformed"),
        ({"heading_deg": 360.0}, "malformed"),
        ({"heading_deg": -1.0}, "malformed"),
        ({"heading_deg": float("nan")}, "malformed"),
        ({"captured_at": datetime(2024, 1, 1)}, "malformed"),  # noqa: DTZ001
        ({"captured_at": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "malformed"),
    ],
)
def test_what_breaks_the_contract_is_left_out_whoever_yields_it(fields: dict[str, Any], reason: str):
    crawl = crawl_cell(Scripted(lambda _: iter([capture(**fields), capture("good")])), CELL)
    assert [c.source_capture_id for c in crawl.captures] == ["good"]
    assert dict(crawl.report.rejected) == {reason: 1}


def test_a_failure_after_some_captures_is_a_failure():
    def half(cell: Cell) -> Iterator[Capture]:
        yield capture()
        raise TransientError("second page")

    with pytest.raises(TransientError):
        crawl_cell(Scripted(half), CELL)


def test_one_failing_cell_stops_no_other():
    def some(cell: Cell) -> Iterator[Capture]:
        if cell.cell_id in ("r3", "r7"):
            raise PermanentError("no")
        yield capture(cell.cell_id)

    outcomes = {cell.cell_id: outcome for cell, outcome in crawl_cells(Scripted(some), cells(20), concurrency=4)}
    assert len(outcomes) == 20
    assert {cell_id for cell_id, outcome in outcomes.items() if isinstance(outcome, PermanentError)} == {"r3", "r7"}
    assert all(isinstance(outcome, CellCrawl) for cell_id, outcome in outcomes.items() if cell_id not in ("r3", "r7"))


def test_a_bug_in_a_source_fails_its_cell_with_its_cause():
    def buggy(cell: Cell) -> Iterator[Capture]:
        raise KeyError("features")
        yield

    ((_, outcome),) = crawl_cells(Scripted(buggy), cells(1))
    assert isinstance(outcome, GeoPinError)
    assert isinstance(outcome.__cause__, KeyError)
    assert "r0" in str(outcome)


def test_cells_run_at_once_up_to_the_concurrency_and_are_taken_as_needed():
    lock, together = threading.Lock(), threading.Barrier(3, timeout=60)
    running = most = taken = 0

    def slow(cell: Cell) -> Iterator[Capture]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1
        yield capture(cell.cell_id)

    def lazily() -> Iterator[Cell]:
        nonlocal taken
        for cell in cells(30):
            taken += 1
            yield cell

    crawls = crawl_cells(Scripted(slow), lazily(), concurrency=3)
    next(crawls)
    assert taken <= 9  # six in flight, and those whose place became free
    assert len(list(crawls)) == 29
    assert most == 3


def test_leaving_early_asks_for_nothing_more():
    asked: list[str] = []

    def counted(cell: Cell) -> Iterator[Capture]:
        asked.append(cell.cell_id)
        yield capture(cell.cell_id)

    crawls = crawl_cells(Scripted(counted), cells(1000), concurrency=2)
    next(crawls)
    crawls.close()
    assert len(asked) < 20


def test_once_the_breaker_is_open_the_remaining_cells_fail_without_a_request():
    requests: list[httpx.Request] = []

    def dead(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(503)

    source = Panoramax(client_of(httpx.MockTransport(dead), "panoramax"))
    outcomes = [outcome for _, outcome in crawl_cells(source, cells(200), concurrency=4)]
    assert len(outcomes) == 200
    assert all(isinstance(outcome, TransientError) for outcome in outcomes)
    assert sum(isinstance(outcome, SourceUnavailable) for outcome in outcomes) > 190
    assert len(requests) <= 10 + 4  # ten failures open it; three threads may be under way


class OfFolder(Scripted):
    """As `Scripted`, but asking no server."""

    asks_a_server = False


def broken(count: int, reason: Reason = Reason.MALFORMED) -> list[Rejected]:
    return [Rejected(reason, str(number)) for number in range(count)]


@pytest.mark.parametrize("reason", [Reason.MALFORMED, Reason.BAD_ID, Reason.BAD_COORDINATES, Reason.NO_IMAGE])
def test_a_format_that_changed_is_an_error_and_no_empty_cell(reason: Reason):
    with pytest.raises(PayloadError, match="4 of 5 records cannot be read"):
        crawl_cell(Scripted(lambda _: iter([capture("a"), *broken(4, reason)])), CELL)


@pytest.mark.parametrize("reason", [Reason.OUTSIDE_CELL, Reason.LICENSE_NOT_OPEN, Reason.NOT_STREET_LEVEL])
def test_records_that_are_rightly_left_out_are_no_change_of_format(reason: Reason):
    crawl = crawl_cell(Scripted(lambda _: iter(broken(9, reason))), CELL)
    assert crawl.report.is_complete


def test_single_broken_records_among_good_ones_change_nothing():
    crawl = crawl_cell(Scripted(lambda _: iter([*map(capture, "abcde"), *broken(3)])), CELL)
    assert crawl.report.is_complete and len(crawl.captures) == 5


def test_a_cell_of_which_little_can_be_read_is_kept_but_removes_nothing():
    crawl = crawl_cell(Scripted(lambda _: iter(broken(2))), CELL)
    assert not crawl.report.is_complete
    assert crawl.report.incomplete == []


def test_a_folder_of_photos_may_be_as_mixed_as_it_is():
    assert crawl_cell(OfFolder(lambda _: iter(broken(9))), CELL).report.is_complete


def test_a_source_learns_what_earlier_crawls_of_each_cell_found():
    told: dict[str, object] = {}

    class Listening(Scripted):
        def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
            told[cell.cell_id] = report.known(cell.bbox)
            return iter(())

    quarters = [Cell(f"r{n}", box) for n, box in enumerate(CELL.bbox.quarters())]
    list(crawl_cells(Listening(lambda _: iter(())), quarters, known=lambda box: frozenset({str(box)})))
    assert told == {quarter.cell_id: {str(quarter.bbox)} for quarter in quarters}
