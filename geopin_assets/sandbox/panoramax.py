"""Stand-in of a Panoramax instance (geovisio 2.15): search, items and pictures, under /panoramax.

Here: routes, limits and error bodies. Not here: the wording of one item (`panoramax_item.py`).

As measured on the real server: there is no paging (`page` and `token` are ignored, no next link,
no total) and a full answer has lost the corners of its box, because it is sorted by distance to
the middle; edges are inclusive; reversed corners are put right, swapped latitude and longitude
are an empty 200; unknown routes are a 404 in HTML. Like the federated catalog, it ignores `datetime`.
"""

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox import images
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.panoramax_item import collection_id, feature, picture_id, root_link
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.world import Drive, Shot

NAME = "panoramax"
DEFAULT_LIMIT, MAX_LIMIT = 10, 10_000
_HEADERS = {"Cache-Control": "public", "Vary": "Accept-Encoding, Cookie"}
_NOT_FOUND = (
    "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
    "<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling "
    "and try again.</p>\n"
)


class _BadRequest(Exception):
    """A parameter the server refuses; its text is the message of the 400."""


class PanoramaxStandIn:
    """Routes over the world's Panoramax shots."""

    name = NAME

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, picture_id)
        self._drives: dict[Drive, list[Shot]] = {}
        for shot in self._shelf.all().values():
            self._drives.setdefault(shot.drive, []).append(shot)

    def routes(self) -> list[Route]:
        return [
            Route("/api/search", self.search),
            Route("/api/collections/{collection:uuid}/items/{item:uuid}", self.item),
            Route("/api/pictures/{item:uuid}/{size}.jpg", self.picture),
            Route("/{path:path}", _not_found),
        ]

    async def search(self, request: Request) -> Response:
        try:
            limit, box = _limit(request.query_params), _bbox(request.query_params)
        except _BadRequest as error:
            return _error(400, str(error))
        if fault := self.sandbox.meet(NAME, "search", box=box):
            return fault
        found = self._shelf.nearest_first(box) if box else self._shelf.all()
        if ids := request.query_params.get("ids"):
            found = {id_: shot for id_, shot in found.items() if id_ in ids.split(",")}
        capped = list(found.values())[: self.sandbox.cap(NAME, limit)]
        features = [self._feature(shot, is_detail=bool(ids)) for shot in capped]
        body = {"features": features, "links": [root_link(self.base_url)], "type": "FeatureCollection"}
        return _geojson(body)

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

    def _feature(self, shot: Shot, *, is_detail: bool) -> dict[str, object]:
        drive = [other for other in self._drives[shot.drive] if self._shelf.get(picture_id(other)) is not None]
        place = next(n for n, other in enumerate(drive) if other.rank == shot.rank)
        neighbors = {"next": drive[place + 1 : place + 2], "prev": drive[max(place - 1, 0) : place]}
        return feature(shot, self.base_url, neighbors, is_detail=is_detail)


def _limit(query: QueryParams) -> int:
    text = query.get("limit") or str(DEFAULT_LIMIT)
    if text.isdecimal() and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise _BadRequest(f"Parameter limit must be either empty or a number between 1 and {MAX_LIMIT}")


def _bbox(query: QueryParams) -> Box | None:
    """The box with its corners put in order, or None without a `bbox` parameter."""
    if "bbox" not in query:
        return None
    try:
        x1, y1, x2, y2 = (float(text) for text in query["bbox"].split(","))
    except ValueError as error:
        raise _BadRequest("Parameter bbox must be in format [minX, minY, maxX, maxY]") from error
    if not all(abs(x) <= 180 for x in (x1, x2)) or not all(abs(y) <= 90 for y in (y1, y2)):
        raise _BadRequest("Parameter bbox must contain valid longitude (-180 to 180) and latitude (-90 to 90) values")
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _geojson(body: dict[str, object]) -> Response:
    return JSONResponse(body, media_type="application/geo+json", headers=_HEADERS)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "status_code": status}, status, headers=_HEADERS)


def _not_found(request: Request) -> Response:
    return HTMLResponse(_NOT_FOUND, 404, _HEADERS)
