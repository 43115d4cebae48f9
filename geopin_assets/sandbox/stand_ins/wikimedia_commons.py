"""Stand-in of Wikimedia Commons: the MediaWiki query API and the media server, under /wikimedia_commons.

Here: parameters parsed and refused as MediaWiki does, which pages are found, which of their properties are in this
answer, routes and error bodies. Not here: the wording of one page (`wikimedia_commons_item.py`).

As in MediaWiki and its GeoData extension: errors are a 200 with their code in a header too; a search has no paging
and lists what is nearest to the middle of its box, by page id; properties come in parts, so that a page appears
several times; without formatversion 2 booleans and lists have the old form. `maxlag` below 0 always lags. The media
server has thumbnails of the standard widths only. Clients that name themselves by nothing but their library get a
403. {"cap": {"wikimedia_commons": n}} lowers the pages of a search, {"cap": {"wikimedia_commons.part": n}} the pages
that get their properties in one answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.geo import distance_m
from geopin_assets.sandbox.stand_ins.wikimedia_commons_item import (
    coordinates,
    db_key,
    file_name,
    image_info,
    page_id,
    revision,
    title,
    uploaded_at,
    width_of,
)
from geopin_assets.sandbox.state import Box, Sandbox, Shelf
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Shot

MIN_AREA_M2, MAX_AREA_M2 = 100, 4 * 10_000**2
MAX_LIMIT = 500
MAX_IDS = 50
MAX_SCALED = 50
FEWEST_IN_PART = 4  # a real answer is full after some MB; here after half of its pages, so that there are parts
_FILES = "6"
_PROPERTIES = ("coordinates", "imageinfo", "revisions")
_PRIMARY = ("primary", "secondary", "all")


Pages = dict[str, dict[str, Any]]
"""Page id -> page, in the order in which they are listed."""


class ApiError(Exception):
    """An error as the API words it. `more`: further fields of its body."""

    def __init__(self, code: str, info: str, **more: Any) -> None:
        super().__init__(code)
        self.code, self.info, self.more = code, info, more


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A checked query: a search of `box` or the pages `ids`."""

    box: Box | None
    ids: tuple[str, ...]
    limit: int
    is_for_cameras: bool
    """Whether files with a primary position are meant at all."""
    properties: tuple[str, ...]
    done: frozenset[str]
    """Properties that earlier answers completed."""
    coordinates_limit: int
    coordinates_from: int
    info_from: str
    info_fields: frozenset[str]
    metadata_fields: frozenset[str]
    scaled_width: int | None
    has_wikitext: bool
    max_lag_s: int | None
    is_modern: bool
    warnings: Mapping[str, Any]


def parse_query(params: Mapping[str, str]) -> Query:
    """Raises ApiError as MediaWiki does."""
    _choice(params, "action", ("query",), "")
    warnings: dict[str, Any] = {}
    box = _box(params) if _choice(params, "generator", ("geosearch",), "") else None
    is_primary = _choice(params, "ggsprimary", _PRIMARY, "primary") != "secondary"
    known = tuple(name for name in _values(params, "prop") if name in _PROPERTIES)
    if unknown := set(_values(params, "prop")) - set(known):
        warnings["query"] = {"warnings": f'Unrecognized value for parameter "prop": {", ".join(sorted(unknown))}.'}
    width = _integer(params, "iiurlwidth", -1)
    return Query(
        box=box,
        ids=_ids(params),
        limit=_limit(params, "ggslimit", warnings),
        is_for_cameras=is_primary and _FILES in (_values(params, "ggsnamespace") or ("0",)),
        properties=known,
        done=_done(params),
        coordinates_limit=_limit(params, "colimit", warnings),
        coordinates_from=int(_continued(params, "cocontinue", r"(\d+)\|\d+", "0")),
        info_from=_continued(params, "iicontinue", r"([^|]+)\|\d{14}", ""),
        info_fields=frozenset(_values(params, "iiprop") or ("timestamp", "user")),
        metadata_fields=frozenset(_values(params, "iiextmetadatafilter")),
        scaled_width=width if width > 0 else None,
        has_wikitext="content" in _values(params, "rvprop"),
        max_lag_s=_integer(params, "maxlag", 0) if "maxlag" in params else None,
        is_modern=_choice(params, "formatversion", ("1", "2", "latest"), "1") != "1",
        warnings=warnings,
    )


class Wiki:
    """Answers queries over a shelf: at most `limit` pages, properties of at most `part` of them in one answer."""

    def __init__(self, shelf: Shelf, base_url: str, *, limit: int, part: int) -> None:
        self._shelf, self._base_url, self._limit, self._part = shelf, base_url, limit, part

    def answer(self, query: Query) -> dict[str, Any]:
        """The body of the answer, in the form of formatversion 2."""
        shots = self._found(query)
        pages: Pages = {id_: _page(id_, shot, n - 1) for n, (id_, shot) in enumerate(shots.items())}
        following: dict[str, str] = {}
        asked = [name for name in query.properties if name not in query.done]
        if "coordinates" in asked:
            following |= self._add_coordinates(query, shots, pages)
        if "imageinfo" in asked:
            following |= self._add_info(query, shots, pages)
        if "revisions" in asked and query.has_wikitext:
            for id_, shot in shots.items():
                pages[id_]["revisions"] = [revision(shot)]
        finished = [name for name in query.properties if _continuation(name) not in following]
        body: dict[str, Any] = {"continue": {**following, "continue": f"||{'|'.join(finished)}"}} if following else {}
        body |= {} if following else {"batchcomplete": True}
        body |= {"warnings": dict(query.warnings)} if query.warnings else {}
        gone = [{"pageid": int(id_), "missing": True} for id_ in query.ids if id_ not in shots]
        listed = [*gone, *pages.values()]
        return body | ({"query": {"pages": listed}} if listed else {})

    def _found(self, query: Query) -> dict[str, Shot]:
        """In order of page id; of too many in a box the nearest to its middle."""
        if query.box is None:
            found = {id_: shot for id_ in query.ids if (shot := self._shelf.get(id_)) is not None}
        else:
            nearest = self._shelf.nearest_first(query.box) if query.is_for_cameras else {}
            found = dict(list(nearest.items())[: self._limit])
        return dict(sorted(found.items(), key=lambda pair: int(pair[0])))

    def _add_coordinates(self, query: Query, shots: Mapping[str, Shot], pages: Pages) -> dict[str, str]:
        rest = [id_ for id_ in shots if int(id_) >= query.coordinates_from]
        size = min(query.coordinates_limit, self._part)
        for id_ in rest[:size]:
            pages[id_]["coordinates"] = [coordinates(shots[id_])]
        return {"cocontinue": f"{rest[size]}|{int(rest[size]) + 7}"} if len(rest) > size else {}

    def _add_info(self, query: Query, shots: Mapping[str, Shot], pages: Pages) -> dict[str, str]:
        """By title, until the answer is full or enough thumbnails were made."""
        rest = sorted(
            pair for pair in ((db_key(shot), id_) for id_, shot in shots.items()) if pair[0] >= query.info_from
        )
        size = min(max(FEWEST_IN_PART, -(-len(shots) // 2)), self._part)
        if query.scaled_width:
            size = min(MAX_SCALED, self._part)
        for _, id_ in rest[:size]:
            info = image_info(shots[id_], self._base_url, query.info_fields, query.metadata_fields, query.scaled_width)
            pages[id_] |= {"imagerepository": "local", "imageinfo": [info]}
        if len(rest) <= size:
            return {}
        key, id_ = rest[size]
        return {"iicontinue": f"{key}|{uploaded_at(shots[id_]):%Y%m%d%H%M%S}"}


def _page(id_: str, shot: Shot, index: int) -> dict[str, Any]:
    return {"pageid": int(id_), "ns": 6, "title": title(shot), "index": index}


def _continuation(name: str) -> str:
    return {"coordinates": "cocontinue", "imageinfo": "iicontinue", "revisions": "rvcontinue"}[name]


def _box(params: Mapping[str, str]) -> Box:
    """west, south, east, north of `ggsbbox`, top|left|bottom|right."""
    if "ggsbbox" not in params:
        raise ApiError("missingparam", 'One of the parameters "ggscoord", "ggspage" and "ggsbbox" is required.')
    invalid = ApiError("invalid-bbox", "Invalid bounding box.")
    try:
        north, west, south, east = (float(text) for text in params["ggsbbox"].split("|"))
    except ValueError:
        raise invalid from None
    if not (abs(north) <= 90 and abs(south) <= 90 and abs(west) <= 180 and abs(east) <= 180 and north > south):
        raise invalid
    middle = (north + south) / 2
    area_m2 = distance_m(west, middle, east, middle) * distance_m(west, north, west, south)
    if not MIN_AREA_M2 <= area_m2 <= MAX_AREA_M2:
        raise ApiError("toobig", "Bounding box is too big")
    return west, south, east, north


def _ids(params: Mapping[str, str]) -> tuple[str, ...]:
    ids = _values(params, "pageids")
    if len(ids) > MAX_IDS:
        said = f'Too many values supplied for parameter "pageids". The limit is {MAX_IDS}.'
        raise ApiError("toomanyvalues", said, parameter="pageids", limit=MAX_IDS, lowlimit=MAX_IDS, highlimit=MAX_LIMIT)
    for id_ in ids:
        if not id_.isdecimal():
            raise _bad_integer("pageids", id_)
    return ids


def _done(params: Mapping[str, str]) -> frozenset[str]:
    """What `continue` says is complete; "||" at first."""
    text = params.get("continue", "||")
    generator, separator, done = text.partition("||")
    if not separator or generator or not set(filter(None, done.split("|"))) <= set(_PROPERTIES):
        raise _bad_continue()
    return frozenset(filter(None, done.split("|")))


def _continued(params: Mapping[str, str], name: str, pattern: str, start: str) -> str:
    if name not in params:
        return start
    match = re.fullmatch(pattern, params[name])
    if match is None:
        raise _bad_continue()
    return match[1]


def _limit(params: Mapping[str, str], name: str, warnings: dict[str, Any]) -> int:
    """1 to 500, brought into that range with a warning; 10 by default."""
    if params.get(name) == "max":
        return MAX_LIMIT
    stated = _integer(params, name, 10)
    limit = min(max(stated, 1), MAX_LIMIT)
    if limit != stated:
        said = f'The value "{stated}" for parameter "{name}" must be between 1 and {MAX_LIMIT}.'
        warnings[{"ggslimit": "geosearch", "colimit": "coordinates"}[name]] = {"warnings": said}
    return limit


def _integer(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, str(default))
    if not re.fullmatch(r"-?\d+", text):
        raise _bad_integer(name, text)
    return int(text)


def _choice(params: Mapping[str, str], name: str, known: Sequence[str], default: str) -> str:
    value = params.get(name, default)
    if value != default and value not in known:
        raise ApiError("badvalue", f'Unrecognized value for parameter "{name}": {value}.')
    return value


def _values(params: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, params.get(name, "").split("|")))


def _bad_integer(name: str, text: str) -> ApiError:
    return ApiError("badinteger", f'Invalid value "{text}" for integer parameter "{name}".')


def _bad_continue() -> ApiError:
    return ApiError(
        "badcontinue", "Invalid continue param. You should pass the original value returned by the previous query."
    )


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
