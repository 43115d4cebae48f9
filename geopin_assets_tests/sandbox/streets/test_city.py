from collections import Counter, defaultdict
from datetime import UTC, datetime

import polars as pl
import pytest

from geopin_assets.grid import row_column
from geopin_assets.quality.coverage import Expectations, find_gaps
from geopin_assets.regions import region
from geopin_assets.sandbox.streets import city
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk
from geopin_assets.settings import Settings
from geopin_assets_tests.quality.factories import coverage_by_cell

AMSTERDAM = region("nh-amsterdam")
BY_ROW_COLUMN = {(int(cell_id[-7:-4]), int(cell_id[-3:])): cell_id for cell_id in AMSTERDAM}
SHOTS = [
    (BY_ROW_COLUMN.get(row_column(shot.lon, shot.lat), ""), shot)
    for shot in city.whole_world().shots
    if shot.drive.source not in ("query", "mapilio") and shot.quirk is not Quirk.HIDDEN
]
SOURCES = sorted({shot.drive.source for _, shot in SHOTS})


@pytest.fixture(scope="module")
def gaps() -> dict[str, set[tuple[int, int]]]:
    """reason -> (row, column) where a report in 2026 finds that gap."""
    captures = pl.DataFrame(
        [
            {"cell_id": id_, "source": s.drive.source, "captured_at": s.captured_at, "heading_deg": s.heading_deg,
             "is_pano": s.drive.is_pano}
            for id_, s in SHOTS if id_
        ],
        schema_overrides={"captured_at": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    crawled = pl.DataFrame(
        [{"cell_id": id_, "source": source, "is_complete": True} for id_ in AMSTERDAM for source in SOURCES]
    )
    expectations = Expectations(
        now=datetime(2026, 12, 1, tzinfo=UTC), captures_per_1000_inhabitants=Settings().coverage_captures_per_1000
    )
    found = defaultdict(set)
    for row in find_gaps(coverage_by_cell(captures), crawled, expectations).iter_rows(named=True):
        found[row["reason"]].add((int(row["cell_id"][-7:-4]), int(row["cell_id"][-3:])))
    return found


def test_at_least_sixty_cells_of_the_demo_have_streets() -> None:
    assert len({id_ for id_, _ in SHOTS if id_}) >= 60


def test_the_city_stays_small_enough_for_a_first_look() -> None:
    assert 600 < len(SHOTS) < 800
    assert sum(shot.drive.is_pano for _, shot in SHOTS) < 140


def test_every_shot_has_a_name_of_its_own() -> None:
    assert max(Counter(shot.name for _, shot in SHOTS).values()) == 1


def test_what_tests_know_of_the_sandbox_s_own_streets_stays() -> None:
    world, own = city.whole_world(), build_world()
    assert world.shots[: len(own.shots)] == own.shots
    cells = {row_column(shot.lon, shot.lat) for shot in world.shots[len(own.shots) :]}
    assert not cells & {row_column(shot.lon, shot.lat) for shot in own.shots if shot.quirk is not Quirk.NULL_ISLAND}


def test_each_cell_with_a_gap_has_that_gap_and_no_other(gaps: dict[str, set[tuple[int, int]]]) -> None:
    own = {(89, 51)}  # a square of old pictures, without the municipality: `drives.py`
    assert gaps["no_capture"] - {(90, 57)} == city.NO_CAPTURE
    assert gaps["single_source"] == city.SINGLE_SOURCE
    assert gaps["nothing_recent"] == city.NOTHING_RECENT | own
    assert gaps["too_few_for_population"] == city.TOO_FEW
    assert gaps["no_municipal_panorama"] == city.NO_MUNICIPAL_PANORAMA | own
