"""Stand-in of Mapilio's tile server, sequence details and image host, under /mapilio.

Here: the wording of points and images (ids, names, a vector tile, a row of a sequence), routes, limits and error
bodies.

As documented and as read in the operator's code: tiles come from GeoWebCache, which refuses wrong parameters in XML;
an empty tile is 200 without a body; a tile is made together with the 4 x 4 around it, and one that is not cached fails
with 400 when those hold too much; an unknown sequence is `{"data": null}`, one above 25,000 images a 413.

`{"cap": {"mapilio": 3}}` at /faults lowers what 4 x 4 tiles may hold, `mapilio.sequence` how long a sequence is told.
"""

from collections.abc import Mapping
from hashlib import sha256
from html import escape
from math import asinh, pi, radians, tan
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zlib import crc32

import mapbox_vector_tile
from shapely import Point
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot
from geopin_assets.sources.tiles import Tile

EXTENT = 4096
_UNSET = "1970-01-01 00:00:00"
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


def image_id(shot: Shot) -> str:
    """A number of 48 bits of the name's hash, so that no two are alike."""
    return str(int.from_bytes(sha256(shot.name.encode()).digest()[:6]))


def sequence_uuid(drive: Drive) -> str:
    """One for each drive."""
    return str(uuid5(NAMESPACE_URL, f"mapilio/{drive.name}"))


def uploaded_hash(drive: Drive) -> str:
    """Opaque, one for each upload."""
    return sha256(f"upload/{drive.name}".encode()).hexdigest()[:40]


def file_name(shot: Shot) -> str:
    """As a camera names its files."""
    return f"GS{crc32(shot.drive.name.encode()) % 1_000_000:06d}_{shot.rank:06d}.jpg"


def detail(id_: str, shot: Shot) -> dict[str, Any]:
    """One image of a sequence."""
    return {
        "id": int(id_),
        "heading": _heading(shot),
        "filename": file_name(shot),
        "uploaded_hash": uploaded_hash(shot.drive),
        "fov": "360" if shot.drive.is_pano else "62",
        "vfov": "180" if shot.drive.is_pano else "48",
        "pitch": "0",
        "capture_time": _capture_time(shot),
        "created_by_id": _creator(shot),
        "resolution": _resolution(shot.drive),
    }


def tile_body(tile: Tile, found: Mapping[str, Shot]) -> bytes:
    """The tile of some shots that lie in it."""
    points = [_point(tile, id_, shot) for id_, shot in found.items()]
    layer = {"name": "map_points", "features": points}
    return mapbox_vector_tile.encode(layer, default_options={"extents": EXTENT, "y_coord_down": True})


def _point(tile: Tile, id_: str, shot: Shot) -> dict[str, Any]:
    captured_at = _capture_time(shot)
    properties = {
        "id": int(id_),
        "sequence_uuid": sequence_uuid(shot.drive),
        "capture_time": captured_at and f"{captured_at.replace(' ', 'T')}Z",
        "created_by_id": _creator(shot),
        "heading": _heading(shot),
        "resolution": _resolution(shot.drive),
    }
    side = 2**tile.z
    x, y = (shot.lon + 180) / 360 * side, (1 - asinh(tan(radians(shot.lat))) / pi) / 2 * side
    place = Point(round((x - tile.x) * EXTENT), round((y - tile.y) * EXTENT))
    return {"geometry": place, "properties": {k: v for k, v in properties.items() if v is not None}}


def _capture_time(shot: Shot) -> str | None:
    """UTC, without saying so."""
    if shot.quirk is Quirk.NO_DATE:
        return None
    return _UNSET if shot.quirk is Quirk.JUNK_DATE else f"{shot.captured_at:%Y-%m-%d %H:%M:%S}"


def _heading(shot: Shot) -> int | None:
    return None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg) % 360


def _creator(shot: Shot) -> int | None:
    return None if shot.quirk is Quirk.NO_CREATOR else int(shot.drive.creator or "0")


def _resolution(drive: Drive) -> str:
    return "5760x2880" if drive.is_pano else "4000x3000"


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
