"""Whatever a search refuses or cuts: the captures of neighboring cells are all captures, each in exactly one cell."""

from math import floor

from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.mapillary import Limits
from geopin_assets.sources.mapillary.read import EDGE_DEG
from geopin_assets.sources.tiles import Tile
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.mapillary.server import Record, Server, image
from geopin_assets_tests.sources.recordings.mapillary import client_on, source_on

WEST = Cell("west", Bbox(4.8936, 52.37, 4.9229, 52.388))
EAST = Cell("east", Bbox(4.9229, 52.37, 4.9522, 52.388))
AREA = Bbox(WEST.bbox.west, WEST.bbox.south, EAST.bbox.east, EAST.bbox.north)
_SHIFTS = (0.0, 1e-6, 3e-6, 1e-4, 4.9e-4)
_TILE_ERROR_DEG = 1e-5

TILE_EDGE = Tile(14, 8415, 5384).bbox

shifts = st.tuples(*[st.sampled_from([sign * shift for shift in _SHIFTS for sign in (1, -1)])] * 2)
beside = st.sampled_from([0.0, 1e-6, -1e-6, 3e-5, -3e-5, 3e-4, -3e-4])
shares = st.one_of(st.floats(0, 1), st.integers(0, 16).map(lambda sixteenth: sixteenth / 16))
lons = st.tuples(shares.map(lambda s: AREA.west + s * (AREA.east - AREA.west)) | st.just(TILE_EDGE.west), beside).map(
    sum
)
lats = st.tuples(
    shares.map(lambda s: AREA.south + s * (AREA.north - AREA.south)) | st.just(TILE_EDGE.south), beside
).map(sum)


@st.composite
def truths(draw: st.DrawFn, wild: bool) -> list[Record]:
    """Clusters of images: beside borders, lines of division and edges of tiles; reconstructed a little aside."""
    images: list[Record] = []
    for _ in range(draw(st.integers(1, 3))):
        lon, lat = draw(lons), draw(lats)
        spread = draw(st.sampled_from([0.0, 1e-6, 2e-4, 3e-3]))
        shift = draw(st.none() | shifts | (st.just((7e-4, 0.0)) if wild else st.nothing()))
        for n in range(draw(st.integers(1, 25))):
            x, y = lon + spread * ((n * 0.618) % 1 - 0.5), lat + spread * ((n * 0.414) % 1 - 0.5)
            computed = None if shift is None or n % 4 == 3 else (x + shift[0], y + shift[1])
            images.append(image(1_000_000 + len(images), x, y, computed))
    return images


def place_of(record: Record) -> tuple[float, float]:
    device = record["geometry"]["coordinates"]
    computed = record.get("computed_geometry", {}).get("coordinates", device)
    is_near = max(abs(computed[0] - device[0]), abs(computed[1] - device[1])) <= EDGE_DEG
    return tuple(computed if is_near else device)


def ids(crawl: CellCrawl) -> set[str]:
    return {capture.source_capture_id for capture in crawl.captures}


@settings(max_examples=examples(12, 600), deadline=None)
@given(data=st.data(), cap=st.integers(12, 60), density=st.integers(5, 80), split_at=st.sampled_from([10, 20, 1000]))
def test_captures_of_neighboring_cells_are_the_truth_and_each_is_in_one_of_them(
    data: st.DataObject, cap: int, density: int, split_at: int
):
    selects = data.draw(st.sampled_from(["geometry", "computed_geometry"]))
    truth = data.draw(truths(wild=selects == "geometry"))
    server = Server(truth, cap=cap, density=density, selects=selects, raster=data.draw(st.sampled_from([floor, round])))
    source = source_on(client_on(server.transport), limits=Limits(split_at=split_at))
    places = {record["id"]: place_of(record) for record in truth}
    for cell in (WEST, EAST):
        crawl = crawl_cell(source, cell)
        assert ids(crawl) == {id_ for id_, place in places.items() if cell.bbox.contains(*place)}
        assert crawl.report.incomplete == []
        assert crawl.report.rejected == {}
        for capture in crawl.captures:
            device = next(r["geometry"]["coordinates"] for r in truth if r["id"] == capture.source_capture_id)
            place = device if capture.image_url.startswith("mapillary:") else places[capture.source_capture_id]
            assert max(abs(capture.lon - place[0]), abs(capture.lat - place[1])) < _TILE_ERROR_DEG
            assert capture.creator is not None


def test_a_capture_searchable_beside_its_cell_is_found_for_it_and_left_out_elsewhere_without_a_word():
    border, lat = WEST.bbox.east, 52.375
    truth = [
        image(1001, border + 1e-4, lat, (border - 1e-4, lat)),
        image(1002, border - 1e-4, lat, (border + 1e-4, lat)),
        image(1003, border + 4.9e-4, lat, (border + 9.8e-4, lat)),
    ]
    source = source_on(client_on(Server(truth).transport))
    west, east = crawl_cell(source, WEST), crawl_cell(source, EAST)
    assert (ids(west), ids(east)) == ({"1001"}, {"1002", "1003"})
    assert (west.report.rejected, east.report.rejected) == ({}, {})


def test_a_capture_whose_tile_position_lies_in_a_searchable_box_is_found_all_the_same():
    """A search finds it in the dense box on the right only, where it is refused; the tile has it on the left."""
    lon, lat = WEST.bbox.center
    truth = [image(1000 + n, lon - 1e-4, lat + 1e-4, (lon + 1e-4, lat + 1e-4)) for n in range(9)]
    server = Server(truth, density=5, selects="computed_geometry")
    assert len(crawl_cell(source_on(client_on(server.transport)), WEST).captures) == 9


def test_a_point_that_rounding_puts_on_the_edge_of_its_tile_is_found():
    truth = [image(1000 + n, TILE_EDGE.west - 1e-6, 52.375) for n in range(9)]
    server = Server(truth, density=5, raster=round)
    assert len(crawl_cell(source_on(client_on(server.transport)), WEST).captures) == 9


def test_the_property_reaches_every_way_of_finding_a_capture():
    """A guard for the test above: searches, refusals, tiles, images near the border and names."""
    truth = [image(1000 + n, WEST.bbox.east + (n - 20) * 1e-4, 52.375) for n in range(1, 40)]
    server = Server(truth, density=10)
    crawl = crawl_cell(source_on(client_on(server.transport)), WEST)
    assert len(crawl.captures) == 19
    assert crawl.report.splits > 0
    assert set(server.counts) == {"search", "entity", "tiles"}
    assert {capture.image_url.partition(":")[0] for capture in crawl.captures} == {"mapillary", "https"}
