"""Stand-in of a Panoramax instance (geovisio 2.15): search, items, pictures, tiles, collections; under /panoramax.

Here: routes, limits, error bodies, and the collections, one a drive. Not here: the wording of one item
(`panoramax_item.py`), tiles (`panoramax_tiles.py`).

As measured on the real server: there is no paging (`page` and `token` are ignored, no next link, no total) and a full
answer has lost the corners of its box, because it is sorted by distance to the middle; edges are inclusive; reversed
corners are put right, swapped latitude and longitude are an empty 200; unknown routes are a 404 in HTML. Of a JSON
list of ids in a POST only the first is read, an empty one is no filter; a text with commas is read whole. Like the
federated catalog, it ignores `datetime` and offers tiles with hexagons under /api/map/2.

Collections: 100 a page unless asked otherwise, at most 1000; a `next` link except on the last page, whose `page` is a
filter with quotes and plus signs; `show_deleted` lists what was deleted or hidden with id and status only; filters on
`status` are refused, a date that is none is a 500.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sandbox.stand_ins.panoramax_item import collection_id, feature, picture_id, root_link
from geopin_assets.sandbox.stand_ins.panoramax_tiles import GRID_ZOOM, LAST_ZOOM, Tiles
from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Drive, Shot
from geopin_assets.sources.tiles import Tile

DEFAULT_COLLECTIONS, MAX_COLLECTIONS = 100, 1000
_UPDATED = re.compile(r"updated\s*(?P<cmp>>=|>|<=|<)\s*'(?P<time>[^']*)'")
_PAGE = re.compile(r"created > '(?P<created>[^']*)' OR \(created = '[^']*' AND id > '(?P<id>[^']*)'\)")


class BadRequest(Exception):
    """A parameter the server refuses; its text is the message of the 400."""


class Unparsable(Exception):
    """A parameter that the server fails over: a 500 in HTML."""


def page_of(
    drives: Mapping[Drive, bool],
    shots_of: Callable[[Drive], list[Shot]],
    query: Mapping[str, str],
    base_url: str,
    most: int,
) -> dict[str, Any]:
    """One page of collections. `drives`: whether each still shows anything; else it is deleted."""
    limit = min(_collections_limit(query.get("limit")), most)
    keeps_deleted = query.get("show_deleted", "").lower() == "true"
    is_wanted = _filter(query.get("filter", ""))
    rows = sorted((_created(drive), collection_id(drive), drive) for drive, is_shown in drives.items()
                  if (is_shown or keeps_deleted) and is_wanted(_updated(drive, is_shown)))  # fmt: skip
    after = _after(query.get("page"))
    rest = [row for row in rows if row[:2] > after]
    shown = rest[:limit]
    collections = [_collection(drive, shots_of(drive), base_url) for _, _, drive in shown]
    links: list[dict[str, Any]] = [root_link(base_url)]
    if len(rest) > limit:
        links.append(_next(shown[-1][:2], limit, query, base_url))
    return {"collections": collections, "links": links}


def _collections_limit(text: str | None) -> int:
    if not text:
        return DEFAULT_COLLECTIONS
    if not text.isdecimal():
        raise BadRequest("limit parameter should be a valid, positive integer (between 1 and 1000)")
    if not 1 <= int(text) <= MAX_COLLECTIONS:
        raise BadRequest("limit parameter should be an integer between 1 and 1000")
    return int(text)


def _filter(text: str) -> Any:
    """Whether a collection updated at some time is wanted."""
    if not text:
        return lambda updated: True
    if "status" in text:
        raise BadRequest(
            "The status filter is not supported anymore, use the `show_deleted` parameter instead if you need to "
            "query deleted collections"
        )
    match = _UPDATED.fullmatch(text.strip())
    if match is None:
        raise BadRequest("Unsupported filter parameter")
    try:
        time = datetime.fromisoformat(match["time"])
    except ValueError as error:
        raise Unparsable from error
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if match["cmp"].startswith(">"):
        return lambda updated: updated > time
    return lambda updated: updated < time


def _after(page: str | None) -> tuple[datetime, str]:
    if page is None:
        return datetime.min.replace(tzinfo=UTC), ""
    match = _PAGE.fullmatch(page)
    if match is None:
        raise BadRequest("Unsupported filter parameter")
    return datetime.fromisoformat(match["created"]), match["id"]


def _created(drive: Drive) -> datetime:
    return drive.started_at.replace(day=28)


def _updated(drive: Drive, is_shown: bool) -> datetime:
    """A deletion is always the latest of changes."""
    return _created(drive) if is_shown else datetime.now(UTC)


def _next(last: tuple[datetime, str], limit: int, query: Mapping[str, str], base_url: str) -> dict[str, Any]:
    created, id_ = str(last[0]), last[1]
    page = f"created > '{created}' OR (created = '{created}' AND id > '{id_}')"
    parts = {"limit": str(limit), "sortby": "+created,+id"}
    parts |= {"show_deleted": "True"} if query.get("show_deleted", "").lower() == "true" else {}
    parts |= {"filter": query["filter"]} if query.get("filter") else {}
    text = "&".join(f"{name}={_encoded(value)}" for name, value in (parts | {"page": page}).items())
    return {"href": f"{base_url}/api/collections?{text}", "rel": "next", "type": "application/json"}


def _encoded(value: str) -> str:
    """As Werkzeug writes links: blanks as plus signs, quotes and commas as they are."""
    return quote(value, safe="',:()").replace("%20", "+")


def _collection(drive: Drive, shots: list[Shot], base_url: str) -> dict[str, Any]:
    id_ = collection_id(drive)
    if not shots:
        return {"geovisio:status": "deleted", "id": id_}
    lons, lats = [shot.lon for shot in shots], [shot.lat for shot in shots]
    times = [min(shot.captured_at for shot in shots), max(shot.captured_at for shot in shots)]
    return {
        "created": _created(drive).isoformat(),
        "description": "A sequence of geolocated pictures",
        "extent": {
            "spatial": {"bbox": [[min(lons), min(lats), max(lons), max(lats)]]},
            "temporal": {"interval": [[time.isoformat() for time in times]]},
        },
        "id": id_,
        "keywords": ["pictures", drive.name],
        "license": drive.license,
        "links": [
            root_link(base_url),
            {"href": f"{base_url}/api/collections/{id_}", "rel": "self", "type": "application/json"},
            {"href": OPEN_LICENSES[drive.license].url, "rel": "license"},
        ],
        "providers": [{"name": drive.creator, "roles": ["producer"]}],
        "stac_version": "1.0.0",
        "stats:items": {"count": len(shots)},
        "title": drive.name,
        "type": "Collection",
        "updated": _created(drive).isoformat(),
    }


NAME = "panoramax"
DEFAULT_LIMIT, MAX_LIMIT = 10, 10_000
_HEADERS = {"Cache-Control": "public", "Vary": "Accept-Encoding, Cookie"}
_NOT_FOUND = (
    "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
    "<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling "
    "and try again.</p>\n"
)
_SERVER_ERROR = (
    "<!doctype html>\n<html lang=en>\n<title>500 Internal Server Error</title>\n<h1>Internal Server Error</h1>\n"
)
_TILE_TYPE = "application/vnd.mapbox-vector-tile"


class PanoramaxStandIn:
    """Routes over the world's Panoramax shots."""

    name = NAME
    id_of = staticmethod(picture_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, picture_id)
        self._drives: dict[Drive, list[Shot]] = {}
        for shot in self._shelf.all().values():
            self._drives.setdefault(shot.drive, []).append(shot)
        self._places = {id_: n for drive in self._drives.values() for n, id_ in enumerate(map(picture_id, drive))}
        self._tiles = Tiles(self._shelf)

    def routes(self) -> list[Route]:
        return [
            Route("/api/search", self.search, methods=["GET", "POST"]),
            Route("/api/collections", self.collections),
            Route("/api/map/{z:int}/{x:int}/{y:int}.{format}", self.tile),
            Route("/api/map/2/{z:int}/{x:int}/{y:int}.{format}", self.catalog_tile),
            Route("/api/collections/{collection:uuid}/items/{item:uuid}", self.item),
            Route("/api/pictures/{item:uuid}/{size}.jpg", self.picture),
            Route("/{path:path}", _not_found),
        ]

    async def search(self, request: Request) -> Response:
        try:
            query = await _query(request)
            limit, box, ids = _limit(query), _bbox(query), _ids(query)
        except BadRequest as error:
            return _error(400, str(error))
        if fault := self.sandbox.meet(NAME, "search", box=box):
            return fault
        if ids is not None:
            asked = {id_: shot for id_ in ids if (shot := self._shelf.get(id_)) is not None}
            inside = self._shelf.within(box) if box else asked
            found = {id_: shot for id_, shot in asked.items() if id_ in inside}
        else:
            found = self._shelf.nearest_first(box) if box else self._shelf.all()
        capped = list(found.values())[: self.sandbox.cap(NAME, limit)]
        features = [self._feature(shot, is_detail=ids is not None and len(ids) == 1) for shot in capped]
        body = {"features": features, "links": [root_link(self.base_url)], "type": "FeatureCollection"}
        return _geojson(body)

    async def collections(self, request: Request) -> Response:
        if fault := self.sandbox.meet(NAME, "collections"):
            return fault
        shown = {drive: self._next_shown(drive, 0) is not None for drive in self._drives}
        most = self.sandbox.cap(NAME, MAX_LIMIT)
        try:
            body = page_of(shown, self._shown, request.query_params, self.base_url, most)
        except BadRequest as error:
            return _error(400, str(error))
        except Unparsable:
            return HTMLResponse(_SERVER_ERROR, 500, _HEADERS)
        return JSONResponse(body, headers=_HEADERS)

    async def tile(self, request: Request) -> Response:
        return await self._tile(request, self._tiles.instance)

    async def catalog_tile(self, request: Request) -> Response:
        return await self._tile(request, self._tiles.catalog)

    async def _tile(self, request: Request, cut: Callable[[Tile], bytes]) -> Response:
        z, x, y = (request.path_params[name] for name in "zxy")
        if request.path_params["format"] not in ("mvt", "pbf"):
            return _error(400, "Tile format is invalid, should be either pbf or mvt")
        if x >= 2**z or y >= 2**z:
            return _error(404, "X or Y parameter is out of bounds")
        if z > LAST_ZOOM:
            return _error(404, "Z parameter is out of bounds (should be 0-15)")
        edges = Tile(z, x, y).bbox
        is_overview = z <= GRID_ZOOM  # of half a country: what goes wrong in one street does not concern it
        box = None if is_overview else (edges.west, edges.south, edges.east, edges.north)
        if fault := self.sandbox.meet(NAME, "grid" if is_overview else "tile", box=box):
            return fault
        body = await run_in_threadpool(cut, Tile(z, x, y))
        return Response(body, media_type=_TILE_TYPE, headers=_HEADERS)

    async def item(self, request: Request) -> Response:
        if fault := self.sandbox.meet(NAME, "item"):
            return fault
        shot = self._shelf.get(str(request.path_params["item"]))
        if shot is None or collection_id(shot.drive) != str(request.path_params["collection"]):
            return _error(404, "Item doesn't exist")
        return _geojson(self._feature(shot, is_detail=True))

    async def picture(self, request: Request) -> Response:
        id_, size = str(request.path_params["item"]), request.path_params["size"]
        if size not in images.PANORAMAX_SIZES:
            return _not_found(request)
        if fault := self.sandbox.meet(NAME, "picture", capture=id_):
            return fault
        shot = self._shelf.get(id_)
        if shot is None:
            return _error(404, "Picture can't be found, you may check its ID")
        body = await run_in_threadpool(images.panoramax_jpeg, shot, size)
        return Response(body, media_type="image/jpeg", headers=_HEADERS | {"Accept-Ranges": "bytes"})

    def _shown(self, drive: Drive) -> list[Shot]:
        """What a drive shows, where it is now."""
        return [shot for other in self._drives[drive] if (shot := self._shelf.get(picture_id(other))) is not None]

    def _next_shown(self, drive: Drive, place: int, step: int = 1) -> Shot | None:
        """The first shot of a drive that is shown, from a place on or back."""
        shots = self._drives[drive]
        while 0 <= place < len(shots):
            if (shot := self._shelf.get(picture_id(shots[place]))) is not None:
                return shot
            place += step
        return None

    def _feature(self, shot: Shot, *, is_detail: bool) -> dict[str, object]:
        place = self._places[picture_id(shot)]
        beside = {"next": self._next_shown(shot.drive, place + 1), "prev": self._next_shown(shot.drive, place - 1, -1)}
        neighbors = {rel: [other] if other else [] for rel, other in beside.items()}
        return feature(shot, self.base_url, neighbors, is_detail=is_detail)


async def _query(request: Request) -> Mapping[str, Any]:
    """The parameters, from the address or from a JSON body."""
    if request.method != "POST":
        return request.query_params
    if request.headers.get("content-type") != "application/json":
        raise BadRequest("Search using POST method should have a JSON body")
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise BadRequest("The browser (or proxy) sent a request that this server could not understand.") from error
    return body if isinstance(body, dict) else {}


def _limit(query: Mapping[str, Any]) -> int:
    text = str(query.get("limit") or DEFAULT_LIMIT)
    if text.isdecimal() and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise BadRequest(f"Parameter limit must be either empty or a number between 1 and {MAX_LIMIT}")


def _bbox(query: Mapping[str, Any]) -> Box | None:
    """The box with its corners put in order, or None without a `bbox` parameter."""
    if "bbox" not in query:
        return None
    stated = query["bbox"]
    try:
        x1, y1, x2, y2 = (float(part) for part in (stated if isinstance(stated, list) else stated.split(",")))
    except (ValueError, TypeError) as error:
        raise BadRequest("Parameter bbox must be in format [minX, minY, maxX, maxY]") from error
    if not all(abs(x) <= 180 for x in (x1, x2)) or not all(abs(y) <= 90 for y in (y1, y2)):
        raise BadRequest("Parameter bbox must contain valid longitude (-180 to 180) and latitude (-90 to 90) values")
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _ids(query: Mapping[str, Any]) -> list[str] | None:
    """The ids asked for: of a list in JSON the first alone, as the real code reads it."""
    stated = query.get("ids")
    if isinstance(stated, list):
        stated = stated[0] if stated else None
    if not stated:
        return None
    texts = [text.strip(" \"'") for text in str(stated).strip("[]").split(",")]
    try:
        return [str(UUID(text)) for text in texts]
    except ValueError as error:
        raise BadRequest("Parameter ids should be a JSON array of strings") from error


def _geojson(body: dict[str, object]) -> Response:
    return JSONResponse(body, media_type="application/geo+json", headers=_HEADERS)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "status_code": status}, status, headers=_HEADERS)


def _not_found(request: Request) -> Response:
    return HTMLResponse(_NOT_FOUND, 404, _HEADERS)
