"""Stand-in of a STAC API with street-level items, under /stac: landing page, collections, item search, images.

Here: the wording of items and collections, routes, pages and error bodies. Each drive is a collection. A shot of
NO_LICENSE leaves the license to its collection, as the standard suggests.

As STAC API 1.0 has it: 10 items a page unless `limit` asks for more, 100 at most, less without a word when the server
wishes; `next` links with an opaque token while there is more, a POST's with `merge`; `bbox` of 4 or 6 numbers; items
of a page in the order of publication. Error bodies are those of stac-fastapi.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot

WIDTHS = {"image": 2048, "preview": 1024, "thumbnail": 256}
_ROLES = {"image": "data", "preview": "visual", "thumbnail": "thumbnail"}
_FIELD_OF_VIEW_DEG = 62
_EXTENSIONS = [
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "https://stac-extensions.github.io/perspective-imagery/v1.0.0/schema.json",
]


def item_id(shot: Shot) -> str:
    """The shot's id within its collection."""
    return f"opname-{shot.rank:04d}"


def collection_id(drive: Drive) -> str:
    """The id of a drive's collection."""
    return f"straatbeelden-{drive.name}"


def capture_id(shot: Shot) -> str:
    """The id under which the source reports a shot of the sandbox."""
    return f"sandbox/{collection_id(shot.drive)}/{item_id(shot)}"


def collection(drive: Drive, base_url: str) -> dict[str, Any]:
    """The collection of a drive."""
    url = f"{base_url}/collections/{collection_id(drive)}"
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection_id(drive),
        "title": drive.name,
        "description": f"Street-level images of {drive.street.name}",
        "license": drive.license,
        "extent": {
            "spatial": {"bbox": [[3.37, 50.75, 7.21, 53.47]]},
            "temporal": {"interval": [[drive.started_at.isoformat(), None]]},
        },
        "providers": [{"name": drive.creator, "roles": ["producer", "licensor"]}],
        "links": [
            {"rel": "self", "type": "application/json", "href": url},
            {"rel": "root", "type": "application/json", "href": f"{base_url}/"},
            {"rel": "items", "type": "application/geo+json", "href": f"{url}/items"},
        ],
    }


def item(shot: Shot, following: Shot | None, base_url: str) -> dict[str, Any]:
    """The item of a shot. `following`: the next one of its drive, which it links to."""
    url = f"{base_url}/collections/{collection_id(shot.drive)}/items"
    links = [
        {"rel": "self", "type": "application/geo+json", "href": f"{url}/{item_id(shot)}"},
        {"rel": "collection", "type": "application/json", "href": url.removesuffix("/items")},
    ]
    if following is not None:
        links.append({"rel": "next", "type": "application/geo+json", "href": f"{url}/{item_id(following)}"})
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": item_id(shot),
        "collection": collection_id(shot.drive),
        "geometry": {"type": "Point", "coordinates": [shot.lon, shot.lat]},
        "bbox": [shot.lon, shot.lat, shot.lon, shot.lat],
        "properties": _properties(shot),
        "assets": {
            name: {
                "href": f"{base_url}/images/{collection_id(shot.drive)}/{item_id(shot)}/{name}.jpg",
                "type": "image/jpeg",
                "roles": [role],
            }
            for name, role in _ROLES.items()
        },
        "links": links,
    }


def _properties(shot: Shot) -> dict[str, Any]:
    license_ = "CC-BY-NC-4.0" if shot.quirk is Quirk.NON_OPEN else shot.drive.license
    properties: dict[str, Any] = {
        "datetime": None if shot.quirk is Quirk.NO_DATE else shot.captured_at.isoformat().replace("+00:00", "Z"),
        "license": None if shot.quirk is Quirk.NO_LICENSE else license_,
        "providers": None
        if shot.quirk is Quirk.NO_CREATOR
        else [{"name": shot.drive.creator, "roles": ["producer", "licensor"]}],
        "pers:interior_orientation": {"field_of_view": 360 if shot.drive.is_pano else _FIELD_OF_VIEW_DEG},
        "view:azimuth": None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg, 1) % 360,
    }
    return {name: value for name, value in properties.items() if value is not None or name == "datetime"}


NAME = "stac"
DEFAULT_LIMIT, MAX_LIMIT = 10, 100
_CONFORMS = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
)


class _BadRequest(Exception):
    """A parameter the server refuses; its text is the description of the 400."""


class StacStandIn:
    """Routes over the world's shots of this source."""

    name = NAME
    id_of = staticmethod(capture_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, capture_id)
        shots = self._shelf.all()
        self._places = {id_: n for n, id_ in enumerate(shots)}
        self._ids = list(shots)
        self._drives: dict[str, Drive] = {collection_id(shot.drive): shot.drive for shot in shots.values()}

    def routes(self) -> list[Route]:
        return [
            Route("/", self.landing),
            Route("/collections", self.collections),
            Route("/collections/{collection}", self.collection),
            Route("/collections/{collection}/items/{item}", self.item),
            Route("/search", self.search, methods=["GET", "POST"]),
            Route("/images/{collection}/{item}/{size}.jpg", self.image),
        ]

    async def landing(self, request: Request) -> Response:
        links = [
            {"rel": rel, "type": type_, "href": f"{self.base_url}/{path}"}
            for rel, type_, path in (
                ("self", "application/json", ""),
                ("data", "application/json", "collections"),
                ("search", "application/geo+json", "search"),
            )
        ]
        body = {"type": "Catalog", "stac_version": "1.0.0", "id": "zandbak", "description": "Sandbox", "links": links}
        return JSONResponse({**body, "conformsTo": _CONFORMS})

    async def collections(self, request: Request) -> Response:
        if fault := self.sandbox.meet(NAME, "collections"):
            return fault
        return JSONResponse({"collections": [collection(d, self.base_url) for d in self._drives.values()], "links": []})

    async def collection(self, request: Request) -> Response:
        if fault := self.sandbox.meet(NAME, "collection"):
            return fault
        drive = self._drives.get(request.path_params["collection"])
        return JSONResponse(collection(drive, self.base_url)) if drive else _not_found("Collection does not exist.")

    async def item(self, request: Request) -> Response:
        if fault := self.sandbox.meet(NAME, "item"):
            return fault
        id_ = f"sandbox/{request.path_params['collection']}/{request.path_params['item']}"
        shot = self._shelf.get(id_)
        return _geojson(self._item(id_, shot)) if shot else _not_found("Item does not exist.")

    async def search(self, request: Request) -> Response:
        try:
            query = await _query(request)
            limit, box, after = _limit(query), _bbox(query), _place(query)
        except _BadRequest as error:
            return _error(400, "BadRequest", str(error))
        if fault := self.sandbox.meet(NAME, "search", box=box):
            return fault
        found = self._shelf.within(box) if box else self._shelf.all()
        wanted = _listed(query, "collections")
        matching = [(id_, shot) for id_, shot in found.items() if not wanted or collection_id(shot.drive) in wanted]
        rest = [(id_, shot) for id_, shot in matching if self._places[id_] > after]
        shown = rest[: self.sandbox.cap(NAME, min(limit, MAX_LIMIT))]
        links = [{"rel": "root", "type": "application/json", "href": f"{self.base_url}/"}]
        if len(rest) > len(shown):
            links.append(self._next(request.method, query, self._places[shown[-1][0]]))
        return _geojson(
            {
                "type": "FeatureCollection",
                "features": [self._item(id_, shot) for id_, shot in shown],
                "links": links,
                "numberMatched": len(matching),
                "numberReturned": len(shown),
            }
        )

    async def image(self, request: Request) -> Response:
        id_ = f"sandbox/{request.path_params['collection']}/{request.path_params['item']}"
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        shot, width = self._shelf.get(id_), WIDTHS.get(request.path_params["size"])
        if shot is None or width is None:
            return _not_found("Image does not exist.")
        body = await run_in_threadpool(images.shot_jpeg, shot, width)
        return Response(body, media_type="image/jpeg")

    def _item(self, id_: str, shot: Shot) -> dict[str, Any]:
        following = self._ids[self._places[id_] + 1 : self._places[id_] + 2]
        other = self._shelf.get(following[0]) if following else None
        return item(shot, other if other and other.drive == shot.drive else None, self.base_url)

    def _next(self, method: str, query: Mapping[str, Any], place: int) -> dict[str, Any]:
        token = base64.urlsafe_b64encode(f"after:{place}".encode()).decode()
        link = {"rel": "next", "type": "application/geo+json", "method": method, "href": f"{self.base_url}/search"}
        if method == "POST":
            return link | {"body": {"token": token}, "merge": True}
        asked = {name: value for name, value in query.items() if name != "token"}
        return link | {"href": f"{link['href']}?{urlencode(asked | {'token': token})}"}


async def _query(request: Request) -> Mapping[str, Any]:
    """The parameters, from the address or from a JSON body."""
    if request.method != "POST":
        return request.query_params
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise _BadRequest("JSON decode error") from error
    if not isinstance(body, dict):
        raise _BadRequest("body: Input should be a valid dictionary")
    return body


def _limit(query: Mapping[str, Any]) -> int:
    text = str(query.get("limit", DEFAULT_LIMIT))
    if not (text.isdecimal() and int(text) >= 1):
        raise _BadRequest("limit: Input should be greater than or equal to 1")
    return int(text)


def _bbox(query: Mapping[str, Any]) -> Box | None:
    """West, south, east, north of a box, whose heights, if any, are left aside."""
    if "bbox" not in query:
        return None
    stated = query["bbox"]
    try:
        numbers = [float(part) for part in (stated if isinstance(stated, list) else stated.split(","))]
    except (ValueError, TypeError, AttributeError) as error:
        raise _BadRequest("bbox: Input should be a valid number") from error
    if len(numbers) not in (4, 6):
        raise _BadRequest("BBox must have 4 or 6 coordinates.")
    half = len(numbers) // 2
    west, south, east, north = numbers[0], numbers[1], numbers[half], numbers[half + 1]
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise _BadRequest("Bounding box must be within (-180, -90, 180, 90), lower corner first")
    return west, south, east, north


def _listed(query: Mapping[str, Any], name: str) -> list[str]:
    stated = query.get(name) or []
    return stated if isinstance(stated, list) else stated.split(",")


def _place(query: Mapping[str, Any]) -> int:
    """The place after which a page begins, from its token."""
    if "token" not in query:
        return -1
    try:
        kind, place = base64.urlsafe_b64decode(query["token"]).decode().split(":")
        if kind == "after":
            return int(place)
    except (ValueError, TypeError, binascii.Error) as error:
        raise _BadRequest("Invalid token") from error
    raise _BadRequest("Invalid token")


def _geojson(body: dict[str, Any]) -> Response:
    return JSONResponse(body, media_type="application/geo+json")


def _error(status: int, code: str, description: str) -> Response:
    return JSONResponse({"code": code, "description": description}, status)


def _not_found(description: str) -> Response:
    return _error(404, "NotFoundError", description)
