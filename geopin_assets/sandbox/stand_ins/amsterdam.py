"""Stand-in of the City of Amsterdam's panorama API (Amsterdam/panorama-api): list, detail, images; under /amsterdam.

Here: the wording of one panorama and of a page (HAL), routes, what a query selects, error answers. Ids and paths of
2025 follow the new `recording_…` form; the folders of its images are a guess.

As measured on the real code: `Accept: application/json` alone is a 406, a page beyond the end a 404, a missing last
slash a 301. Thumbnails, cubes and adjacencies are linked to but not served. A malformed bbox is a 500 (it forgets to
raise its error) and an empty one no filter at all; unknown parameters are ignored; the box is turned into the Dutch
grid and compared by its bounds there, so it selects up to 0.7 % of its width too much. Of the real filters this has
bbox, near with radius, timestamp_after and timestamp_before; of the real srids only 4326.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil, cos, radians, sin
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zlib import crc32

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from geopin_assets.geo import distance_m
from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Shot

_FIRST_NEW_YEAR = 2025
_SIZES = {"full": 8000, "medium": 4000, "small": 2000}


def pano_id(shot: Shot) -> str:
    """`TMX…_pano_0000_000301` up to 2024, `recording_2025-09-04_06-44-53_01488` since."""
    return "_".join(_recording(shot))


def image_folder(shot: Shot) -> str:
    """Path of a panorama's images, without slashes at its ends."""
    return f"panorama/{shot.captured_at:%Y/%m/%d}/{'/'.join(_recording(shot))}"


def panorama(shot: Shot, base_url: str) -> dict[str, Any]:
    """The item of a shot. Its `heading` is the vehicle's; the images themselves have north in the middle."""
    id_, images, year = pano_id(shot), f"{base_url}/{image_folder(shot)}", str(shot.captured_at.year)
    here = f"{base_url}/panorama/panoramas/{id_}/"
    links = {"self": here}
    links |= {
        f"equirectangular_{size}": f"{images}/equirectangular/panorama_{width}.jpg" for size, width in _SIZES.items()
    }
    links["cubic_img_preview"] = f"{images}/cubic/preview.jpg"
    links["thumbnail"] = f"{base_url}/panorama/thumbnail/{id_}/"
    links["adjacencies"] = f"{here}adjacencies/"
    return {
        "_links": {name: {"href": href} for name, href in links.items()},
        "cubic_img_baseurl": f"{images}/cubic/",
        "cubic_img_pattern": f"{images}/cubic/{{z}}/{{f}}/{{y}}/{{x}}.jpg",
        "geometry": {"type": "Point", "coordinates": [shot.lon, shot.lat, 43 + _tilt(shot, "z")]},
        "pano_id": id_,
        "timestamp": f"{shot.captured_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "filename": f"{_recording(shot)[1]}.jpg",
        "surface_type": "L",
        "mission_distance": 5,
        "mission_type": "bi",
        "mission_year": year,
        "tags": ["mission-bi", f"mission-{year}", "surface-land"],
        "roll": _tilt(shot, "roll"),
        "pitch": _tilt(shot, "pitch"),
        "heading": shot.heading_deg,
    }


def page_of(
    panoramas: Sequence[dict[str, Any]], count: int, page: int, page_size: int, url: str, query: str
) -> dict[str, Any]:
    """One page of `count` panoramas. `url`, `query`: of the request, without and with what follows `?`."""
    following = page + 1 if page * page_size < count else None
    preceding = page - 1 if page > 1 else None
    links = {
        "self": f"{url}?{query}" if query else url,
        "next": _page_url(url, query, following),
        "previous": _page_url(url, query, preceding),
    }
    return {
        "_links": {name: {"href": href} for name, href in links.items()},
        "count": count,
        "_embedded": {"panoramas": list(panoramas)},
    }


def _page_url(url: str, query: str, page: int | None) -> str | None:
    if page is None:
        return None
    parameters = dict(parse_qsl(query, keep_blank_values=True)) | {"page": str(page)}
    return f"{url}?{urlencode(sorted(parameters.items()))}"


def _recording(shot: Shot) -> tuple[str, str]:
    """(recording, image): the two halves of the id."""
    number = 1000 * (crc32(shot.drive.name.encode()) % 100) + shot.rank
    if shot.captured_at.year >= _FIRST_NEW_YEAR:
        return f"recording_{shot.drive.started_at:%Y-%m-%d_%H-%M-%S}", f"{number:05d}"
    return f"TMX7316010203-{crc32(shot.drive.name.encode()) % 1000:06d}", f"pano_0000_{number:06d}"


def _tilt(shot: Shot, axis: str) -> float:
    """A steady angle of at most 2 degrees."""
    return crc32(f"{shot.name}/{axis}".encode()) / 2**32 * 4 - 2


DEFAULT_PAGE_SIZE = 25
_GRID_ORIGIN_LON, _LAT = 5.387639, 52.3  # the Dutch grid (EPSG:28992) is turned by its meridian convergence

Keep = Callable[[Shot], bool]
NAME = "amsterdam"
_ACCEPTED = ("*/*", "application/*", "application/hal+json", "application/geo+json")
_SERVER_ERROR = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n'
    "<body>\n  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)


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


class AmsterdamStandIn:
    """Routes over the world's Amsterdam shots."""

    name = NAME
    id_of = staticmethod(pano_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, pano_id)
        self._folders = {image_folder(shot): shot for shot in self._shelf.all().values()}

    def routes(self) -> list[Route]:
        return [
            Route("/panorama/panoramas/", self.listing),
            Route("/panorama/panoramas/{pano_id}/", self.detail),
            Route("/panorama/panoramas", _add_slash),
            Route("/panorama/panoramas/{pano_id}", _add_slash),
            Route("/{folder:path}/equirectangular/panorama_{width:int}.jpg", self.image),
        ]

    async def listing(self, request: Request) -> Response:
        if refusal := _refusal(request):
            return refusal
        query = request.query_params
        try:
            box = bbox_of(query)
            if fault := self.sandbox.meet(NAME, "list", box=box):
                return fault
            keeps = filters_of(query)
        except Unparsable:
            return HTMLResponse(_SERVER_ERROR, 500)
        except BadRequest as error:
            return _hal(error.body, 400)
        near = self._shelf.within(_widened(box)) if box else self._shelf.all()
        found = [shot for shot in near.values() if all(keep(shot) for keep in keeps)]
        page, page_size = page_number(query, len(found), self.sandbox.cap(NAME, len(found) or 1))
        if page is None:
            return _hal({"detail": "Invalid page."}, 404)
        panoramas = [panorama(shot, self.base_url) for shot in found[(page - 1) * page_size : page * page_size]]
        here = f"{self.base_url}/panorama/panoramas/"
        return _hal(page_of(panoramas, len(found), page, page_size, here, request.url.query))

    async def detail(self, request: Request) -> Response:
        if refusal := _refusal(request):
            return refusal
        if fault := self.sandbox.meet(NAME, "detail"):
            return fault
        shot = self._shelf.get(request.path_params["pano_id"])
        if shot is None:
            return _hal({"detail": "No Panorama matches the given query."}, 404)
        return _hal(panorama(shot, self.base_url))

    async def image(self, request: Request) -> Response:
        shot, width = self._folders.get(request.path_params["folder"]), request.path_params["width"]
        id_ = pano_id(shot) if shot else ""
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        if shot is None or width not in images.AMSTERDAM_WIDTHS or id_ in self.sandbox.vanished:
            return Response(status_code=404)
        body = await run_in_threadpool(images.amsterdam_jpeg, shot, width)
        return Response(body, media_type="image/jpeg")


def _widened(box: Box) -> Box:
    """A box that surely holds what the turned box of the Dutch grid takes in."""
    margin = 0.1 * max(box[2] - box[0], box[3] - box[1])
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _refusal(request: Request) -> Response | None:
    """406 when neither `format` nor the Accept header asks for something the server speaks."""
    asked = request.query_params.get("format")
    if asked is not None:
        return None if asked == "json" else _hal({"detail": "Not found."}, 404)
    accept = request.headers.get("accept") or "*/*"
    types = {part.split(";")[0].strip() for part in accept.split(",")}
    if types.intersection(_ACCEPTED):
        return None
    return _hal({"detail": "Could not satisfy the request Accept header."}, 406)


def _hal(body: object, status: int = 200) -> Response:
    return JSONResponse(body, status, media_type="application/hal+json")


def _add_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}", 301)
