"""Stand-in of Wikimedia Commons: the MediaWiki query API and the media server, under /wikimedia_commons.

Here: routes, refusals and error bodies. Not here: what a query asks and how its answer is cut into parts
(`wikimedia_commons_query.py`), the wording of one page (`wikimedia_commons_item.py`).

As in MediaWiki and its GeoData extension: errors are a 200 with their code in a header too; a search has no paging and
lists what is nearest to the middle of its box, by page id; properties come in parts, so that a page appears several
times; without formatversion 2 booleans and lists have the old form. `maxlag` below 0 always lags. The media server
has thumbnails of the standard widths only. Clients that name themselves by nothing but their library get a 403.
{"cap": {"wikimedia_commons": n}} lowers the pages of a search, {"cap": {"wikimedia_commons.part": n}} the pages that
get their properties in one answer.
"""

import re
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.sandbox.stand_ins.wikimedia_commons_item import db_key, file_name, page_id, width_of
from geopin_assets.sandbox.stand_ins.wikimedia_commons_query import ApiError, Query, Wiki, parse_query
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets import images

NAME = "wikimedia_commons"
MAX_PAGES = 500
WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
_LAG_S = 0.6
_LIBRARIES = re.compile(r"(?:python-|python/|aiohttp|curl/|wget/|go-http-client|java/|okhttp|node|undici|-$|$)", re.I)
_POLICY = "Please set a user-agent and respect our robot policy https://w.wiki/4wJS. See also T400119.\n"
_HELP = "<!DOCTYPE html>\n<html><head><title>MediaWiki API help</title></head><body>MediaWiki API help</body></html>\n"


class WikimediaCommonsStandIn:
    """Routes over the world's Commons shots."""

    name = NAME
    id_of = staticmethod(page_id)

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.base_url = f"{sandbox.base_url}/{NAME}"
        self._shelf = sandbox.shelf(NAME, page_id)
        self._ids = {db_key(shot): id_ for id_, shot in self._shelf.all().items()}

    def routes(self) -> list[Route]:
        file = "/wikipedia/commons/{path:path}"
        return [Route("/w/api.php", self.api), Route(file, self.media)]

    async def api(self, request: Request) -> Response:
        if refusal := _refusal(request):
            return refusal
        params = dict(request.query_params)
        if params.get("format", "jsonfm") != "json" or "action" not in params:
            return HTMLResponse(_HELP)
        try:
            query = parse_query(params)
            _raise_if_lagged(query)
            if fault := self.sandbox.meet(NAME, "geosearch" if query.box else "pages", box=query.box):
                return fault
            wiki = Wiki(
                self._shelf,
                self.base_url,
                limit=self.sandbox.cap(NAME, query.limit),
                part=self.sandbox.cap(f"{NAME}.part", MAX_PAGES),
            )
            body = wiki.answer(query)
        except ApiError as error:
            return _error(error, params)
        return JSONResponse(body if query.is_modern else _version_1(body))

    async def media(self, request: Request) -> Response:
        """An original, `a/ab/Name.jpg`, or a thumbnail, `thumb/a/ab/Name.jpg/960px-Name.jpg`."""
        if refusal := _refusal(request):
            return refusal
        found = file_name(request.path_params["path"])
        id_ = self._ids.get(found.key, "") if found else ""
        if fault := self.sandbox.meet(NAME, "image", capture=id_):
            return fault
        shot = self._shelf.get(id_)
        if found is None or shot is None:
            return HTMLResponse("<!DOCTYPE html>\n<title>404 Not Found</title>\n<h1>File not found</h1>\n", 404)
        if found.width is not None and (found.width not in WIDTHS or found.width > width_of(shot)):
            return PlainTextResponse("Use thumbnail steps listed on https://w.wiki/GHai\n", 400)
        body = await run_in_threadpool(images.shot_jpeg, shot, found.width or width_of(shot))
        return Response(body, media_type="image/jpeg")


def _refusal(request: Request) -> Response | None:
    agent = request.headers.get("user-agent", "").strip()
    return PlainTextResponse(_POLICY, 403) if _LIBRARIES.match(agent) else None


def _raise_if_lagged(query: Query) -> None:
    if query.max_lag_s is not None and query.max_lag_s < 0:
        host = {"host": "10.64.48.35", "lag": _LAG_S, "type": "db"}
        raise ApiError("maxlag", f"Waiting for 10.64.48.35: {_LAG_S} seconds lagged.", **host)


def _error(error: ApiError, params: Mapping[str, str]) -> Response:
    docref = {"docref": "See https://commons.wikimedia.org/w/api.php for API usage."}
    headers = {"MediaWiki-API-Error": error.code}
    if error.code == "maxlag":
        headers |= {"Retry-After": "5", "X-Database-Lag": "1"}
    body = {"error": {"code": error.code, "info": error.info, **error.more, **docref}, "servedby": "mw-api-ext.sandbox"}
    return JSONResponse(body, headers=headers)


def _version_1(body: Any) -> Any:
    """The old form: true is an empty text, false is left out, pages are an object by id."""
    if isinstance(body, list):
        return [_version_1(item) for item in body]
    if not isinstance(body, dict):
        return body
    old: dict[str, Any] = {k: "" if v is True else _version_1(v) for k, v in body.items() if v is not False}
    if isinstance(pages := old.get("pages"), list):
        old["pages"] = {str(page["pageid"]): page for page in pages}
    return old
