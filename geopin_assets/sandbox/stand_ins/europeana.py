"""Stand-in of Europeana's Search API, with the archives and previews it links to; under /europeana.

Here: the wording of one item, what a search selects and which part of it a page shows, routes and error answers.

As documented: a page has 12 items unless asked otherwise and 100 at most; without a cursor only the first 1,000 are
reached; cursor and start exclude each other. As in Solr, which is behind it, the cursor of a page leads to what
follows even if nothing does: the end is an empty page, and it alone has no next cursor. As recorded: errors have a
status, `success: false`, a code and the caller's key; `guid` and `link` repeat that key, and the rich profile alone
has `edmIsShownBy`.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote
from zlib import crc32

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from geopin_assets.licenses import OPEN_LICENSES, license_of_url
from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Quirk, Shot

_IN_COPYRIGHT = "http://rightsstatements.org/vocab/InC/1.0/"
_DATASET = "2021672"
_AMSTERDAM = {"lat": "52.37403", "lon": "4.88969", "uri": "http://data.europeana.eu/place/7"}
FULL, PREVIEW = 1600, 400
MOST_ROWS = 100
_ROWS, _REACHED_WITHOUT_CURSOR = 12, 1000
_WORLD: Box = (-180.0, -90.0, 180.0, 90.0)
_RANGE = re.compile(r"pl_wgs84_pos_(?P<axis>lat|long):\[(?P<low>[-\d.*]+) TO (?P<high>[-\d.*]+)\]")
_TYPE = re.compile(r'TYPE:"?(?P<type>[A-Z0-9]+)"?')
_TOO_FAR = (
    "It is not possible to paginate beyond the first 1000 search results. Please use cursor-based pagination instead"
)
_BAD_CURSOR = "Invalid cursor value. Please make sure you encode the cursor value before sending it to the API."
NAME = "europeana"
TOKEN = "sandbox"  # noqa: S105 - the invented key of an invented Europeana


def item_id(shot: Shot) -> str:
    """The id with its data set, the same in every run."""
    return f"/{_DATASET}/SA_{crc32(shot.name.encode()):08X}"


def rights_of(shot: Shot) -> str:
    """Address of the license or rights statement."""
    if shot.quirk in (Quirk.NON_OPEN, Quirk.NO_LICENSE):
        return _IN_COPYRIGHT
    return OPEN_LICENSES[shot.drive.license].url.replace("https://", "http://")


def type_of(shot: Shot) -> str:
    """What kind of object it is."""
    return "TEXT" if shot.quirk is Quirk.NOT_STREET else "IMAGE"


def file_name(shot: Shot) -> str:
    """Name of its image at the institution."""
    return f"{shot.name}.jpg"


def item(shot: Shot, base_url: str, key: str, *, is_rich: bool) -> dict[str, Any]:
    """The record of a shot as the holder of a key sees it."""
    id_, full = item_id(shot), f"{base_url}/archive/{quote(file_name(shot))}"
    lat, lon = (0, 0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lat, shot.lon)
    places = [(str(lat), str(lon))]
    if shot.quirk is Quirk.POSITION_IN_TABLE:  # the street and the city that it names
        places.append((_AMSTERDAM["lat"], _AMSTERDAM["lon"]))
    body: dict[str, Any] = {
        "id": id_,
        "type": type_of(shot),
        "title": [f"{shot.drive.street.name} {shot.rank}"],
        "rights": [rights_of(shot)],
        "dataProvider": ["Stadsarchief Zandbak"],
        "provider": ["Sandbox Heritage"],
        "edmPreview": [f"{base_url}/thumbnail/v2/url.json?uri={quote(full, safe='')}&type=IMAGE"],
        "edmPlaceLatitude": [lat for lat, _ in places],
        "edmPlaceLongitude": [lon for _, lon in places],
        "edmIsShownAt": [f"{base_url}/archive/{quote(file_name(shot))}.html"],
        "guid": f"https://www.europeana.eu/item{id_}?utm_source=api&utm_medium=api&utm_campaign={key}",
        "link": f"{base_url}/record{id_}.json?wskey={key}",
        "country": ["Netherlands"],
        "edmDatasetName": [f"{_DATASET}_Stadsarchief"],
    }
    if shot.quirk is not Quirk.NO_CREATOR:
        body["dcCreator"] = ["http://data.europeana.eu/agent/77", shot.drive.creator]
    if shot.quirk is Quirk.NO_GPS:  # only a city is known
        body |= {"edmPlaceLatitude": [_AMSTERDAM["lat"]], "edmPlaceLongitude": [_AMSTERDAM["lon"]]}
        body["edmPlace"] = [_AMSTERDAM["uri"]]
    if shot.quirk is not Quirk.NO_DATE:
        body["year"] = ["0026"] if shot.quirk is Quirk.JUNK_DATE else [_year(shot)]
    return body | ({"edmIsShownBy": [full]} if is_rich else {})


def _year(shot: Shot) -> str:
    """Mostly a year; every third knows the day."""
    return f"{shot.captured_at:%Y-%m-%d}" if shot.rank % 3 == 0 else str(shot.captured_at.year)


class Refused(Exception):
    """A query that is answered with 400; `code` is Europeana's own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of what was found, and what leads to the next."""

    shots: list[Shot]
    next_cursor: str | None


def box_of(query: QueryParams) -> Box:
    """The box of all ranges, edges included. Raises Refused for a refinement that this server does not know."""
    west, south, east, north = _WORLD
    for refinement in query.getlist("qf"):
        part = _RANGE.fullmatch(refinement)
        if part is None and not _TYPE.fullmatch(refinement):
            raise Refused("400-SA", "Invalid search query")
        if part is None:
            continue
        low, high = _bound(part["low"], -180.0), _bound(part["high"], 180.0)
        if part["axis"] == "lat":
            south, north = max(south, low), min(north, high)
        else:
            west, east = max(west, low), min(east, high)
    return west, south, east, north


def keeps(query: QueryParams) -> Callable[[Shot], bool]:
    """What every returned shot must satisfy beside its place. Raises Refused without a query."""
    if not query.get("query"):
        raise Refused("400-SE", "Empty search query parameter")
    if query["query"] != "*":
        raise Refused("400-SA", "Invalid search query")
    types = {part["type"] for refinement in query.getlist("qf") if (part := _TYPE.fullmatch(refinement))}
    reuse = query.get("reusability")

    def keep(shot: Shot) -> bool:
        is_open = license_of_url(rights_of(shot)) is not None
        return types <= {type_of(shot)} and (reuse is None or (reuse == "open") == is_open)

    return keep


def shown(found: list[Shot], query: QueryParams, rows_cap: int) -> Shown:
    """One page of all that was found. Raises Refused for a cursor or a start that cannot be."""
    asked = min(_number(query.get("rows"), _ROWS), MOST_ROWS)
    rows = min(asked, rows_cap)
    cursor = query.get("cursor")
    if cursor is None:
        start = max(_number(query.get("start"), 1), 1) - 1
        if start + asked > _REACHED_WITHOUT_CURSOR:
            raise Refused("400-SL", _TOO_FAR)
        return Shown(found[start : start + rows], None)
    if "start" in query:
        raise Refused("400-SD", "Parameters 'start' and 'cursorMark' cannot be used together")
    start = _place(cursor)
    page = found[start : start + rows]
    return Shown(page, _mark(start + len(page)) if page else None)


def _mark(place: int) -> str:
    """An opaque cursor with characters that must be encoded in a query."""
    return f"AoE/{urlsafe_b64encode(f'item+{place}'.encode()).decode()}+="


def _place(cursor: str) -> int:
    if cursor == "*":
        return 0
    try:
        word, _, place = urlsafe_b64decode(cursor.removeprefix("AoE/").removesuffix("+=")).decode().partition("+")
    except ValueError:
        raise Refused("400-SC", _BAD_CURSOR) from None
    if word != "item" or not place.isdecimal() or _mark(int(place)) != cursor:
        raise Refused("400-SC", _BAD_CURSOR)
    return int(place)


def _bound(text: str, unbounded: float) -> float:
    if text == "*":
        return unbounded
    try:
        return float(text)
    except ValueError:
        raise Refused("400-SA", "Invalid search query") from None


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


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
