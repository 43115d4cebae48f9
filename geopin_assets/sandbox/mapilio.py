"""Stand-in of Mapilio's tile server, sequence details and image host, under /mapilio.

Here: routes, limits and error bodies. Not here: the wording of points and images (`mapilio_item.py`).

As documented and as read in the operator's code: tiles come from GeoWebCache, which refuses wrong parameters in XML;
an empty tile is 200 without a body; a tile is made together with the 4 x 4 around it, and one that is not cached fails
with 400 when those hold too much; an unknown sequence is `{"data": null}`, one above 25,000 images a 413.

`{"cap": {"mapilio": 3}}` at /faults lowers what 4 x 4 tiles may hold, `mapilio.sequence` how long a sequence is told.
"""

from collections.abc import Mapping
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox import images
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.mapilio_item import detail, file_name, image_id, sequence_uuid, tile_body, uploaded_hash
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sources.tiles import Tile

NAME = "mapilio"
MAX_ZOOM = 19
MOST_POINTS = 200_000  # in 4 x 4 tiles
MOST_IMAGES = 25_000
METATILE = 4
SIZES = (1080, 2080)
_GRID = "EPSG:900913"
_MVT = "application/vnd.mapbox-vector-tile"
_FIXED = {
    "SERVICE": "WMTS",
    "REQUEST": "GetTile",
    "VERSION": "1.0.0",
    "LAYER": "mapilio:map_points",
    "TILEMATRIXSET": _GRID,
    "FORMAT": _MVT,
}


class _BadRequest(Exception):
    """A parameter that is missing or wrong; its name."""


class MapilioStandIn:
    """Routes over the world's Mapilio shots."""

    name = NAME
    id_of = staticmethod(image_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._shelf = sandbox.shelf(NAME, image_id)
        self._sequences: dict[str, list[str]] = {}
        self._files: dict[tuple[str, str], str] = {}
        for id_, shot in self._shelf.all().items():
            self._sequences.setdefault(sequence_uuid(shot.drive), []).append(id_)
            self._files[uploaded_hash(shot.drive), file_name(shot)] = id_

    def routes(self) -> list[Route]:
        return [
            Route("/geoserver/gwc/service/wmts", self.tile),
            Route("/api/sequence-detail", self.sequence),
            Route("/im/{hash}/{file}/{size:int}", self.image),
        ]

    async def tile(self, request: Request) -> Response:
        try:
            tile = _tile({key.upper(): value for key, value in request.query_params.items()})
        except _BadRequest as error:
            return _ows_exception(str(error))
        if fault := self.sandbox.meet(NAME, "tile", box=_box(tile)):
            return fault
        if len(self._shelf.within(_metatile_box(tile))) > self.sandbox.cap(NAME, MOST_POINTS):
            return PlainTextResponse("Problem communicating with GeoServer", 400)
        found = self._shelf.within(_box(tile))
        return Response(tile_body(tile, found) if found else b"", media_type=_MVT)

    async def sequence(self, request: Request) -> Response:
        if fault := self.sandbox.meet(NAME, "sequence"):
            return fault
        uuid = request.query_params.get("sequence_uuid")
        if not uuid:
            return _error(400, "'sequence_uuid' is required!")
        shots = {id_: self._shelf.get(id_) for id_ in self._sequences.get(uuid, ())}
        if len(shots) > self.sandbox.cap(f"{NAME}.sequence", MOST_IMAGES):
            return _error(413, "Payload Too Large")
        rows = [detail(id_, shot) for id_, shot in shots.items() if shot is not None]
        return JSONResponse({"data": sorted(rows, key=lambda row: row["id"]) or None})

    async def image(self, request: Request) -> Response:
        path = request.path_params
        id_ = self._files.get((path["hash"], path["file"]), "")
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        shot = self._shelf.get(id_)
        if shot is None or path["size"] not in SIZES:
            return PlainTextResponse("Not Found", 404)
        return Response(await run_in_threadpool(images.shot_jpeg, shot, path["size"]), media_type="image/jpeg")


def _tile(query: Mapping[str, str]) -> Tile:
    """The tile that is asked for. Raises _BadRequest."""
    for name, value in _FIXED.items():
        if query.get(name) != value:
            raise _BadRequest(name)
    z = _whole(query.get("TILEMATRIX", "").removeprefix(f"{_GRID}:"), MAX_ZOOM + 1, "TILEMATRIX")
    x, y = (_whole(query.get(name, ""), 2**z, name) for name in ("TILECOL", "TILEROW"))
    return Tile(z, x, y)


def _whole(text: str, end: int, name: str) -> int:
    if not (text.isdecimal() and len(text) <= 9 and int(text) < end):
        raise _BadRequest(name)
    return int(text)


def _box(tile: Tile) -> Box:
    box = tile.bbox
    return box.west, box.south, box.east, box.north


def _metatile_box(tile: Tile) -> Box:
    west, north = tile.position(-(tile.x % METATILE), -(tile.y % METATILE))
    east, south = tile.position(METATILE - tile.x % METATILE, METATILE - tile.y % METATILE)
    return west, south, east, north


def _ows_exception(parameter: str) -> Response:
    """As GeoWebCache words it."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ExceptionReport version="1.1.0" '
        'xmlns="http://www.opengis.net/ows/1.1">\n'
        f'<Exception exceptionCode="InvalidParameterValue" locator="{escape(parameter)}">\n'
        f"<ExceptionText>{escape(parameter)} is missing or wrong</ExceptionText>\n</Exception>\n</ExceptionReport>"
    )
    return Response(body, 400, media_type="application/xml")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"success": False, "message": [message], "error_code": status}, status)
