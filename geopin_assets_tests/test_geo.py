"""Distances, bearings and the outline."""

import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from geopin_assets.geo import EARTH_RADIUS_M, bearing_deg, destination, distance_m, dutch_outline, normalize_heading

lons = st.floats(-179.9, 179.9)
lats = st.floats(-85, 85)


def test_distances_match_published_ones() -> None:
    assert distance_m(0, 0, 0, 90) == pytest.approx(10_007_557, abs=1)  # a quarter of a meridian of the mean sphere
    assert distance_m(-86.67, 36.12, -118.40, 33.94) == pytest.approx(2_886_448, abs=10)  # BNA-LAX, 0.4530 rad
    assert distance_m(4.8936, 52.3731, 4.9009, 52.3791) == pytest.approx(831, abs=5)  # Dam to Amsterdam Centraal


def test_antipodes_are_half_the_circumference_apart() -> None:
    assert distance_m(0, 0, 180, 0) == pytest.approx(EARTH_RADIUS_M * 3.141592653589793)


@given(lons, lats, lons, lats)
def test_distance_is_symmetric_and_zero_only_at_the_same_position(a: float, b: float, c: float, d: float) -> None:
    assert distance_m(a, b, c, d) == pytest.approx(distance_m(c, d, a, b))
    assert distance_m(a, b, a, b) == 0


@pytest.mark.parametrize(("lon", "lat", "deg"), [(5, 53, 0), (5.001, 52, 90), (5, 51, 180), (4.999, 52, 270)])
def test_bearings_are_clockwise_from_north(lon: float, lat: float, deg: float) -> None:
    assert bearing_deg(5, 52, lon, lat) == pytest.approx(deg, abs=0.001)


@given(lon=lons, lat=lats, heading=st.floats(0, 360, exclude_max=True), meters=st.floats(1, 500_000))
def test_a_destination_lies_at_the_distance_and_bearing_asked_for(
    lon: float, lat: float, heading: float, meters: float
) -> None:
    there = destination(lon, lat, heading, meters)
    assert -180 <= there[0] < 180
    assert distance_m(lon, lat, *there) == pytest.approx(meters, rel=1e-6, abs=1e-3)
    assume(abs(there[1]) < 89)
    turn = normalize_heading(bearing_deg(lon, lat, *there) - heading)
    assert min(turn, 360 - turn) < 0.01


@given(st.floats(-1e6, 1e6))
def test_a_heading_is_normalized_into_one_turn(deg: float) -> None:
    heading = normalize_heading(deg)
    assert 0 <= heading < 360
    assert normalize_heading(heading) == heading
    assert abs((heading - deg + 180) % 360 - 180) < 1e-6


@pytest.mark.parametrize(("deg", "expected"), [(0, 0), (360, 0), (-1e-17, 0), (-90, 270), (725.5, 5.5)])
def test_headings_at_the_seam(deg: float, expected: float) -> None:
    assert normalize_heading(deg) == expected


@pytest.mark.parametrize(
    ("lon", "lat", "inside"),
    [
        (4.8936, 52.3731, True),  # Amsterdam
        (5.3, 52.75, True),  # IJsselmeer: territory, though no land
        (4.8, 53.08, True),  # Texel
        (4.0, 52.5, False),  # North Sea
        (5.3, 53.28, False),  # Waddenzee
        (4.4025, 51.2194, False),  # Antwerp
    ],
)
def test_the_outline_is_the_territory_with_inland_water(lon: float, lat: float, inside: bool) -> None:
    assert dutch_outline().contains(shapely.Point(lon, lat)) is inside
