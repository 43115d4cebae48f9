"""Stand-in of Flickr: search, the table of licenses and images, under /flickr.

Here: routes and error answers. Not here: what a search selects (`flickr_query.py`), the wording of one photo and of
the licenses (`flickr_item.py`).

As documented: errors have status 200; without `nojsoncallback=1` the answer is a script. The total of a search is a
number on its first page and text after it, as both were recorded.
"""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geopin_assets.sandbox import images
from geopin_assets.sandbox.flickr_item import LARGE, LICENSES, MEDIUM, SERVER, photo, photo_id, secret
from geopin_assets.sandbox.flickr_query import MOST_RESULTS, Refused, bbox_of, selected, shown
from geopin_assets.sandbox.state import Sandbox

NAME = "flickr"
TOKEN = "sandbox"  # noqa: S105 - the invented key of an invented Flickr
_WIDTHS = {"": MEDIUM[0], "_b": LARGE[0]}


class FlickrStandIn:
    """Routes over the world's Flickr shots. `most_results`: what one query gives in all."""

    name = NAME
    id_of = staticmethod(photo_id)

    def __init__(self, sandbox: Sandbox, *, most_results: int = MOST_RESULTS) -> None:
        self.sandbox, self._most_results = sandbox, most_results
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, photo_id)
        self._files = {
            f"{id_}_{secret(shot)}{suffix}": (id_, width)
            for id_, shot in self._shelf.all().items()
            for suffix, width in _WIDTHS.items()
        }

    def routes(self) -> list[Route]:
        return [
            Route("/services/rest/", self.rest, methods=["GET", "POST"]),
            Route(f"/{SERVER}/{{file}}.jpg", self.image),
        ]

    async def rest(self, request: Request) -> Response:
        return self.answer(request.query_params)

    def answer(self, query: QueryParams) -> Response:
        """The answer to one call of the API."""
        methods: dict[str, Callable[[QueryParams], dict[str, Any] | Response]] = {
            "flickr.photos.search": self._search,
            "flickr.photos.licenses.getInfo": self._licenses,
        }
        try:
            _check(query)
            if query.get("method", "") not in methods:
                raise Refused(112, f'Method "{query.get("method", "")}" not found')
            body = methods[query["method"]](query)
        except Refused as error:
            body = {"stat": "fail", "code": error.code, "message": str(error)}
        return body if isinstance(body, Response) else _worded(body, query)

    def _licenses(self, query: QueryParams) -> dict[str, Any] | Response:
        if fault := self.sandbox.meet(NAME, "licenses"):
            return fault
        rows = [{"id": str(number), "name": name, "url": url} for number, name, url in LICENSES]
        return {"licenses": {"license": rows}, "stat": "ok"}

    def _search(self, query: QueryParams) -> dict[str, Any] | Response:
        box = bbox_of(query)
        if fault := self.sandbox.meet(NAME, "search", box=box):
            return fault
        found = selected(list(self._shelf.within(box).values()), query)
        cap = self.sandbox.cap(NAME, self._most_results)
        view = shown(found, query, per_page_cap=cap, most_results=self._most_results)
        extras = {part.strip() for part in query.get("extras", "").split(",")}
        photos = {
            "page": view.page,
            "pages": view.pages,
            "perpage": view.per_page,
            "total": view.total if view.page == 1 else str(view.total),
            "photo": [photo(shot, self.base_url, extras) for shot in view.shots],
        }
        return {"photos": photos, "stat": "ok"}

    async def image(self, request: Request) -> Response:
        id_, width = self._files.get(request.path_params["file"], ("", 0))
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        shot = self._shelf.get(id_)
        if shot is None:
            return Response(status_code=404)
        return Response(await run_in_threadpool(images.shot_jpeg, shot, width), media_type="image/jpeg")


def _check(query: QueryParams) -> None:
    """What every method asks for. Raises Refused."""
    if query.get("api_key") != TOKEN:
        raise Refused(100, "Invalid API Key (Key has invalid format)")
    if query.get("format") != "json":
        raise Refused(111, f'Format "{query.get("format", "rest")}" not served by this stand-in')


def _worded(body: dict[str, Any], query: QueryParams) -> Response:
    text = orjson.dumps(body)
    if query.get("nojsoncallback") == "1":
        return Response(text, media_type="application/json")
    return Response(b"jsonFlickrApi(" + text + b")", media_type="text/javascript")
