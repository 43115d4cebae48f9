"""Complete answers of a search that gives 4,000 photos at most: pages, totals and slices of the time of upload."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.grid import Bbox, Cell, bounds
from geopin_assets.sandbox.stand_ins.flickr import FlickrStandIn, photo_id
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Drive, Shot, World
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.fields import EARLIEST
from geopin_assets.sources.flickr import UNTIL_S, Flickr
from geopin_assets.sources.flickr.read import parse_page
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.recordings.flickr import CELL, NOW, RECORD, page, photos, source_on
from geopin_assets_tests.sources.replay import client_of

Params = dict[str, str]


def test_totals_and_pages_may_be_text():
    assert parse_page(page([], "30", "2")).total == parse_page(page([], 30, 2)).total == 30


@pytest.mark.parametrize(("total", "pages"), [(None, 1), (-1, 1), ("many", 1), (3, None), (3, 0.5), (True, 1)])
def test_a_page_without_usable_totals_is_refused(total: Any, pages: Any):
    with pytest.raises(PayloadError, match="flickr"):
        parse_page(page([], total, pages))


def test_pages_are_followed_to_the_last():
    asked: list[str] = []

    def search(params: Params) -> Any:
        asked.append(params["page"])
        number = int(params["page"])
        return page(photos(7)[3 * (number - 1) : 3 * number], 7, 3)

    crawl = crawl_cell(source_on(search), CELL)
    assert (len(crawl.captures), asked) == (7, ["1", "2", "3"])


def test_the_same_photo_on_two_pages_counts_once():
    def search(params: Params) -> Any:
        return page([photos(3), photos(4)[2:]][int(params["page"]) - 1], 4, 2)

    crawl = crawl_cell(source_on(search), CELL)
    assert (len(crawl.captures), crawl.report.duplicates) == (4, 1)


def test_a_total_that_does_not_fit_is_asked_once_more():
    answers = iter([page(photos(2), 3), page(photos(3), 3)])
    crawl = crawl_cell(source_on(lambda params: next(answers)), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (3, 3)


@pytest.mark.parametrize("total", [1, 2])
def test_a_total_that_never_fits_fails_the_cell_and_can_be_tried_later(total: int):
    with pytest.raises(TransientError, match=f"flickr: 3 photos where the total says {total}"):
        crawl_cell(source_on(lambda params: page(photos(3), total)), CELL)


@pytest.mark.parametrize("total", [10_000, 10**9])
def test_a_total_that_does_not_follow_the_time_of_upload_is_not_looked_for_second_by_second(total: int):
    asked: list[Params] = []

    def search(params: Params) -> Any:
        asked.append(params)
        return page(photos(3), total, 40)

    with pytest.raises(TransientError, match=f"flickr: {total} and {total} photos in the halves of {total}"):
        crawl_cell(source_on(search), CELL)
    assert len(asked) < 200


@pytest.mark.parametrize(("found", "total"), [(3, 4), (3, 5), (99, 100), (97, 100), (8, 10), (0, 2), (1, 200)])
def test_a_total_that_is_too_high_fails_nothing_and_removes_nothing(found: int, total: int):
    asked: list[Params] = []

    def search(params: Params) -> Any:
        asked.append(params)
        return page(photos(found), str(total), min(found, 1))

    crawl = crawl_cell(source_on(search), CELL)
    assert (len(crawl.captures), crawl.report.incomplete, crawl.report.is_complete) == (found, [], False)
    assert len(asked) == 2


def test_a_total_that_is_too_high_in_every_slice_keeps_what_all_of_them_show():
    first_s = int(EARLIEST.timestamp())
    search = spread([first_s + 7_000_000 * n for n in range(90)], per_page=30)

    def boasting(params: Params) -> Any:
        body = search(params)
        return body | {"photos": body["photos"] | {"total": str(int(int(body["photos"]["total"]) * 1.1))}}

    crawl = crawl_cell(source_on(boasting, divide_above=60), CELL)
    assert (len(crawl.captures), crawl.report.is_complete) == (90, False)


@pytest.mark.parametrize("pages", [0, "", "0", 1])
def test_an_empty_text_is_the_total_of_nothing(pages: Any):
    crawl = crawl_cell(source_on(lambda params: page([], "", pages)), CELL)
    assert (crawl.captures, crawl.report.is_complete) == ([], True)
    with pytest.raises(PayloadError, match="flickr"):
        parse_page(page(photos(1), "", pages))


def test_pages_without_end_are_left_when_they_bring_nothing_new():
    with pytest.raises(TransientError, match="flickr"):
        crawl_cell(source_on(lambda params: page([], 10**9, 1), divide_above=10**10), CELL)
    crawl = crawl_cell(source_on(lambda params: page(photos(3), 3, 10**9)), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (3, 3)


def spread(times_s: list[int], per_page: int = 250, most_results: int = 4000) -> Callable[[Params], Any]:
    """A server that has a photo uploaded at each of these times, and repeats itself after `most_results`."""
    records = [(at_s, RECORD | {"id": str(n)}) for n, at_s in enumerate(times_s)]

    def search(params: Params) -> Any:
        low, high = int(params["min_upload_date"]), int(params["max_upload_date"])
        found = [record for at_s, record in records if low <= at_s <= high]
        reachable = found[:most_results]
        last = -(-len(reachable) // per_page)
        start = (min(int(params["page"]), max(last, 1)) - 1) * per_page
        return page(reachable[start : start + per_page], str(len(found)), -(-len(found) // per_page))

    return search


def test_more_than_a_query_gives_is_asked_in_slices_that_tile_the_time_line():
    first_s = int(EARLIEST.timestamp())
    search = spread([first_s + 7_000_000 * n for n in range(90)], per_page=5)
    answered: list[tuple[int, int, int]] = []

    def counted(params: Params) -> Any:
        body = search(params)
        if params["page"] == "1":
            total = int(body["photos"]["total"])
            answered.append((int(params["min_upload_date"]), int(params["max_upload_date"]), total))
        return body

    crawl = crawl_cell(source_on(counted, divide_above=30), CELL)
    assert (len(crawl.captures), crawl.report.incomplete) == (90, [])
    assert len(set(answered)) == len(answered)  # what has to be divided is not asked twice
    leaves = sorted((low, high) for low, high, total in answered if total <= 30)
    assert len(leaves) == crawl.report.splits + 1
    assert leaves[0][0] == first_s
    assert leaves[-1][1] == UNTIL_S - 1
    assert [low for low, _ in leaves[1:]] == [high + 1 for _, high in leaves[:-1]]


@pytest.mark.parametrize("years", [-10, 0, 10])
def test_a_clock_that_is_years_behind_or_ahead_hides_nothing(years: int):
    newest_s = int(NOW.timestamp())
    source = source_on(spread([newest_s - n for n in range(3)]), now=lambda: NOW + timedelta(days=365 * years))
    crawl = crawl_cell(source, CELL)
    assert (len(crawl.captures), crawl.report.is_complete) == (3, True)


def test_a_thousand_uploads_in_one_second_are_read_as_far_as_a_query_goes():
    second = int(datetime(2015, 6, 1, tzinfo=UTC).timestamp())
    crawl = crawl_cell(source_on(spread([second] * 90, per_page=5), divide_above=30), CELL)
    assert (len(crawl.captures), crawl.report.incomplete) == (90, [])


def test_more_in_one_second_than_a_query_gives_is_incomplete_and_what_came_is_kept():
    second = int(datetime(2015, 6, 1, tzinfo=UTC).timestamp())
    search = spread([second] * 90 + [second + 1] * 20, per_page=5, most_results=40)
    crawl = crawl_cell(source_on(search, divide_above=30), CELL)
    assert len(crawl.captures) == 60
    (box,) = crawl.report.incomplete
    assert Bbox(*map(float, box.split(","))).intersects(CELL.bbox)


def test_a_limit_that_was_lowered_without_a_word_is_noticed_and_divided():
    first_s = int(EARLIEST.timestamp())
    search = spread([first_s + 7_000_000 * n for n in range(90)], per_page=5, most_results=20)
    crawl = crawl_cell(source_on(search), CELL)
    assert (len(crawl.captures), crawl.report.incomplete) == (90, [])


def test_slices_that_add_up_to_less_than_all_are_incomplete():
    """As if the last second of each slice were left out."""
    first_s = int(EARLIEST.timestamp())
    search = spread([first_s + n for n in range(90)], per_page=5)

    def exclusive(params: Params) -> Any:
        return search(params | {"max_upload_date": str(int(params["max_upload_date"]) - 1)})

    crawl = crawl_cell(source_on(exclusive, divide_above=30), CELL)
    assert len(crawl.captures) < 90
    assert crawl.report.incomplete


BLOCK = Bbox(bounds(90, 50).west, bounds(90, 50).south, bounds(91, 51).east, bounds(91, 51).north)
SHOT = build_world().of("flickr")[0]
STARTS = st.sampled_from([0, 0, 0, 1, 2, 60, 86_400, 400_000_000])
uploads = st.lists(
    st.tuples(STARTS, st.integers(0, 3), st.floats(0, 0.9999), st.floats(0, 0.9999)), min_size=1, max_size=45
)


def shots_of(drawn: list[tuple[int, int, float, float]]) -> list[Shot]:
    drive: Drive = replace(SHOT.drive, quirks=())
    return [
        replace(
            SHOT,
            drive=drive,
            rank=rank,
            quirk=None,
            captured_at=datetime(2010, 1, 1, tzinfo=UTC) + timedelta(seconds=start_s + later_s),
            lon=round(BLOCK.west + x * (BLOCK.east - BLOCK.west), 6),
            lat=round(BLOCK.south + y * (BLOCK.north - BLOCK.south), 6),
        )
        for rank, (start_s, later_s, x, y) in enumerate(drawn, 1)
    ]


def crawl_block(shots: list[Shot], most_results: int, per_page: int, divide_above: int) -> tuple[list[str], bool]:
    """(ids found in the four cells of the block, whether all of them were complete)."""
    sandbox = Sandbox(World(tuple(shots)), "http://127.0.0.1:1", caps={"flickr": per_page})
    stand_in = FlickrStandIn(sandbox, most_results=most_results)

    def server(request: httpx.Request) -> httpx.Response:
        answer = stand_in.answer(QueryParams(request.url.query.decode()))
        return httpx.Response(answer.status_code, content=bytes(answer.body))

    client = client_of(httpx.MockTransport(server), "flickr")
    source = Flickr(client, api_key="sandbox", divide_above=divide_above, now=lambda: NOW)
    crawls = [crawl_cell(source, Cell(f"{n}", bounds(90 + n // 2, 50 + n % 2))) for n in range(4)]
    assert not any(crawl.report.rejected for crawl in crawls)
    ids = [capture.source_capture_id for crawl in crawls for capture in crawl.captures]
    return sorted(ids), all(crawl.report.is_complete for crawl in crawls)


@settings(max_examples=examples(16, 320), deadline=None)
@given(uploads, st.integers(1, 40), st.integers(1, 20), st.integers(1, 60))
def test_whatever_the_limits_everything_is_found_or_what_is_missing_is_said(
    drawn: list[tuple[int, int, float, float]], most_results: int, per_page: int, divide_above: int
):
    shots = shots_of(drawn)
    truth = sorted(map(photo_id, shots))
    try:
        found, is_complete = crawl_block(shots, most_results, per_page, divide_above)
    except TransientError:
        return  # said loudly
    assert set(found) <= set(truth)
    assert found == truth or not is_complete


@settings(max_examples=examples(12, 300), deadline=None)
@given(uploads, st.integers(1, 40), st.integers(1, 20), st.data())
def test_what_fits_into_seconds_is_always_found_completely(
    drawn: list[tuple[int, int, float, float]], most_results: int, per_page: int, data: st.DataObject
):
    shots = shots_of(drawn)
    most_in_a_second = max(sum(other.captured_at == shot.captured_at for other in shots) for shot in shots)
    most_results = max(most_results, most_in_a_second)
    divide_above = data.draw(st.integers(1, most_results))
    found, is_complete = crawl_block(shots, most_results, per_page, divide_above)
    assert (found, is_complete) == (sorted(map(photo_id, shots)), True)
