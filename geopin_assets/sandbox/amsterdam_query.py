"""What a query to the Amsterdam stand-in selects: boxes, circles, times and pages.

Here: parameters and their refusals. Not here: routes (`amsterdam.py`).

As measured on the real code: a malformed bbox is a 500 (it forgets to raise its error) and an empty
one no filter at all; unknown parameters are ignored; the box is turned into the Dutch grid and
compared by its bounds there, so it selects up to 0.7 % of its width too much. Of the real filters
this has bbox, near with radius, timestamp_after and timestamp_before; of the real srids only 4326.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil, cos, radians, sin

from starlette.datastructures import QueryParams

from geopin_assets.geo import distance_m
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.world import Shot

DEFAULT_PAGE_SIZE = 25
_GRID_ORIGIN_LON, _LAT = 5.387639, 52.3  # the Dutch grid (EPSG:28992) is turned by its meridian convergence

Keep = Callable[[Shot], bool]


class BadRequest(Exception):
    """A parameter the server refuses; `body` is the JSON of the 400."""

    def __init__(self, body: object) -> None:
        super().__init__(str(body))
        self.body = body


class Unparsable(Exception):
    """A parameter that crashes the server: a 500."""


def bbox_of(query: QueryParams) -> Box | None:
    """The box of any two opposite corners; None when absent or empty. Raises Unparsable for anything else."""
    if not query.get("bbox"):
        return None
    x1, y1, x2, y2 = _floats(query["bbox"], 4)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def filters_of(query: QueryParams) -> list[Keep]:
    """What every returned shot must satisfy. Raises BadRequest or Unparsable."""
    return [*_place_filters(query, bbox_of(query)), *_time_filters(query)]


def _floats(text: str, count: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise Unparsable(text) from error
    if len(values) != count:
        raise Unparsable(text)
    return values


def _place_filters(query: QueryParams, box: Box | None) -> list[Keep]:
    near, radius = query.get("near"), query.get("radius")
    if query.get("srid", "4326") != "4326":
        raise BadRequest({"srid": [f"Select a valid choice. {query['srid']} is not one of the available choices."]})
    if near and not radius:
        raise BadRequest(["radius parameter must be set to use near filter"])
    if radius and not near:
        raise BadRequest(["near parameter must be set to use radius filter"])
    if near and box:
        raise BadRequest(["near/radius and bbox filters cannot be used at the same time"])
    if near and radius:
        (lon, lat), (radius_m,) = _floats(near, 2), _floats(radius, 1)
        return [lambda shot: distance_m(lon, lat, shot.lon, shot.lat) <= radius_m]
    return [_within(box)] if box else []


def _within(box: Box) -> Keep:
    """Inside the bounds that the box has in the Dutch grid, edges included."""
    west, south, east, north = box
    lon, lat, scale = (west + east) / 2, (south + north) / 2, cos(radians(_LAT))
    turn = radians((lon - _GRID_ORIGIN_LON) * sin(radians(_LAT)))
    half_width, half_height = (east - west) / 2 * scale, (north - south) / 2
    reach_x = half_width * cos(turn) + half_height * abs(sin(turn))
    reach_y = half_width * abs(sin(turn)) + half_height * cos(turn)

    def keep(shot: Shot) -> bool:
        x, y = (shot.lon - lon) * scale, shot.lat - lat
        grid_x, grid_y = x * cos(turn) - y * sin(turn), x * sin(turn) + y * cos(turn)
        return abs(grid_x) <= reach_x + 1e-12 and abs(grid_y) <= reach_y + 1e-12

    return keep


def _time_filters(query: QueryParams) -> list[Keep]:
    keeps: list[Keep] = []
    if after := query.get("timestamp_after"):
        earliest = _time(after)
        keeps.append(lambda shot: shot.captured_at >= earliest)
    if before := query.get("timestamp_before"):
        latest = _time(before)
        keeps.append(lambda shot: shot.captured_at <= latest)
    return keeps


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest({"timestamp": ["Enter a valid date/time."]}) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def page_number(query: QueryParams, count: int, largest: int) -> tuple[int | None, int]:
    """(page, page size); the page is None beyond the end, 0 or text. `largest`: the size a page cannot exceed."""
    text = query.get("page_size", "")
    page_size = int(text) if text.isdecimal() and int(text) else DEFAULT_PAGE_SIZE
    page_size = min(page_size, largest)
    last = max(1, ceil(count / page_size))
    page = query.get("page", "1")
    if page == "last":
        return last, page_size
    return (int(page) if page.isdecimal() and 1 <= int(page) <= last else None), page_size
