from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.grid import Bbox
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.splitting import Capacity, Saturated, fetch_complete
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.capped_server import CappedServer, Point

CELL = Bbox(4.8936, 52.37, 4.9229, 52.388)
FLOOR_DEG = CELL.east / 4096 - CELL.west / 4096


def crawl(
    server: CappedServer, box: Bbox = CELL, floor_deg: float = FLOOR_DEG, capacity: Capacity | None = None
) -> tuple[list[Point], CrawlReport]:
    report = CrawlReport()
    points = fetch_complete(
        box,
        server.fetch,
        capacity=capacity or Capacity(server.limit, lambda report: server.limit),
        min_side_deg=floor_deg,
        report=report,
        key=lambda point: point[0],
    )
    return list(points), report


def positions() -> st.SearchStrategy[tuple[float, float]]:
    """Anywhere, on edges and corners of every division, clustered within meters, and at the very same place."""
    share = st.one_of(
        st.floats(0, 1),
        st.integers(0, 16).map(lambda sixteenth: sixteenth / 16),
        st.floats(0.49, 0.4901),
        st.just(0.3),
    )
    return st.tuples(share, share).map(
        lambda s: (CELL.west + s[0] * (CELL.east - CELL.west), CELL.south + s[1] * (CELL.north - CELL.south))
    )


def truths() -> st.SearchStrategy[list[Point]]:
    lists = st.lists(positions(), max_size=80)
    return lists.map(lambda places: [(number, lon, lat) for number, (lon, lat) in enumerate(places)])


@settings(max_examples=examples(30, 1600), deadline=None)
@given(truth=truths(), limit=st.integers(1, 30))
def test_the_union_is_the_truth_or_the_box_is_reported_and_never_silently_fewer(truth: list[Point], limit: int):
    server = CappedServer(truth, limit)
    found, report = crawl(server)
    ids = [point[0] for point in found]
    assert len(ids) == len(set(ids))
    missing = {point[0] for point in server.within(CELL)} - set(ids)
    assert set(ids) <= {point[0] for point in server.within(CELL)}
    assert not missing or report.incomplete
    if report.incomplete:  # whatever is missing lies in a reported box
        boxes = [Bbox(*map(float, text.split(","))) for text in report.incomplete]
        for _, lon, lat in (point for point in truth if point[0] in missing):
            assert any(b.west - 1e-6 <= lon <= b.east + 1e-6 and b.south - 1e-6 <= lat <= b.north + 1e-6 for b in boxes)


@settings(max_examples=examples(20, 400), deadline=None)
@given(truth=truths(), limit=st.integers(1, 30))
def test_requests_are_the_fewest_that_dividing_by_four_allows(truth: list[Point], limit: int):
    server = CappedServer(truth, limit)
    _, report = crawl(server)
    leaves = len(server.asked) - report.splits
    assert 3 * len(server.asked) == 4 * leaves - 1
    asked = set(server.asked)
    assert len(asked) == len(server.asked)
    for box in server.asked:
        divided = any(quarter in asked for quarter in box.quarters())
        assert divided == (
            len(server.within(box)) >= limit and min(box.east - box.west, box.north - box.south) / 2 >= FLOOR_DEG
        )


@given(truth=truths())
def test_one_request_is_enough_below_the_limit(truth: list[Point]):
    server = CappedServer(truth, limit=81)
    found, report = crawl(server)
    assert len(server.asked) == 1
    assert sorted(found) == sorted(server.within(CELL))
    assert (report.splits, report.duplicates, report.incomplete) == (0, 0, [])


def test_more_at_one_place_than_the_limit_is_reported_and_what_came_is_kept():
    lon, lat = CELL.center
    server = CappedServer([(n, lon + 1e-5, lat + 1e-5) for n in range(50)], limit=20)
    found, report = crawl(server)
    assert len(found) == 20
    assert len(report.incomplete) == 1


def test_a_record_on_a_shared_corner_comes_once_and_its_copies_are_counted():
    lon, lat = CELL.center
    server = CappedServer([(1, lon, lat), (2, CELL.west, CELL.south), (3, CELL.east, CELL.north)], limit=3)
    found, report = crawl(server)
    assert sorted(point[0] for point in found) == [1, 2, 3]
    assert (report.splits, report.duplicates) == (1, 3)


def test_what_only_a_saturated_box_returned_is_not_lost():
    """A server may forget a record between the two requests; whatever was seen counts."""
    before = CappedServer([(n, CELL.west + n * 0.002, CELL.south + n * 0.001) for n in range(6)], limit=4)
    gone = before.fetch(CELL)[0]
    after = CappedServer([point for point in before.points if point != gone], limit=4)

    def forgetful(box: Bbox) -> list[Point]:
        return (before if box == CELL else after).fetch(box)

    report = CrawlReport()
    found = fetch_complete(
        CELL, forgetful, capacity=Capacity(4), min_side_deg=FLOOR_DEG, report=report, key=lambda point: point[0]
    )
    assert sorted(point[0] for point in found) == [0, 1, 2, 3, 4, 5]
    assert report.duplicates == 0


def test_an_error_ends_the_crawl():
    def broken(box: Bbox) -> list[Point]:
        raise TimeoutError

    report = CrawlReport()
    records = fetch_complete(
        CELL, broken, capacity=Capacity(1), min_side_deg=FLOOR_DEG, report=report, key=lambda point: point[0]
    )
    try:
        list(records)
    except TimeoutError:
        return
    raise AssertionError("the error was swallowed")


@settings(max_examples=examples(25, 1200), deadline=None)
@given(truth=truths(), cap=st.integers(10, 40), has_probe=st.booleans())
def test_a_cap_that_was_lowered_without_a_word_hides_nothing(truth: list[Point], cap: int, has_probe: bool):
    """The server gives at most `cap`, whatever is asked for; the crawler believes in 1,000."""
    server = CappedServer(truth, cap)
    capacity = Capacity(1000, (lambda report: min(cap, len(truth))) if has_probe else None)
    found, report = crawl(server, capacity=capacity)
    missing = {point[0] for point in server.within(CELL)} - {point[0] for point in found}
    assert not missing or report.incomplete


def test_the_probe_is_asked_once_and_only_when_an_answer_needs_proof():
    asked, first, second = [], CrawlReport(), CrawlReport()
    capacity = Capacity(100, lambda report: asked.append(report) or 60)
    assert [capacity.is_proven_by(n, first) for n in (0, 3, 9)] == [True, True, True]
    assert asked == []
    assert [capacity.is_proven_by(n, second) for n in (10, 59, 60)] == [True, True, False]
    assert [capacity.is_proven_by(n, first) for n in (70, 69, 100)] == [False, True, False]
    assert len(asked) == 1 and asked[0] is second  # the cell whose answer needed it


def test_without_a_probe_the_longest_answer_so_far_is_what_the_server_can_give():
    capacity, report = Capacity(100), CrawlReport()
    proven = [capacity.is_proven_by(n, report) for n in (9, 12, 11, 12, 30, 29)]
    assert proven == [True, False, True, False, False, True]


def test_a_box_that_the_server_refuses_as_too_full_is_divided():
    points = [(n, CELL.west + n * 0.0007, CELL.south + n * 0.0004) for n in range(40)]
    server = CappedServer(points, 1000)

    def dense(box: Bbox) -> list[Point]:
        found = server.fetch(box)
        if len(found) > 8:
            raise Saturated
        return found

    report = CrawlReport()
    records = fetch_complete(
        CELL, dense, capacity=Capacity(1000), min_side_deg=FLOOR_DEG, report=report, key=lambda point: point[0]
    )
    assert sorted(records) == sorted(server.within(CELL))
    assert report.splits > 0 and not report.incomplete


def test_what_cannot_be_divided_may_be_answered_another_way():
    lon, lat = CELL.center
    truth = [(n, lon + 1e-5, lat + 1e-5) for n in range(50)]
    server, report = CappedServer(truth, limit=20), CrawlReport()
    asked: list[Bbox] = []

    def another_way(box: Bbox) -> list[Point]:
        asked.append(box)
        return truth

    records = fetch_complete(
        CELL,
        server.fetch,
        capacity=Capacity(20, lambda report: 20),
        min_side_deg=FLOOR_DEG,
        report=report,
        key=lambda point: point[0],
        at_floor=another_way,
    )
    assert sorted(records) == truth
    assert report.incomplete == [] and len(asked) == 1
