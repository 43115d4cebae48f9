"""Stand-in of the City of Amsterdam's panorama API (Amsterdam/panorama-api): list, detail, images; under /amsterdam.

Here: routes, filters and error bodies. Not here: the wording of one panorama and of a page
(`amsterdam_item.py`).

As measured on the real code: `Accept: application/json` alone is a 406; a malformed bbox is a 500 in
HTML and an empty one no filter at all; unknown parameters are ignored; the box is turned into the
Dutch grid and compared by its bounds there, so it returns up to 0.7 % of its width too much.
Of the real filters this one has bbox, near with radius, timestamp_after and timestamp_before.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil, cos, radians, sin

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from geopin_assets.geo import distance_m
from geopin_assets.sandbox import images
from geopin_assets.sandbox.amsterdam_item import image_folder, page_of, pano_id, panorama
from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.world import Shot

NAME = "amsterdam"
DEFAULT_PAGE_SIZE = 25
_ACCEPTED = ("*/*", "application/*", "application/hal+json", "application/geo+json")
_GRID_ORIGIN_LON, _LAT = 5.387639, 52.3  # the Dutch grid (EPSG:28992) is turned by its meridian convergence
_SERVER_ERROR = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n'
    "<body>\n  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)

Keep = Callable[[Shot], bool]


class _BadRequest(Exception):
    """A parameter the server refuses; its argument is the body of the 400."""


class AmsterdamStandIn:
    """Routes over the world's Amsterdam shots."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._ids = [(pano_id(shot), shot) for shot in sandbox.world.of(NAME)]
        self._folders = {image_folder(shot): shot for _, shot in self._ids}

    def routes(self) -> list[Route]:
        return [
            Route("/panorama/panoramas/", self.listing),
            Route("/panorama/panoramas/{pano_id}/", self.detail),
            Route("/panorama/panoramas", _add_slash),
            Route("/panorama/panoramas/{pano_id}", _add_slash),
            Route("/{folder:path}/equirectangular/panorama_{width:int}.jpg", self.image),
        ]

    async def listing(self, request: Request) -> Response:
        query = request.query_params
        if refusal := _refusal(request):
            return refusal
        try:
            box = _bbox(query)
        except ValueError:
            return HTMLResponse(_SERVER_ERROR, 500)
        if fault := self.sandbox.meet(NAME, "list", box=box):
            return fault
        try:
            keeps = [*_place_filters(query, box), *_time_filters(query)]
        except _BadRequest as error:
            return _hal(error.args[0], 400)
        found = [shot for _, shot in self._published() if all(keep(shot) for keep in keeps)]
        page, page_size = _page(query, len(found))
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
        shot = dict(self._published()).get(request.path_params["pano_id"])
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

    def _published(self) -> list[tuple[str, Shot]]:
        return self.sandbox.published(self._ids)


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


def _bbox(query: QueryParams) -> Box | None:
    """The box of any two opposite corners; None when absent or empty. Raises ValueError for anything else."""
    if not query.get("bbox"):
        return None
    x1, y1, x2, y2 = (float(text) for text in query["bbox"].split(","))
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _place_filters(query: QueryParams, box: Box | None) -> list[Keep]:
    near, radius = query.get("near"), query.get("radius")
    if query.get("srid", "4326") != "4326":
        raise _BadRequest({"srid": [f"Select a valid choice. {query['srid']} is not one of the available choices."]})
    if near and not radius:
        raise _BadRequest(["radius parameter must be set to use near filter"])
    if radius and not near:
        raise _BadRequest(["near parameter must be set to use radius filter"])
    if near and box:
        raise _BadRequest(["near/radius and bbox filters cannot be used at the same time"])
    if near and radius:
        lon, lat = (float(text) for text in near.split(","))
        return [lambda shot: distance_m(lon, lat, shot.lon, shot.lat) <= float(radius)]
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
        raise _BadRequest({"timestamp": ["Enter a valid date/time."]}) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _page(query: QueryParams, count: int) -> tuple[int | None, int]:
    """(page, page size); the page is None beyond the end, 0 or text."""
    text = query.get("page_size", "")
    page_size = int(text) if text.isdecimal() and int(text) else DEFAULT_PAGE_SIZE
    last = max(1, ceil(count / page_size))
    page = query.get("page", "1")
    if page == "last":
        return last, page_size
    return (int(page) if page.isdecimal() and 1 <= int(page) <= last else None), page_size


def _hal(body: object, status: int = 200) -> Response:
    return JSONResponse(body, status, media_type="application/hal+json")


def _add_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}", 301)
