"""Whatever goes wrong at a source: everything is found, or the cell fails, or it says that it is incomplete."""

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geopin_assets.errors import GeoPinError
from geopin_assets.grid import Cell
from geopin_assets.sandbox.server import app_of
from geopin_assets.sandbox.state import Fault, Kind
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets_tests.depth import examples, some
from geopin_assets_tests.faults.verdict import note
from geopin_assets_tests.sources.invented import CELL, Place, Truth, opened, stand_in_of

every_server = pytest.mark.parametrize("source", list(filter(stand_in_of, SOURCES)), ids=lambda source: source.name)
fast = settings(max_examples=examples(6, 300), deadline=None, suppress_health_check=[HealthCheck.too_slow])

# What the formats of the sources call the things a crawler needs; under other names nothing can be understood.
DRIFTS = [
    {"id": "identifier", "pano_id": "identifier", "pageid": "identifier"},
    {"geometry": "shape", "computed_geometry": "shape2", "lat": "y", "lng": "x", "latitude": "y", "coordinates": "xy",
     "edmPlaceLatitude": "y"},
    {"features": "results", "data": "results", "currentPageItems": "results", "_embedded": "results",
     "photo": "results", "items": "results", "pages": "results", "query": "results"},
]  # fmt: skip


def places() -> st.SearchStrategy[list[Place]]:
    """In and around a cell: anywhere, on its edges and corners and on those of its quarters, many at one place."""
    share = st.one_of(st.floats(-0.2, 1.2), st.integers(0, 8).map(lambda eighth: eighth / 8), st.just(0.3))
    box = CELL.bbox
    place = st.tuples(share, share).map(
        lambda s: (
            round(box.west + s[0] * (box.east - box.west), 6),
            round(box.south + s[1] * (box.north - box.south), 6),
        )
    )
    return st.lists(place, max_size=70)


def check(truth: Truth, source: Source, cell: Cell = CELL) -> None:
    """Crawl the cell: all of the truth, or an error, or an account that says it is not complete."""
    must, may = truth.ids(cell.bbox)
    try:
        crawl = crawl_cell(source, cell)
    except GeoPinError:
        return
    found = {capture.source_capture_id for capture in crawl.captures}
    assert found <= may
    assert must <= found or not crawl.report.is_complete, f"silently fewer: {len(found)} of {len(must)}"


@every_server
@fast
@given(where=places())
def test_without_faults_exactly_the_truth_is_found(source: type[Source], where: list[Place]):
    truth = Truth.at(source, where)
    with opened(source, truth.sandbox()) as crawler:
        must, may = truth.ids(CELL.bbox)
        crawl = crawl_cell(crawler, CELL)
        found = {capture.source_capture_id for capture in crawl.captures}
        assert found <= may
        assert must <= found or crawl.report.incomplete


@every_server
@fast
@given(
    where=places(),
    kind=st.sampled_from([Kind.STATUS, Kind.HTML, Kind.TRUNCATED, Kind.RESET, Kind.LATENCY]),
    status=st.sampled_from([400, 403, 404, 408, 429, 500, 502, 503]),
    share=st.sampled_from([0.1, 0.2, 0.5, 1.0]),
)
def test_with_any_fault_nothing_is_silently_missing(
    source: type[Source], where: list[Place], kind: str, status: int, share: float
):
    truth = Truth.at(source, where)
    fault = Fault(source=source.name, kind=kind, status=status, share=share, latency_s=0.001, retry_after_s=1)
    with opened(source, truth.sandbox(fault)) as crawler:
        check(truth, crawler)


def forty_crawls(source: type[Source], *faults: Fault) -> int:
    """Requests that they took; each finds everything."""
    box = CELL.bbox
    where = [(box.west + (box.east - box.west) * n / 30, (box.south + box.north) / 2) for n in range(1, 30)]
    truth = Truth.at(source, where)
    sandbox = truth.sandbox(*faults)
    with opened(source, sandbox) as crawler:
        for _ in range(40):
            assert len(crawl_cell(crawler, CELL).captures) == len(truth.ids(CELL.bbox)[1])
    return sum(sandbox.requests.values())


undisturbed = cache(forty_crawls)


@every_server
@pytest.mark.parametrize(("share", "most"), some([(0.2, 1.5), (0.05, 1.2)]))
@pytest.mark.parametrize("kind", some([Kind.TRUNCATED, Kind.RESET, Kind.STATUS]))  # test_requests.py has the last too
def test_what_goes_wrong_now_and_then_costs_few_requests_more(
    source: type[Source], kind: str, share: float, most: float
) -> None:
    faulty = forty_crawls(source, Fault(source=source.name, kind=kind, status=503, share=share))
    ratio = faulty / undisturbed(source)
    note(f"{share:.0%} of answers fail", attempts=1, amplification=round(ratio, 2), captures_lost=0)
    assert ratio <= most


@every_server
@settings(max_examples=examples(2, 50), deadline=None)
@given(where=places(), share=st.sampled_from([0.5, 1.0]))
def test_a_server_that_hangs_is_an_error_after_the_deadline(source: type[Source], where: list[Place], share: float):
    truth = Truth.at(source, where)
    fault = Fault(source=source.name, kind=Kind.HANG, share=share)
    with opened(source, truth.sandbox(fault), deadline_s=0.05) as crawler:
        check(truth, crawler)


@every_server
@pytest.mark.parametrize("rename", DRIFTS, ids=lambda rename: next(iter(rename)))
@settings(max_examples=examples(4, 50), deadline=None)
@given(where=places())
def test_a_format_that_drifts_empties_no_cell(source: type[Source], rename: dict[str, str], where: list[Place]):
    truth = Truth.at(source, where)
    with opened(source, truth.sandbox(Fault(source=source.name, kind=Kind.DRIFT, rename=rename))) as crawler:
        check(truth, crawler)


@every_server
@fast
@given(where=places(), cap=st.integers(10, 60))
def test_a_lowered_cap_hides_nothing(source: type[Source], where: list[Place], cap: int):
    truth = Truth.at(source, where)
    with opened(source, truth.sandbox(cap=cap)) as crawler:
        check(truth, crawler)


@every_server
@fast
@given(where=places(), data=st.data())
def test_captures_that_vanish_or_move_while_they_are_asked_for_end_in_no_wrong_cell(
    source: type[Source], where: list[Place], data: Any
):
    """They may be found or not, but only where they are, and everything else is found."""
    truth = Truth.at(source, where)
    must, may = truth.ids(CELL.bbox)
    changed = data.draw(st.sets(st.sampled_from(sorted(may)), max_size=5)) if may else set()
    gone = data.draw(st.booleans())
    with opened(source, _changing(truth, changed, gone)) as crawler:
        try:
            crawl = crawl_cell(crawler, CELL)
        except GeoPinError:
            return
        found = {capture.source_capture_id for capture in crawl.captures}
        assert found <= may
        assert must - changed <= found or not crawl.report.is_complete


def _changing(truth: Truth, changed: set[str], gone: bool) -> Any:
    """An app whose captures change after its first answer."""
    sandbox, answers = truth.sandbox(), 0
    app = app_of(sandbox)

    async def changing(scope: Any, receive: Any, send: Any) -> None:
        nonlocal answers
        await app(scope, receive, send)
        answers += 1
        if answers == 1 and gone:
            sandbox.vanished |= changed
        elif answers == 1:
            sandbox.moved |= dict.fromkeys(changed, (5.9, 52.9))

    return changing
