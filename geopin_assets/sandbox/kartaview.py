"""Stand-in of KartaView's version 1 listing and its storage hosts, under /kartaview.

Here: routes, limits and error bodies. Not here: the wording of one photo (`kartaview_item.py`).

As others documented and measured: form-encoded POST only, latitude first; pages follow the drives and end with
an empty one; `ipp` is cut to 2000 without a word; an area that is too much is HTTP 400 with apiCode 690, and so
is every box south of the equator; only large thumbnails, small ones and processed images are public. The
wording of messages is invented, the codes are not.

`{"cap": {"kartaview": 5}}` at /faults lowers the size of a page, `kartaview.area` how much one request may find.
"""

from collections.abc import Mapping
from math import cos, radians
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.geo import distance_m
from geopin_assets.sandbox import images
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.kartaview_item import file_name, photo, photo_id, sequence_id
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.world import Shot

NAME = "kartaview"
DEFAULT_PAGE, MAX_PAGE = 200, 2000
MOST_PHOTOS = 20_000
MAX_SIDE_DEG = 0.2  # about 14 km from west to east
WIDTHS = {"th": 320, "lth": 1280, "proc": 1920}
_METERS_PER_DEG = 111_320.0
_FORM = "application/x-www-form-urlencoded"


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
