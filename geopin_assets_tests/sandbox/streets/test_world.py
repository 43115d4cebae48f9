from collections import Counter, defaultdict

from geopin_assets.grid import bounds, row_column
from geopin_assets.sandbox.streets.drives import CORNER, GRACHT, MIDDLE, STRAAT, build_world
from geopin_assets.sandbox.streets.world import Quirk

WORLD = build_world()


def in_cell(row: int, column: int) -> list[str]:
    return [s.drive.source for s in WORLD.shots if row_column(s.lon, s.lat) == (row, column)]


def test_the_world_is_the_same_in_every_process():
    build_world.cache_clear()
    again = build_world()
    assert again == WORLD
    assert again.version == WORLD.version


def test_every_shot_has_a_name_of_its_own():
    assert max(Counter(shot.name for shot in WORLD.shots).values()) == 1


def test_the_demo_stays_small():
    sizes = Counter((shot.drive.source, shot.drive.is_pano) for shot in WORLD.shots)
    assert sizes == {
        ("panoramax", False): 71,
        ("panoramax", True): 10,
        ("amsterdam", True): 40,
        ("own_photos", False): 25,
        ("own_photos", True): 2,
        ("mapillary", False): 10,
        ("mapillary", True): 4,
        ("kartaview", False): 7,
        ("mapilio", False): 5,
        ("wikimedia_commons", False): 6,
        ("flickr", False): 6,
        ("europeana", False): 3,
        ("stac", False): 5,
        ("query", False): 3,
    }


def test_some_cells_are_seen_by_several_sources_one_by_a_single_one_and_one_by_none():
    assert set(in_cell(90, 51)) >= {"panoramax", "amsterdam", "own_photos"}
    assert set(in_cell(74, 59)) == {"panoramax", "own_photos"}
    assert "amsterdam" not in in_cell(89, 51)
    assert in_cell(91, 51) == []


def test_the_same_street_is_seen_at_several_dates_offsets_and_headings():
    drives = [d for d in {s.drive.name: s.drive for s in WORLD.shots}.values() if d.street == STRAAT]
    assert len({d.started_at.year for d in drives}) >= 3
    assert len({d.right_m for d in drives}) >= 3
    assert len({d.turn_deg for d in drives}) >= 2


def test_a_drive_runs_exactly_along_the_edge_of_two_columns_and_over_a_cell_corner():
    corner = bounds(90, 52)
    shots = [s for s in WORLD.of("panoramax") if s.drive.street == CORNER]
    assert {s.lon for s in shots} == {corner.west}
    assert corner.south in {s.lat for s in shots}


def test_a_drive_runs_exactly_along_the_line_between_quarters_of_a_cell():
    lon, lat = bounds(90, 51).center
    shots = [s for s in WORLD.of("panoramax") if s.drive.street == MIDDLE]
    assert {s.lat for s in shots} == {lat}
    assert lon in {s.lon for s in shots}


def test_one_street_is_dense_enough_that_a_lowered_limit_splits_it():
    assert sum(s.drive.street == GRACHT for s in WORLD.of("panoramax")) > 25


def test_panoramax_has_its_oddities():
    quirks = Counter(s.quirk for s in WORLD.of("panoramax") if s.quirk)
    assert quirks[Quirk.NON_OPEN] == 2
    assert quirks[Quirk.NO_LICENSE] == 1
    assert quirks[Quirk.JUNK_DATE] == 2
    assert quirks[Quirk.NO_HEADING] == quirks[Quirk.NO_FIELD_OF_VIEW] == quirks[Quirk.HIDDEN] == 1
    assert {s.drive.license for s in WORLD.of("panoramax")} == {"CC-BY-SA-4.0", "etalab-2.0"}


def test_no_source_published_a_picture_where_a_query_was_taken():
    places = defaultdict(set)
    for shot in WORLD.shots:
        places[shot.drive.source].add((shot.lon, shot.lat))
    assert not places["query"] & (places["panoramax"] | places["amsterdam"] | places["own_photos"])
