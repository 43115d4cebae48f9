"""Stand-in of Europeana's Search API, with the archives and previews it links to; under /europeana.

Here: routes and error answers. Not here: what a search selects (`europeana_query.py`), the wording of one item
(`europeana_item.py`).

As recorded from the real one: errors have a status, `success: false`, a code and the caller's key.
"""

from itertools import count

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox import images
from geopin_assets.sandbox.europeana_item import FULL, PREVIEW, file_name, item, item_id
from geopin_assets.sandbox.europeana_query import MOST_ROWS, Refused, box_of, keeps, shown
from geopin_assets.sandbox.state import Sandbox

NAME = "europeana"
TOKEN = "sandbox"  # noqa: S105 - the invented key of an invented Europeana


class EuropeanaStandIn:
    """Routes over the world's Europeana shots."""

    name = NAME
    id_of = staticmethod(item_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, item_id)
        self._files = {file_name(shot): id_ for id_, shot in self._shelf.all().items()}
        self._requests = count(1)

    def routes(self) -> list[Route]:
        return [
            Route("/record/v2/search.json", self.search),
            Route("/archive/{file}", self.full),
            Route("/thumbnail/v2/url.json", self.preview),
        ]

    async def search(self, request: Request) -> Response:
        query = request.query_params
        return self.answer(query, query.get("wskey") or request.headers.get("x-api-key"))

    def answer(self, query: QueryParams, key: str | None) -> Response:
        """The answer to a search by the holder of a key."""
        if key is None:
            return _error(400, "", "400-AM", "No API key provided")
        if key != TOKEN:
            return _error(401, key, "401-AR", "API key is not registered")
        try:
            box, keep = box_of(query), keeps(query)
            if fault := self.sandbox.meet(NAME, "search", box=box):
                return fault
            found = [shot for shot in self._shelf.within(box).values() if keep(shot)]
            view = shown(found, query, self.sandbox.cap(NAME, MOST_ROWS))
        except Refused as error:
            return _error(400, key, error.code, str(error))
        is_rich = "rich" in query.get("profile", "").split(",")
        body = {
            "apikey": key,
            "success": True,
            "requestNumber": next(self._requests),
            "itemsCount": len(view.shots),
            "totalResults": len(found),
            **({"nextCursor": view.next_cursor} if view.next_cursor else {}),
            "items": [item(shot, self.base_url, key, is_rich=is_rich) for shot in view.shots],
        }
        return JSONResponse(body)

    async def full(self, request: Request) -> Response:
        return await self._image(request.path_params["file"], FULL)

    async def preview(self, request: Request) -> Response:
        return await self._image(request.query_params.get("uri", "").rpartition("/")[2], PREVIEW)

    async def _image(self, file: str, width: int) -> Response:
        id_ = self._files.get(file, "")
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        shot = self._shelf.get(id_)
        if shot is None:
            return Response(status_code=404)
        return Response(await run_in_threadpool(images.shot_jpeg, shot, width), media_type="image/jpeg")


def _error(status: int, key: str, code: str, message: str) -> Response:
    return JSONResponse({"apikey": key, "success": False, "error": message, "code": code}, status)
