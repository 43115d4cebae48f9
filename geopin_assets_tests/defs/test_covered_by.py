"""Which sources show a place is told of every published row, whichever side of a border between cells changes."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from geopin_assets.cells import cell
from geopin_assets.platform.publishing import Publisher
from geopin_assets_tests.factories import DAY_2, capture, crawl
from geopin_assets_tests.platform import CELLS, Installation

WEST, EAST = CELLS
BOX = cell(WEST).bbox
BORDER, LAT = BOX.east, (BOX.south + BOX.north) / 2
ABOUT_10_M = 0.00015


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    """Two sources, each on its side of the border, 20 m apart; and one of them far from it."""
    place = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})
    west = [capture("near", lon=BORDER - ABOUT_10_M, lat=LAT), capture("far", lon=BORDER - 10 * ABOUT_10_M, lat=LAT)]
    east = capture("b", source="amsterdam", lon=BORDER + ABOUT_10_M, lat=LAT)
    crawl(place.storage.raw(), WEST, west)
    crawl(place.storage.raw(), EAST, [east], source="amsterdam")
    merge(place)
    return place


def merge(place: Installation) -> None:
    place.storage.catalog().merge(CELLS, place.storage.raw())


def publish(place: Installation, *cells: str) -> int:
    """How many rows were written."""
    publisher = Publisher.begin(place.storage, place.search_index, place.embedding.model())
    return sum(report.upserted + report.deleted for report in publisher.rows(cells))


def told(place: Installation) -> dict[str, str]:
    return dict(place.rows.query("SELECT capture_id, covered_by FROM captures").iter_rows())


BOTH, ONE = '["amsterdam","panoramax"]', '["panoramax"]'


@pytest.mark.parametrize("order", [[(WEST, EAST)], *permutations([(WEST,), (EAST,)])])
def test_in_whatever_order_cells_are_published(place: Installation, order: Sequence[Sequence[str]]) -> None:
    assert sum(publish(place, *cells) for cells in order) == 3
    assert told(place) == {"panoramax:near": BOTH, "panoramax:far": ONE, "amsterdam:b": BOTH}
    assert sum(publish(place, *cells) for cells in order) == 0


def test_what_left_one_cell_changes_rows_of_the_next_and_only_those(place: Installation) -> None:
    publish(place, *CELLS)
    crawl(place.storage.raw(), EAST, [], source="amsterdam", crawled_at=DAY_2)
    merge(place)
    assert publish(place, EAST) == 2
    assert told(place) == {"panoramax:near": ONE, "panoramax:far": ONE}
    assert publish(place, *CELLS) == 0


def test_a_neighbor_is_not_published_before_its_turn(place: Installation) -> None:
    publish(place, WEST)
    crawl(place.storage.raw(), EAST, [], source="amsterdam", crawled_at=DAY_2)
    crawl(place.storage.raw(), WEST, [capture("new", lon=BORDER - ABOUT_10_M, lat=LAT)], crawled_at=DAY_2)
    merge(place)
    publish(place, EAST)
    assert set(told(place)) == {"panoramax:near", "panoramax:far"}
