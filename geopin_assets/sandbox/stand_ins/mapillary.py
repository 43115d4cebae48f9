"""Stand-in of Mapillary: Graph API, coverage tiles (below /tiles) and signed picture links, under /mapillary.

Here: routes, limits and error bodies. Not here: the wording of an image (`mapillary_item.py`) or a tile
(`mapillary_tile.py`).

As reported of the real one: a search has no pages, its order is undefined, a box that holds too much is an error 500
whatever the limit; a missing header and an unknown token are different errors; the tile host takes the token from
the query only, answers 404 for an empty tile, and after too many requests sends an address to the login page. How
the server words a box that is too large, a wrong field or parameter is not known: Facebook's usual words stand in.

`{"cap": {"mapillary": 20}}` at /faults lowers the limit of a search, `mapillary.density` how many images a box may
hold, `mapillary.tiles` after how many tiles the tile host locks out.
"""

import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.stand_ins.mapillary_item import (
    FIELDS,
    WIDTHS,
    ZOOM,
    box_of,
    image,
    image_id,
    signature,
    tile_of,
)
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Shot
from geopin_assets.sources.tiles import Tile

NAME = "mapillary"
TOKEN = "sandbox"  # noqa: S105 everybody may know it
MAX_AREA_DEG2, MAX_RESULTS, MAX_IDS = 0.01, 2000, 50
DENSITY = 5000
TILES_A_DAY = 50_000
_PLATFORM, _OAUTH = "MLYApiException", "OAuthException"


class _Refused(Exception):
    """A request the server answers with an error body."""

    def __init__(self, status: int, code: int, message: str, type_: str = _PLATFORM, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "type": type_, "code": code, **more, "fbtrace_id": "Asandbox0000000000000"}


class MapillaryStandIn:
    """Routes over the world's Mapillary shots. `clock`: seconds since the epoch, for links that end."""

    name = NAME
    id_of = staticmethod(image_id)

    def __init__(self, sandbox: Sandbox, clock: Callable[[], float] = time.time) -> None:
        self.sandbox, self._clock = sandbox, clock
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, image_id)

    def routes(self) -> list[Route]:
        return [
            Route("/images", self.images),
            Route("/m1/v/t6/{id}", self.picture),
            Route("/tiles/maps/vtp/mly1_public/2/{z:int}/{x:int}/{y:int}", self.tile),
            Route("/{id}", self.entity),
        ]

    async def images(self, request: Request) -> Response:
        """A search of a box, or images by id."""
        try:
            _check_token(request)
            wanted = _fields(request)
            if "image_ids" in request.query_params:
                return self._by_id(request.query_params["image_ids"].split(","), wanted)
            return self._search(_bbox(request), _limit(request), wanted)
        except _Refused as refused:
            return _error(refused)

    def _by_id(self, ids: list[str], wanted: set[str]) -> Response:
        if len(ids) > MAX_IDS or not all(map(str.isdecimal, ids)):
            raise _Refused(400, 100, f"Invalid parameter: image_ids, at most {MAX_IDS} ids")
        if fault := self.sandbox.meet(NAME, "entity"):
            return fault
        return self._listing([shot for id_ in ids if (shot := self._shelf.get(id_)) is not None], wanted)

    def _search(self, box: Box, limit: int, wanted: set[str]) -> Response:
        if fault := self.sandbox.meet(NAME, "search", box=box):
            return fault
        found = self._shelf.within(box)
        if len(found) > self.sandbox.cap(f"{NAME}.density", DENSITY):
            said = "Please reduce the amount of data you're asking for, then retry your request"
            raise _Refused(500, 1, said)
        shuffled = [found[id_] for id_ in sorted(found)]  # ids follow no order in space or time
        return self._listing(shuffled[: self.sandbox.cap(NAME, limit)], wanted)

    def _listing(self, shots: list[Shot], wanted: set[str]) -> Response:
        return JSONResponse({"data": [image(shot, wanted, self.base_url, self._clock()) for shot in shots]})

    async def entity(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        try:
            _check_token(request)
            wanted = _fields(request)
            if fault := self.sandbox.meet(NAME, "entity"):
                return fault
            shot = self._shelf.get(id_)
            if shot is None:
                why = "does not exist, cannot be loaded due to missing permissions, or does not support this operation"
                raise _Refused(400, 100, f"Unsupported get request. Object with ID '{id_}' {why}", error_subcode=33)
            return JSONResponse(image(shot, wanted, self.base_url, self._clock()))
        except _Refused as refused:
            return _error(refused)

    async def tile(self, request: Request) -> Response:
        if request.query_params.get("access_token") != TOKEN:
            return PlainTextResponse("Forbidden", 403)  # a header does not help
        tile = Tile(*(request.path_params[part] for part in "zxy"))
        if tile.z != ZOOM or not (tile.x < 2**ZOOM and tile.y < 2**ZOOM):
            return Response(status_code=404)  # the real one has sequences at z6 to 13, nobody here asks for them
        box = box_of(tile)
        if fault := self.sandbox.meet(NAME, "tile", box=box):
            return fault
        if self.sandbox.requests[f"{NAME}.tile"] > self.sandbox.cap(f"{NAME}.tiles", TILES_A_DAY):
            return RedirectResponse(f"https://www.facebook.com/login/?next={quote(str(request.url), safe='')}", 302)
        body = await run_in_threadpool(tile_of, tile, self._shelf.within(box).values())
        return Response(body, media_type="application/x-protobuf") if body else Response(status_code=404)

    async def picture(self, request: Request) -> Response:
        id_, query = request.path_params["id"], request.query_params
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        ends_at, size = query.get("oe", ""), query.get("stp", "")
        width = next((width for width in WIDTHS.values() if size == f"s{width}x{width}"), None)
        shot = self._shelf.get(id_)
        if shot is None:
            return PlainTextResponse("Content not found", 404)
        if width is None or query.get("oh") != signature(id_, width, ends_at):
            return PlainTextResponse("Bad URL hash", 403)
        if int(ends_at, 16) < self._clock():
            return PlainTextResponse("URL signature expired", 403)
        return Response(await run_in_threadpool(images.shot_jpeg, shot, width), media_type="image/jpeg")


def _check_token(request: Request) -> None:
    """Raises _Refused, in one of three ways."""
    header, query = request.headers.get("authorization"), request.query_params.get("access_token")
    if header is None and query is None:
        raise _Refused(500, 190, "Invalid OAuth 2.0 Access Token", error_data={})
    if query != TOKEN and header != f"OAuth {TOKEN}":
        said = "Error validating application. Cannot get application info due to a system error."
        raise _Refused(401 if query is None else 400, 190, said, _OAUTH)


def _fields(request: Request) -> set[str]:
    wanted = set(filter(None, request.query_params.get("fields", "").split(",")))
    if unknown := wanted - FIELDS:
        raise _Refused(400, 100, f"Tried accessing nonexisting field ({min(unknown)})")
    return wanted


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(MAX_RESULTS))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_RESULTS:
        raise _Refused(400, 100, f"Invalid parameter: limit must be from 1 to {MAX_RESULTS}")
    return int(text)


def _bbox(request: Request) -> Box:
    try:
        west, south, east, north = (float(text) for text in request.query_params.get("bbox", "").split(","))
    except ValueError as error:
        raise _Refused(400, 100, "Invalid parameter: bbox must be minLon,minLat,maxLon,maxLat") from error
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise _Refused(400, 100, "Invalid parameter: bbox must be minLon,minLat,maxLon,maxLat")
    if (east - west) * (north - south) >= MAX_AREA_DEG2:
        raise _Refused(400, 100, f"Invalid parameter: the area of bbox must be smaller than {MAX_AREA_DEG2} degrees")
    return west, south, east, north


def _error(refused: _Refused) -> Response:
    return JSONResponse({"error": refused.body}, refused.status)
