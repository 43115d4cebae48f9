"""Street kilometers by municipality, of a small extract: what has an image near, and how old the newest is."""

import gzip
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import mapbox_vector_tile
import polars as pl
import pytest
from pmtiles.reader import MmapSource, Reader, all_tiles

from geopin_assets.errors import ConfigurationError
from geopin_assets.geo import destination
from geopin_assets.quality.streets import Measured, measure, read_extract
from geopin_assets_tests.quality.drives import drives
from geopin_assets_tests.quality.test_layers import written

NOW = datetime(2026, 11, 29, tzinfo=UTC)
OLD, NEW = datetime(2019, 5, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
START = (4.8900, 52.3750)
"""Where the street begins; it goes 400 m to the east, and the border is at its middle."""


def east(meters: float, north: float = 0.0) -> tuple[float, float]:
    lon, lat = destination(*START, 90, meters)
    return destination(lon, lat, 0 if north >= 0 else 180, abs(north))


def extract(folder: Path) -> Path:
    """Two municipalities with a street across their border, a motorway, a path, and a street that is in neither."""
    west, middle, far = east(-500), east(200), east(900)
    corners = {
        1: (west[0], 52.37), 2: (middle[0], 52.37), 3: (middle[0], 52.38), 4: (west[0], 52.38),
        5: (far[0], 52.37), 6: (far[0], 52.38), 7: START, 8: east(400), 9: east(0, 9000), 10: east(100, 9000),
    }  # fmt: skip
    ways = {
        100: ([1, 2, 3, 4, 1], {}),
        101: ([2, 5, 6, 3, 2], {}),
        110: ([7, 8], {"highway": "residential", "name": "Teststraat"}),
        111: ([7, 8], {"highway": "motorway"}),
        112: ([7, 8], {"highway": "path"}),
        113: ([9, 10], {"highway": "tertiary_link"}),
    }
    lines = ["<osm version='0.6'>"]
    lines += [f"<node id='{n}' version='1' lon='{lon:.9f}' lat='{lat:.9f}'/>" for n, (lon, lat) in corners.items()]
    for number, (nodes, tags) in ways.items():
        inside = "".join([f"<nd ref='{n}'/>" for n in nodes] + [f"<tag k='{k}' v='{v}'/>" for k, v in tags.items()])
        lines.append(f"<way id='{number}' version='1'>{inside}</way>")
    for number, (way, name) in enumerate(((100, "Westdam"), (101, "Oostdam")), 200):
        tags = {"type": "boundary", "boundary": "administrative", "admin_level": "8", "name": name}
        inside = "".join(f"<tag k='{k}' v='{v}'/>" for k, v in tags.items())
        member = f"<member type='way' ref='{way}' role='outer'/>"
        lines.append(f"<relation id='{number}' version='1'>{member}{inside}</relation>")
    file = folder / "small.osm"
    file.write_text("\n".join([*lines, "</osm>"]))
    return file


def measured(folder: Path, *captures: tuple[tuple[float, float], datetime | None]) -> Measured:
    pytest.importorskip("osmium")
    rows = [(lon, lat, taken_at) for (lon, lat), taken_at in captures]
    types = {"lon": pl.Float64, "lat": pl.Float64, "captured_at": pl.Datetime("us", "UTC")}
    frame = pl.DataFrame(rows, schema=types, orient="row")
    return measure(read_extract(extract(folder)), lambda cell_ids: frame, now=NOW, max_age_years=3)


def rows(found: Measured) -> dict[str, tuple[float, float, float]]:
    columns = found.by_municipality.select("municipality", "street_km", "shown_share", "recent_share")
    return {name: (round(km, 2), round(shown, 2), round(recent, 2)) for name, km, shown, recent in columns.iter_rows()}


def test_without_images_there_are_only_kilometers(tmp_path: Path) -> None:
    found = rows(measured(tmp_path))
    assert found == {"Westdam": (0.2, 0, 0), "Oostdam": (0.2, 0, 0), "": (0.1, 0, 0), "all": (0.5, 0, 0)}


def test_a_piece_is_shown_by_what_is_within_25_m_and_recent_by_the_newest_of_it(tmp_path: Path) -> None:
    found = rows(measured(tmp_path, (east(50, 20), OLD), (east(90, 5), NEW), (east(92), OLD), (east(300, 30), NEW)))
    assert found["Westdam"] == (0.2, 0.4, 0.3)  # of ten pieces of 20 m: one at 50 m, three around 90 m
    assert found["Oostdam"] == (0.2, 0.0, 0.0)  # 30 m beside the street


def test_an_image_without_a_date_shows_a_street_and_is_not_recent(tmp_path: Path) -> None:
    found = measured(tmp_path, (east(310), None))
    assert rows(found)["Oostdam"][1:] == (0.3, 0.0)
    assert found.by_municipality["newest"].to_list() == [None] * 4


def test_a_street_is_drawn_in_runs_of_one_day_that_leave_nothing_out(tmp_path: Path) -> None:
    found = measured(tmp_path, (east(90), NEW), (east(310), None))
    of_street = [(said["is_shown"], said["date"]) for shape, said in found.lines if said["name"] == "Teststraat"]
    assert of_street == [(False, None), (True, "2025-05-01"), (False, None), (True, None), (False, None)]
    shapes = [shape for shape, said in found.lines if said["name"] == "Teststraat"]
    assert all(a.coords[-1] == b.coords[0] for a, b in pairwise(shapes))
    written(drives(100), tmp_path / "layers", found.lines)
    with (tmp_path / "layers" / "streets.pmtiles").open("rb") as file:
        tiles = {tile: mapbox_vector_tile.decode(gzip.decompress(data)) for tile, data in all_tiles(MmapSource(file))}
    assert {zoom for zoom, _, _ in tiles} == set(range(10, 15))
    said = [f["properties"] for tile in tiles.values() for f in tile["streets"]["features"]]
    assert {one.get("date") for one in said} == {None, "2025-05-01"}
    with (tmp_path / "layers" / "captures.pmtiles").open("rb") as file:  # tells the maps what lies beside it
        assert "streets" in Reader(MmapSource(file)).metadata()["archives"]


def test_an_extract_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("osmium")
    with pytest.raises(ConfigurationError, match="no file"):
        read_extract(tmp_path / "none.osm.pbf")
