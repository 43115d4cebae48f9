"""Distances, bearings and the outline of the Netherlands.

Here: spherical geometry on positions (degrees WGS84) and the outline's polygon. Not here: the grid
and its cells (`grid.py`, `cells.py`).

Formulas: great circle (haversine) and its direct and inverse bearing, R. W. Sinnott, "Virtues of the
Haversine", Sky and Telescope 68 (1984), on a sphere of the mean Earth radius R1 = (2a + b) / 3 of
WGS84 (IUGG, Moritz 2000). Against the ellipsoid that is right within 0.6 %.
"""

import json
from functools import cache
from importlib.resources import files
from math import asin, atan2, cos, degrees, hypot, radians, sin
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

EARTH_RADIUS_M = 6_371_008.8

OUTLINE_ATTRIBUTION = "Outline © OpenStreetMap contributors (ODbL)"


def distance_m(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    """Great-circle distance in meters."""
    phi1, phi2 = radians(lat1), radians(lat2)
    a = hypot(sin((phi2 - phi1) / 2), sin(radians(lon2 - lon1) / 2) * (cos(phi1) * cos(phi2)) ** 0.5)
    return 2 * EARTH_RADIUS_M * asin(min(1.0, a))


def bearing_deg(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    """Direction at the first position toward the second, clockwise from true north, [0, 360)."""
    phi1, phi2, delta = radians(lat1), radians(lat2), radians(lon2 - lon1)
    east = sin(delta) * cos(phi2)
    north = cos(phi1) * sin(phi2) - sin(phi1) * cos(phi2) * cos(delta)
    return normalize_heading(degrees(atan2(east, north)))


def normalize_heading(deg: float) -> float:
    """The same direction in [0, 360)."""
    heading = deg % 360.0
    return 0.0 if heading == 360.0 else heading  # -1e-17 % 360 rounds to 360


def destination(lon: float, lat: float, bearing_deg: float, distance_m: float) -> tuple[float, float]:
    """(lon, lat) reached from a position along a great circle; longitude in [-180, 180)."""
    phi, theta, angle = radians(lat), radians(bearing_deg), distance_m / EARTH_RADIUS_M
    phi2 = asin(max(-1.0, min(1.0, sin(phi) * cos(angle) + cos(phi) * sin(angle) * cos(theta))))
    east = sin(theta) * sin(angle) * cos(phi)
    delta = atan2(east, cos(angle) - sin(phi) * sin(phi2))
    return (lon + degrees(delta) + 180) % 360 - 180, degrees(phi2)


@cache
def dutch_outline() -> "BaseGeometry":
    """Territory of the European Netherlands with inland water, a prepared shapely MultiPolygon (ODbL, see data/)."""
    import shapely

    text = files("geopin_assets.data").joinpath("nl_territory.geojson").read_text(encoding="utf-8")
    outline = shapely.geometry.shape(json.loads(text)["features"][0]["geometry"])
    shapely.prepare(outline)
    return outline
