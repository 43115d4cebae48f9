"""The source against its stand-in: everything of the sandbox's world, and worlds made up at random."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.errors import GeoPinError, PermanentError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sandbox.server import app_of
from geopin_assets.sandbox.stand_ins.wikimedia_commons_item import page_id
from geopin_assets.sandbox.state import Fault, Sandbox
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk, Shot, World
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.wikimedia_commons import WikimediaCommons
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sandbox.transport import asgi_transport
from geopin_assets_tests.sources.replay import client_of

URL = "http://127.0.0.1:1"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
CELL = Cell("nh-amsterdam-r090c051", Bbox(4.8643, 52.37, 4.8936, 52.388))
SHOTS = build_world().of("wikimedia_commons")
DRIVE = SHOTS[0].drive


def source_on(sandbox: Sandbox) -> WikimediaCommons:
    client = client_of(asgi_transport(app_of(sandbox)), "wikimedia_commons", attempts=2)
    return WikimediaCommons(client, endpoint=f"{URL}/wikimedia_commons", now=lambda: NOW)


def crawl(sandbox: Sandbox, cell: Cell = CELL) -> CellCrawl:
    return crawl_cell(source_on(sandbox), cell)


def shot(number: int, lon: float, lat: float, quirk: Quirk | None = None) -> Shot:
    drive = replace(DRIVE, name="random")
    return replace(SHOTS[0], drive=drive, rank=number, lon=lon, lat=lat, quirk=quirk)


def test_the_sandbox_gives_its_open_street_level_photos_and_a_reason_for_each_other():
    sandbox = Sandbox(build_world(), URL)
    found = crawl(sandbox)
    left_out = {Quirk.NOT_STREET, Quirk.NON_OPEN}
    assert {capture.source_capture_id for capture in found.captures} == {
        page_id(shot) for shot in SHOTS if shot.quirk not in left_out
    }
    assert dict(found.report.rejected) == {"not_street_level": 1, "license_not_open": 1}
    assert found.report.rejected_examples["not_street_level"][0].split(" ")[1] == "(interior)"
    assert found.report.incomplete == []
    by_id = {page_id(shot): shot for shot in SHOTS}
    for capture in found.captures:
        real = by_id[capture.source_capture_id]
        assert (capture.lon, capture.lat) == (real.lon, real.lat)
        assert capture.captured_at == (None if real.quirk is Quirk.NO_DATE else real.captured_at)
        assert (capture.creator, capture.license) == ("Beeldbank", "CC-BY-SA-4.0")
        assert capture.attribution == "Beeldbank, CC-BY-SA-4.0, via Wikimedia Commons"
        assert capture.image_url.startswith(f"{URL}/wikimedia_commons/wikipedia/commons/")
        assert ("/thumb/" in capture.image_url) == (real.rank % 3 != 0)
        is_stated = "/thumb/" in capture.image_url and real.quirk is not Quirk.NO_HEADING
        assert capture.heading_deg == (pytest.approx(real.heading_deg, abs=0.06) if is_stated else None)
    assert dict(sandbox.requests) == {"wikimedia_commons.geosearch": 2, "wikimedia_commons.pages": 1}


def test_all_cells_of_a_block_are_served_by_one_search():
    sandbox = Sandbox(build_world(), URL)
    source = source_on(sandbox)
    quarters = [Cell(str(n), box) for n, box in enumerate(CELL.bbox.quarters())]
    found = [crawl_cell(source, quarter) for quarter in quarters]
    assert sum(len(one.captures) for one in found) == 4
    assert [one.report.requests for one in found] == [3, 0, 0, 0]


def test_a_photo_that_moved_is_found_where_it_is_now_and_a_deleted_one_no_more():
    sandbox = Sandbox(build_world(), URL)
    ids = [page_id(shot) for shot in SHOTS]
    sandbox.vanished.add(ids[0])
    sandbox.moved[ids[2]] = (4.9, 52.38)
    assert {capture.source_capture_id for capture in crawl(sandbox).captures} == {ids[4], ids[5]}
    neighbor = crawl(sandbox, Cell("next", Bbox(4.8936, 52.37, 4.9229, 52.388)))
    assert [capture.source_capture_id for capture in neighbor.captures] == [ids[2]]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 500}, TransientError),
        ({"kind": "status", "status": 403}, PermanentError),
        ({"kind": "truncated"}, TransientError),
        ({"kind": "reset"}, TransientError),
        ({"kind": "html"}, GeoPinError),
        ({"kind": "drift", "rename": {"query": "result"}}, PermanentError),
        ({"kind": "drift", "rename": {"pages": "files"}}, PermanentError),
        ({"kind": "drift", "rename": {"continue": "next"}}, PermanentError),
        ({"kind": "drift", "rename": {"coordinates": "location"}}, PermanentError),
        ({"kind": "drift", "rename": {"imageinfo": "fileinfo"}}, PermanentError),
        ({"kind": "drift", "rename": {"extmetadata": "metadata"}}, PermanentError),
        ({"kind": "drift", "rename": {"value": "text"}}, PermanentError),
        ({"kind": "drift", "rename": {"width": "w"}}, PermanentError),
        ({"kind": "drift", "rename": {"pageid": "id"}}, PermanentError),
    ],
    ids=str,
)
def test_no_fault_is_an_empty_cell(fault: dict[str, object], error: type[GeoPinError]):
    sandbox = Sandbox(build_world(), URL)
    sandbox.faults.append(Fault(source="wikimedia_commons", **fault))  # type: ignore[arg-type]
    with pytest.raises(error, match="wikimedia_commons"):
        crawl(sandbox)


def places() -> st.SearchStrategy[tuple[float, float]]:
    """Anywhere in the cell, on its edges and those of its parts, in heaps and at one place."""
    share = st.one_of(st.floats(0, 1), st.integers(0, 16).map(lambda n: n / 16), st.floats(0.4, 0.4002), st.just(0.3))
    box = CELL.bbox
    return st.tuples(share, share).map(
        lambda s: (
            round(box.west + s[0] * (box.east - box.west), 7),
            round(box.south + s[1] * (box.north - box.south), 7),
        )
    )


@settings(max_examples=examples(10, 300), deadline=None)
@given(truth=st.lists(places(), max_size=60), cap=st.integers(10, 70), part=st.integers(1, 40))
def test_the_union_is_the_truth_or_the_cell_says_that_it_is_incomplete(
    truth: list[tuple[float, float]], cap: int, part: int
):
    world = World(tuple(shot(n, lon, lat) for n, (lon, lat) in enumerate(truth, start=1)))
    sandbox = Sandbox(world, URL, caps={"wikimedia_commons": cap, "wikimedia_commons.part": part})
    found = crawl(sandbox)
    ids = {capture.source_capture_id for capture in found.captures}
    inside = {page_id(one) for one in world.shots if CELL.bbox.contains(one.lon, one.lat)}
    assert ids <= inside
    assert ids == inside or found.report.incomplete
    if len(truth) < 10:
        assert found.report.incomplete == []


def test_a_heap_of_photos_larger_than_the_cap_is_reported_as_incomplete():
    world = World(tuple(shot(n, 4.87, 52.375) for n in range(1, 31)))
    found = crawl(Sandbox(world, URL, caps={"wikimedia_commons": 20}))
    assert len(found.captures) == 20
    assert len(found.report.incomplete) == 1
