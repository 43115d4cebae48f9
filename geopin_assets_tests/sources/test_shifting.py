"""Lists that change while they are read: nothing that is still there is ever taken for gone.

For every source that pages, over a real socket, a list of 13 records loses and gains some between its pages.
"""

from collections.abc import Callable, Iterator, Mapping
from random import Random

import pytest

from geopin_assets.errors import GeoPinError
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.recordings import flickr
from geopin_assets_tests.sources.shifting_server import PAGED, PER_PAGE, Answer, Server, Shifting, serving

BEFORE = [f"{n:03d}" for n in range(1, 14)]
every_paged = pytest.mark.parametrize("name", PAGED)


Crawled = Callable[[str, Callable[[Shifting, int], None]], tuple[CellCrawl | GeoPinError, Shifting]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def crawled(server: Server) -> Crawled:
    """A crawl of a cell in which all of BEFORE was found earlier, checked for what would be removed on its word."""

    def crawl_list(name: str, between: Callable[[Shifting, int], None]) -> tuple[CellCrawl | GeoPinError, Shifting]:
        shown = Shifting(list(BEFORE))
        shown.between = lambda cut: between(shown, cut)
        source, paged = server.show(name, shown)
        known = frozenset(map(paged.id_of, BEFORE))
        try:
            crawl = crawl_cell(source, paged.cell, known=lambda box: known)
        except GeoPinError as error:
            return error, shown
        found = {capture.source_capture_id for capture in crawl.captures}
        there = set(map(paged.id_of, shown.records))
        assert not crawl.report.is_complete or not (known - found) & there, (shown.asked, sorted(known - found))
        return crawl, shown

    return crawl_list


@every_paged
def test_a_list_that_stays_is_read_once(name: str, crawled: Crawled):
    crawl, shown = crawled(name, lambda shown, cut: None)
    assert isinstance(crawl, CellCrawl) and crawl.report.is_complete and len(crawl.captures) == len(BEFORE)
    assert len(shown.asked) <= len(BEFORE) // PER_PAGE + 2


@every_paged
def test_what_is_really_gone_is_believed_after_a_second_reading(name: str, crawled: Crawled):
    def between(shown: Shifting, cut: int) -> None:
        shown.records = BEFORE[:2] + BEFORE[5:]

    crawl, shown = crawled(name, between)
    assert isinstance(crawl, CellCrawl) and crawl.report.is_complete and len(crawl.captures) == 10
    assert len({size for _, size in shown.asked}) == 2  # cut elsewhere


@every_paged
@pytest.mark.parametrize("has_gain", [False, True], ids=["one out", "one out and one in"])
def test_one_that_goes_between_two_pages_takes_no_other_with_it(name: str, has_gain: bool, crawled: Crawled):
    """At every place of the list, between all pages; where one comes as well, every count stays as it was."""
    for page in range(1, 4):
        for place in range(page % 2, len(BEFORE), examples(3, 1)):

            def between(shown: Shifting, cut: int, page: int = page, place: int = place) -> None:
                if cut == page:
                    shown.records = BEFORE[:place] + BEFORE[place + 1 :] + ["014"] * has_gain

            crawl, shown = crawled(name, between)
            assert isinstance(crawl, CellCrawl) and crawl.report.is_complete, (page, place)
            assert len(crawl.captures) >= len(shown.records)


@every_paged
def test_one_that_goes_and_comes_at_every_page_takes_no_other_with_it(name: str, crawled: Crawled):
    """As of a server behind which two copies answer in turns: the same count, and another page each time."""

    def between(shown: Shifting, cut: int) -> None:
        shown.records = BEFORE[cut % 2 :] + ["014"] * (cut % 2)

    crawled(name, between)


@every_paged
@pytest.mark.parametrize("seed", range(examples(10, 400)))
def test_whatever_goes_and_comes(name: str, seed: int, crawled: Crawled):
    draw = Random(seed)

    def between(shown: Shifting, cut: int) -> None:
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            if shown.records and draw.random() < 0.6:
                shown.records.pop(draw.randrange(len(shown.records)))
            if draw.random() < 0.6:
                shown.records.insert(draw.randrange(len(shown.records) + 1), f"{100 * cut + draw.randrange(100):05d}")

    crawled(name, between)


@every_paged
@pytest.mark.parametrize("left", [0, 2])
def test_a_first_answer_that_knows_of_little_is_not_believed(name: str, left: int, crawled: Crawled):
    """As of a server whose index is just being made anew: no page after it, and a count that matches."""

    def between(shown: Shifting, cut: int) -> None:
        shown.records = BEFORE[: left if cut == 0 else None]

    crawl, _ = crawled(name, between)
    assert isinstance(crawl, CellCrawl) and crawl.report.is_complete and len(crawl.captures) == len(BEFORE)


def _without_one_license(query: Mapping[str, str], shown: Shifting) -> Answer:
    """The first time its table lacks the license of all photos, and a search is for the licenses that it names."""
    status, answer = PAGED["flickr"].answer(query, shown)
    if query["method"] == "flickr.photos.search":
        asked_for = flickr.RECORD["license"] in query["license"].split(",")
        return (status, answer) if asked_for else (200, flickr.page([], 0, 0))
    shown.asked.append((0, 0))
    rows = [row for row in answer["licenses"]["license"] if row["id"] != flickr.RECORD["license"]]
    return status, answer | {"licenses": {"license": rows}} if len(shown.asked) == 1 else answer


def _without_its_collection(query: Mapping[str, str], shown: Shifting) -> Answer:
    """Items leave the license to their collection, which is not there the first time."""
    status, answer = PAGED["stac"].answer(query, shown)
    for item in answer.get("features", ()):
        item["properties"] = {name: value for name, value in item["properties"].items() if name != "license"}
    if "features" in answer:
        return status, answer
    shown.cut += 1
    return (404, {}) if shown.cut <= 2 else (status, answer)


@pytest.mark.parametrize(("name", "answer"), [("flickr", _without_one_license), ("stac", _without_its_collection)])
def test_licenses_that_are_not_told_once_take_nothing_with_them(
    name: str, answer: Callable[[Mapping[str, str], Shifting], Answer], server: Server
) -> None:
    source, paged = server.show(name, Shifting(list(BEFORE[:3])))
    server.answer = answer
    crawl = crawl_cell(source, paged.cell, known=lambda box: frozenset(map(paged.id_of, BEFORE[:3])))
    assert crawl.report.is_complete and len(crawl.captures) == 3


@pytest.mark.parametrize("name", ["amsterdam"])
def test_a_last_page_that_vanishes_is_no_failure_of_the_cell(name: str, crawled: Crawled):
    def between(shown: Shifting, cut: int) -> None:
        if cut == 3:
            shown.records = BEFORE[:8]

    crawl, shown = crawled(name, between)
    assert isinstance(crawl, CellCrawl) and crawl.report.is_complete
    assert [c.source_capture_id for c in crawl.captures] == shown.records
