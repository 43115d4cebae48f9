"""Stand-in of KartaView's version 1 listing and its storage hosts, under /kartaview.

Here: the wording of one photo (every scalar a string or null), routes, limits and error bodies.

As others documented and measured: form-encoded POST only, latitude first; pages follow the drives and end with
an empty one; `ipp` is cut to 2000 without a word; an area that is too much is HTTP 400 with apiCode 690, and so
is every box south of the equator; only large thumbnails, small ones and processed images are public. The
wording of messages is invented, the codes are not.

`{"cap": {"kartaview": 5}}` at /faults lowers the size of a page, `kartaview.area` how much one request may find.
"""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from math import cos, radians
from urllib.parse import parse_qsl
from zlib import crc32

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.geo import distance_m
from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot

_UPLOADED_AFTER = timedelta(days=14)
_UNSET = "0000-00-00 00:00:00"
_SIZES = {"": "proc", "lth_": "lth", "th_": "th"}
NAME = "kartaview"
DEFAULT_PAGE, MAX_PAGE = 200, 2000
MOST_PHOTOS = 20_000
MAX_SIDE_DEG = 0.2  # about 14 km from west to east
WIDTHS = {"th": 320, "lth": 1280, "proc": 1920}
_METERS_PER_DEG = 111_320.0
_FORM = "application/x-www-form-urlencoded"


def photo_id(shot: Shot) -> str:
    """Decimal, as the real ones; 48 bits of the name's hash, so that no two are alike."""
    return str(int.from_bytes(sha256(shot.name.encode()).digest()[:6]))


def sequence_id(drive: Drive) -> str:
    """Seven decimal digits."""
    return str(1_000_000 + crc32(drive.name.encode()) % 9_000_000)


def file_name(shot: Shot) -> str:
    """`{sequence}_{5 hex digits}_{13 hex digits}.jpg`, as the uploader names them."""
    digest = sha256(shot.name.encode()).hexdigest()
    return f"{sequence_id(shot.drive)}_{digest[:5]}_{digest[5:18]}.jpg"


def photo(id_: str, shot: Shot) -> dict[str, str | None]:
    """One of `currentPageItems`."""
    added = shot.captured_at + _UPLOADED_AFTER
    folder = f"storage{_storage(shot.drive)}/files/photo/{added.year}/{added.month}/{added.day}"
    lon, lat = (0.0, 0.0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lon, shot.lat)
    names = {f"{size}name": f"{folder}/{path}/{file_name(shot)}" for size, path in _SIZES.items()}
    return {
        "id": id_,
        "sequence_id": sequence_id(shot.drive),
        "sequence_index": str(shot.rank - 1),
        "lat": f"{lat:.7f}",
        "lng": f"{lon:.7f}",
        **names,
        "date_added": f"{added:%Y-%m-%d %H:%M:%S}",
        "timestamp": str(int(added.timestamp())),
        "match_lat": f"{lat:.7f}",
        "match_lng": f"{lon:.7f}",
        "match_segment_id": None,
        "way_id": "303490382",
        "shot_date": _shot_date(shot),
        "heading": "" if shot.quirk is Quirk.NO_HEADING else f"{shot.heading_deg:.2f}",
        "gps_accuracy": None,
        "projection": "SPHERE" if shot.drive.is_pano else "PLANE",
        "field_of_view": "360" if shot.drive.is_pano else None,
        "username": None if shot.quirk is Quirk.NO_CREATOR else shot.drive.creator,
    }


def _storage(drive: Drive) -> int:
    return 13 if drive.started_at.year >= 2020 else 1 + crc32(drive.name.encode()) % 12


def _shot_date(shot: Shot) -> str | None:
    """UTC, without saying so."""
    if shot.quirk is Quirk.NO_DATE:
        return None
    if shot.quirk is Quirk.JUNK_DATE:
        return _UNSET
    return f"{shot.captured_at:%Y-%m-%d %H:%M:%S}"


class _BadRequest(Exception):
    """A parameter the server refuses; its text is the message of the 400."""


class KartaViewStandIn:
    """Routes over the world's KartaView shots."""

    name = NAME
    id_of = staticmethod(photo_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._shelf = sandbox.shelf(NAME, photo_id)
        self._files = {file_name(shot): id_ for id_, shot in self._shelf.all().items()}

    def routes(self) -> list[Route]:
        return [
            Route("/1.0/list/nearby-photos/", self.nearby, methods=["POST"]),
            Route("/{storage}/files/photo/{year:int}/{month:int}/{day:int}/{size}/{file}", self.image),
        ]

    async def nearby(self, request: Request) -> Response:
        is_form = request.headers.get("content-type", "").split(";")[0] == _FORM
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"))) if is_form else {}
        try:
            box, circle = _area(form)
            page, size = _positive(form, "page", 1), _positive(form, "ipp", DEFAULT_PAGE)
        except _BadRequest as error:
            return _status(400, 400, str(error))
        if fault := self.sandbox.meet(NAME, "list", box=box):
            return fault
        found = self._found(box, circle)
        if found is None:
            return _status(400, 690, "too much for one request, ask for less")
        size = self.sandbox.cap(NAME, min(size, MAX_PAGE))
        items = [photo(id_, shot) for id_, shot in found[(page - 1) * size : page * size]]
        status = {"apiCode": "600", "httpCode": 200, "httpMessage": "Success"}
        return JSONResponse(
            {"status": status, "currentPageItems": items, "totalFilteredItems": [str(len(found))]},
        )

    async def image(self, request: Request) -> Response:
        id_ = self._files.get(request.path_params["file"], "")
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        shot, width = self._shelf.get(id_), WIDTHS.get(request.path_params["size"])
        if shot is None or width is None:
            return PlainTextResponse("404 Not Found", 404)
        return Response(await run_in_threadpool(images.shot_jpeg, shot, width), media_type="image/jpeg")

    def _found(self, box: Box, circle: tuple[float, float, float] | None) -> list[tuple[str, Shot]] | None:
        """Photos of an area in the order of their drives; None if that is too much to ask."""
        west, south, east, north = box
        if south < 0 or max(east - west, north - south) > MAX_SIDE_DEG:
            return None
        found = self._shelf.within(box)
        if circle is not None:
            lon, lat, radius_m = circle
            found = {id_: s for id_, s in found.items() if distance_m(lon, lat, s.lon, s.lat) <= radius_m}
        if len(found) > self.sandbox.cap(f"{NAME}.area", MOST_PHOTOS):
            return None
        return sorted(found.items(), key=lambda pair: (sequence_id(pair[1].drive), pair[1].rank))


def _area(form: Mapping[str, str]) -> tuple[Box, tuple[float, float, float] | None]:
    """The box that is asked for, and the circle (lon, lat, radius in meters) within it in that mode."""
    if "bbTopLeft" in form or "bbBottomRight" in form:
        north, west = _numbers(form, "bbTopLeft", 2)
        south, east = _numbers(form, "bbBottomRight", 2)
        return (west, south, east, north), None
    (lat,), (lon,), (radius_m,) = (_numbers(form, name, 1) for name in ("lat", "lng", "radius"))
    high = radius_m / _METERS_PER_DEG
    wide = high / max(cos(radians(lat)), 0.01)
    return (lon - wide, lat - high, lon + wide, lat + high), (lon, lat, radius_m)


def _numbers(form: Mapping[str, str], name: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in form[name].split(",")]
    except KeyError:
        raise _BadRequest(f"missing parameter {name}") from None
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise _BadRequest(f"invalid parameter {name}")
    return numbers


def _positive(form: Mapping[str, str], name: str, default: int) -> int:
    text = form.get(name, str(default))
    if len(text) > 9 or not text.isdecimal() or int(text) < 1:
        raise _BadRequest(f"invalid parameter {name}")
    return int(text)


def _status(http: int, code: int, message: str) -> Response:
    status = {"apiCode": code, "apiMessage": message, "httpCode": http, "httpMessage": "Bad Request"}
    return JSONResponse({"status": status}, http)
