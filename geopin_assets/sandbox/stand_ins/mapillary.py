"""Stand-in of Mapillary: Graph API, coverage tiles (below /tiles) and signed picture links, under /mapillary.

Here: the wording of an image in the Graph API and in a coverage tile (z14), routes, limits and error bodies.
`geometry` is where the device says it was; two of three images have been reconstructed and have `computed_…` fields
too, within a meter. Fields without a value are absent, as on the real platform.

As reported of the real one: a search has no pages, its order is undefined, a box that holds too much is an error 500
whatever the limit; a missing header and an unknown token are different errors; the tile host takes the token from the
query only, answers 404 for an empty tile, and after too many requests sends an address to the login page. How the
server words a box that is too large, a wrong field or parameter is not known: Facebook's usual words stand in.

`{"cap": {"mapillary": 20}}` at /faults lowers the limit of a search, `mapillary.density` how many images a box may
hold, `mapillary.tiles` after how many tiles the tile host locks out.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import asinh, floor, pi, radians, tan
from typing import Any
from urllib.parse import quote

import mapbox_vector_tile
from shapely.geometry import LineString, Point
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from geopin_assets.geo import destination
from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot
from geopin_assets.sources.tiles import Tile

ORIGINAL_WIDTH = 4096
WIDTHS = {"thumb_256_url": 256, "thumb_1024_url": 1024, "thumb_2048_url": 2048, "thumb_original_url": ORIGINAL_WIDTH}
FIELDS = {
    *("id", "captured_at", "compass_angle", "computed_compass_angle", "geometry", "computed_geometry"),
    *("altitude", "computed_altitude", "computed_rotation", "atomic_scale", "camera_parameters", "camera_type"),
    *("exif_orientation", "height", "width", "is_pano", "make", "model", "merge_cc", "mesh", "organization"),
    *("quality_score", "sequence", "sfm_cluster", "creator", *WIDTHS),
}
LINK_DAYS = 30
_DAY_S = 86_400
ZOOM, EXTENT = 14, 4096


def image_id(shot: Shot) -> str:
    """An id of 15 digits."""
    return str(10**14 + int.from_bytes(_digest(f"image {shot.name}", 6)))


def creator_id(shot: Shot) -> str | None:
    """The id of whoever took a shot, None where the platform does not say."""
    if not shot.drive.creator or shot.quirk is Quirk.NO_CREATOR:
        return None
    return str(10**14 + int.from_bytes(_digest(f"creator {shot.drive.creator}", 6)))


def sequence_id(drive: Drive) -> str:
    """An id of 22 characters."""
    return urlsafe_b64encode(_digest(f"sequence {drive.name}", 16)).decode().rstrip("=")


def captured_at_ms(shot: Shot) -> int | None:
    """Milliseconds since the epoch: 0 from a camera whose clock was never set."""
    if shot.quirk is Quirk.NO_DATE:
        return None
    return 0 if shot.quirk is Quirk.JUNK_DATE else round(shot.captured_at.timestamp() * 1000)


def device_position(shot: Shot) -> tuple[float, float]:
    """(lon, lat) that the device noted."""
    return (0.0, 0.0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lon, shot.lat)


def image(shot: Shot, wanted: set[str], base_url: str, now_s: float) -> dict[str, Any]:
    """The `wanted` fields of an image, and its id."""
    everything = {
        "id": image_id(shot),
        "captured_at": captured_at_ms(shot),
        "compass_angle": _compass_angle(shot),
        "geometry": _point(*device_position(shot)),
        "is_pano": shot.drive.is_pano,
        "camera_type": "spherical" if shot.drive.is_pano else "perspective",
        "sequence": sequence_id(shot.drive),
        "creator": _creator(shot),
        "width": ORIGINAL_WIDTH,
        "height": ORIGINAL_WIDTH // 2 if shot.drive.is_pano else ORIGINAL_WIDTH * 3 // 4,
        "exif_orientation": 1,
        **{name: link(shot, width, base_url, now_s) for name, width in WIDTHS.items()},
        **_computed(shot),
    }
    return {key: value for key, value in everything.items() if key in {"id", *wanted} and value is not None}


def link(shot: Shot, width: int, base_url: str, now_s: float) -> str:
    """A signed address: `oe` is when it ends, hexadecimal seconds, the same all day."""
    ends_at = f"{(int(now_s) // _DAY_S + LINK_DAYS) * _DAY_S:08X}"
    oh = signature(image_id(shot), width, ends_at)
    return f"{base_url}/m1/v/t6/{image_id(shot)}?stp=s{width}x{width}&ccb=10-5&oh={oh}&oe={ends_at}&_nc_sid=201bca"


def signature(id_: str, width: int, ends_at: str) -> str:
    """What `oh` must be for a link to be served."""
    return f"00_{_digest(f'link {id_} {width} {ends_at}', 12).hex()}"


def _compass_angle(shot: Shot) -> float | None:
    return None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg, 2)


def _creator(shot: Shot) -> dict[str, str] | None:
    id_ = creator_id(shot)
    return None if id_ is None else {"username": shot.drive.creator, "id": id_}


def _computed(shot: Shot) -> dict[str, Any]:
    if shot.rank % 3 == 0 or shot.quirk is Quirk.NULL_ISLAND:
        return {}
    lon, lat = destination(shot.lon, shot.lat, 137 * shot.rank, 0.8)
    heading = None if shot.quirk is Quirk.NO_HEADING else round((shot.heading_deg + 0.5) % 360, 4)
    return {"computed_geometry": _point(round(lon, 7), round(lat, 7)), "computed_compass_angle": heading}


def _point(lon: float, lat: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [lon, lat]}


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode(), digest_size=size).digest()


def box_of(tile: Tile) -> Box:
    """What a tile covers."""
    box = tile.bbox
    return box.west, box.south, box.east, box.north


def tile_of(tile: Tile, shots: Iterable[Shot]) -> bytes:
    """The tile with those of the shots that lie in it; b"" if none does."""
    placed = [(shot, place) for shot in shots if (place := _pixel(tile, *device_position(shot))) is not None]
    drives: dict[Drive, list[tuple[Shot, tuple[int, int]]]] = {}
    for shot, place in placed:
        drives.setdefault(shot.drive, []).append((shot, place))
    if not placed:
        return b""
    lines = [_sequence(drive, found) for drive, found in drives.items() if len({place for _, place in found}) > 1]
    layers = [
        {"name": "sequence", "features": lines},
        {"name": "image", "features": [_image(shot, place) for shot, place in placed]},
    ]
    return mapbox_vector_tile.encode(layers, default_options={"extents": EXTENT, "y_coord_down": True})


def _pixel(tile: Tile, lon: float, lat: float) -> tuple[int, int] | None:
    side = 2**tile.z
    x = floor(((lon + 180) / 360 * side - tile.x) * EXTENT)
    y = floor(((1 - asinh(tan(radians(lat))) / pi) / 2 * side - tile.y) * EXTENT)
    return (x, y) if 0 <= x < EXTENT and 0 <= y < EXTENT else None


def _image(shot: Shot, place: tuple[int, int]) -> dict[str, Any]:
    creator = creator_id(shot)
    properties = {
        "id": int(image_id(shot)),
        "captured_at": captured_at_ms(shot),
        "compass_angle": None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg, 2),
        "is_pano": shot.drive.is_pano,
        "sequence_id": sequence_id(shot.drive),
        "creator_id": None if creator is None else int(creator),
    }
    return {"geometry": Point(place), "properties": {k: v for k, v in properties.items() if v is not None}}


def _sequence(drive: Drive, found: list[tuple[Shot, tuple[int, int]]]) -> dict[str, Any]:
    first = found[0][0]
    properties = {
        "id": sequence_id(drive),
        "image_id": int(image_id(first)),
        "captured_at": captured_at_ms(first) or 0,
        "is_pano": drive.is_pano,
    }
    return {"geometry": LineString([place for _, place in found]), "properties": properties}


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
