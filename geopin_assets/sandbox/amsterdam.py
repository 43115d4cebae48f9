"""Stand-in of the City of Amsterdam's panorama API (Amsterdam/panorama-api): list, detail, images; under /amsterdam.

Here: routes and error answers. Not here: what a query selects (`amsterdam_query.py`), the wording of
one panorama and of a page (`amsterdam_item.py`).

As measured on the real code: `Accept: application/json` alone is a 406, a page beyond the end a 404, a
missing last slash a 301. Thumbnails, cubes and adjacencies are linked to but not served.
"""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox import images
from geopin_assets.sandbox.amsterdam_item import image_folder, page_of, pano_id, panorama
from geopin_assets.sandbox.amsterdam_query import BadRequest, Unparsable, bbox_of, filters_of, page_number
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.state import Sandbox

NAME = "amsterdam"
_ACCEPTED = ("*/*", "application/*", "application/hal+json", "application/geo+json")
_SERVER_ERROR = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n'
    "<body>\n  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)


class AmsterdamStandIn:
    """Routes over the world's Amsterdam shots."""

    name = NAME
    id_of = staticmethod(pano_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, pano_id)
        self._folders = {image_folder(shot): shot for shot in self._shelf.all().values()}

    def routes(self) -> list[Route]:
        return [
            Route("/panorama/panoramas/", self.listing),
            Route("/panorama/panoramas/{pano_id}/", self.detail),
            Route("/panorama/panoramas", _add_slash),
            Route("/panorama/panoramas/{pano_id}", _add_slash),
            Route("/{folder:path}/equirectangular/panorama_{width:int}.jpg", self.image),
        ]

    async def listing(self, request: Request) -> Response:
        if refusal := _refusal(request):
            return refusal
        query = request.query_params
        try:
            box = bbox_of(query)
            if fault := self.sandbox.meet(NAME, "list", box=box):
                return fault
            keeps = filters_of(query)
        except Unparsable:
            return HTMLResponse(_SERVER_ERROR, 500)
        except BadRequest as error:
            return _hal(error.body, 400)
        near = self._shelf.within(_widened(box)) if box else self._shelf.all()
        found = [shot for shot in near.values() if all(keep(shot) for keep in keeps)]
        page, page_size = page_number(query, len(found), self.sandbox.cap(NAME, len(found) or 1))
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
        shot = self._shelf.get(request.path_params["pano_id"])
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


def _widened(box: Box) -> Box:
    """A box that surely holds what the turned box of the Dutch grid takes in."""
    margin = 0.1 * max(box[2] - box[0], box[3] - box[1])
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


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


def _hal(body: object, status: int = 200) -> Response:
    return JSONResponse(body, status, media_type="application/hal+json")


def _add_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}", 301)
