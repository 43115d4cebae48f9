"""Stand-in of Flickr: search, the table of licenses and images, under /flickr.

Here: the wording of one photo by the extras that bring its fields, licenses, routes, what a search selects, error
answers. The numbers of the licenses from 11 on are a guess; that is why nobody should rely on them.

As documented: errors have status 200; without `nojsoncallback=1` the answer is a script. The total of a search is a
number on its first page and text after it, as both were recorded. A search by box gives 250 photos a page at most,
any search 4,000 in all, and pages after that repeat the last; dates of upload are inclusive seconds or local times as
in MySQL; a search by box without dates or another limit means the last 12 hours, which in the sandbox is nothing. The
code for a box that is none is a guess.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geopin_assets.sandbox.state import Box, Sandbox
from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.world import Quirk, Shot

_CC = "https://creativecommons.org"
LICENSES = (
    (0, "All Rights Reserved", ""),
    (4, "Attribution License", f"{_CC}/licenses/by/2.0/"),
    (6, "Attribution-NoDerivs License", f"{_CC}/licenses/by-nd/2.0/"),
    (3, "Attribution-NonCommercial-NoDerivs License", f"{_CC}/licenses/by-nc-nd/2.0/"),
    (2, "Attribution-NonCommercial License", f"{_CC}/licenses/by-nc/2.0/"),
    (1, "Attribution-NonCommercial-ShareAlike License", f"{_CC}/licenses/by-nc-sa/2.0/"),
    (5, "Attribution-ShareAlike License", f"{_CC}/licenses/by-sa/2.0/"),
    (7, "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    (8, "United States Government Work", "http://www.usa.gov/copyright.shtml"),
    (9, "Public Domain Dedication (CC0)", f"{_CC}/publicdomain/zero/1.0/"),
    (10, "Public Domain Mark", f"{_CC}/publicdomain/mark/1.0/"),
    (11, "CC BY 4.0", f"{_CC}/licenses/by/4.0/"),
    (12, "CC BY-SA 4.0", f"{_CC}/licenses/by-sa/4.0/"),
    (13, "CC BY-ND 4.0", f"{_CC}/licenses/by-nd/4.0/"),
    (14, "CC BY-NC 4.0", f"{_CC}/licenses/by-nc/4.0/"),
    (15, "CC BY-NC-SA 4.0", f"{_CC}/licenses/by-nc-sa/4.0/"),
    (16, "CC BY-NC-ND 4.0", f"{_CC}/licenses/by-nc-nd/4.0/"),
)
_NUMBERS = {"CC-BY-2.0": 4, "CC-BY-SA-2.0": 5, "CC0-1.0": 9, "PDM-1.0": 10, "CC-BY-4.0": 11, "CC-BY-SA-4.0": 12}
_ALL_RIGHTS_RESERVED, _NON_COMMERCIAL = 0, 2
_UPLOADED_AFTER_S = 36 * 3600
SERVER = "65535"
LARGE, MEDIUM = (1024, 768), (500, 375)


def photo_id(shot: Shot) -> str:
    """Eleven digits, the same in every run."""
    return str(49_000_000_000 + crc32(shot.name.encode()))


def secret(shot: Shot) -> str:
    """What the name of an image file has beside the id."""
    return f"{crc32(shot.name.encode()[::-1]):08x}00"


def license_number(shot: Shot) -> int:
    """Flickr's number of the shot's license."""
    if shot.quirk is Quirk.NON_OPEN:
        return _NON_COMMERCIAL
    if shot.quirk is Quirk.NO_LICENSE:
        return _ALL_RIGHTS_RESERVED
    return _NUMBERS.get(shot.drive.license, _ALL_RIGHTS_RESERVED)


def uploaded_at_s(shot: Shot) -> int:
    """Seconds since the epoch: the evening of the next day."""
    return int(shot.captured_at.timestamp()) + _UPLOADED_AFTER_S


def photo(shot: Shot, base_url: str, extras: Collection[str]) -> dict[str, Any]:
    """The record of a shot, with the fields that `extras` ask for; numbers and strings as they come."""
    plain = {
        "id": photo_id(shot),
        "owner": _owner(shot),
        "secret": secret(shot),
        "server": SERVER,
        "farm": 66,
        "title": f"{shot.drive.street.name} {shot.rank}",
        "ispublic": 1,
        "isfriend": 0,
        "isfamily": 0,
    }
    optional = {
        "license": {"license": str(license_number(shot))},
        "date_taken": _taken(shot),
        "date_upload": {"dateupload": str(uploaded_at_s(shot))},
        "last_update": {"lastupdate": str(uploaded_at_s(shot) + 60)},
        "owner_name": {"ownername": "" if shot.quirk is Quirk.NO_CREATOR else shot.drive.creator},
        "geo": _geo(shot),
        "tags": {"tags": "amsterdam"},
        "o_dims": {"o_width": "4032", "o_height": "3024"},
        "url_m": _image("m", shot, base_url, "", MEDIUM),
        "url_l": _image("l", shot, base_url, "_b", LARGE),
    }
    return plain | {key: value for extra, part in optional.items() if extra in extras for key, value in part.items()}


def _owner(shot: Shot) -> str:
    return f"{crc32(shot.drive.creator.encode()) % 10**8}@N06"


def _taken(shot: Shot) -> dict[str, Any]:
    """Local time of the camera; of the upload where the camera did not say."""
    taken = shot.captured_at.astimezone(ZoneInfo("Europe/Amsterdam")).strftime("%Y-%m-%d %H:%M:%S")
    if shot.quirk is Quirk.JUNK_DATE:
        taken = "0000-00-00 00:00:00"
    is_unknown = shot.quirk is Quirk.NO_DATE
    return {
        "datetaken": taken,
        "datetakengranularity": 0 if is_unknown else "0",  # a number exactly then, as recorded
        "datetakenunknown": "1" if is_unknown else "0",
    }


def _geo(shot: Shot) -> dict[str, Any]:
    lat, lon = (0, 0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lat, shot.lon)
    is_number = bool(shot.rank % 2)
    return {
        "latitude": lat if is_number else str(lat),
        "longitude": lon if is_number else str(lon),
        "accuracy": "16",
        "context": 1 if shot.quirk is Quirk.NOT_STREET else 2,
        "place_id": "",
        "woeid": "727232",
        "geo_is_public": 1,
        "geo_is_contact": 0,
        "geo_is_friend": 0,
        "geo_is_family": 0,
    }


def _image(size: str, shot: Shot, base_url: str, suffix: str, pixels: tuple[int, int]) -> dict[str, Any]:
    return {
        f"url_{size}": f"{base_url}/{SERVER}/{photo_id(shot)}_{secret(shot)}{suffix}.jpg",
        f"height_{size}": pixels[1],
        f"width_{size}": pixels[0],
    }


MOST_RESULTS = 4000
_PER_PAGE, _MOST_PER_PAGE, _MOST_PER_PAGE_BY_BOX = 100, 500, 250
_LIMITING = ("min_upload_date", "max_upload_date", "min_taken_date", "max_taken_date", "tags", "text", "user_id")
NAME = "flickr"
TOKEN = "sandbox"  # noqa: S105 - the invented key of an invented Flickr
_WIDTHS = {"": MEDIUM[0], "_b": LARGE[0]}


class Refused(Exception):
    """A query that fails; its text is the message, `code` Flickr's number of the error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of what was found."""

    shots: list[Shot]
    page: int
    pages: int
    per_page: int
    total: int


def bbox_of(query: QueryParams) -> Box:
    """west, south, east, north. Raises Refused without a box and for one that is none."""
    if not query.get("bbox"):
        raise Refused(3, "Parameterless searches have been disabled. Please use flickr.photos.getRecent instead.")
    try:
        west, south, east, north = (float(text) for text in query["bbox"].split(","))
    except ValueError:
        raise Refused(18, "Illogical arguments") from None
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise Refused(18, "Illogical arguments")
    return west, south, east, north


def selected(found: list[Shot], query: QueryParams) -> list[Shot]:
    """What of the shots in a box a query means, in its order."""
    if not any(query.get(name) for name in _LIMITING):
        return []
    licenses = {part.strip() for part in query.get("license", "").split(",")} - {""}
    low, high = _seconds(query.get("min_upload_date")), _seconds(query.get("max_upload_date"))
    kept = [
        shot
        for shot in found
        if (not licenses or str(license_number(shot)) in licenses)
        and (low is None or uploaded_at_s(shot) >= low)
        and (high is None or uploaded_at_s(shot) <= high)
        and shot.quirk is not Quirk.NO_GPS
    ]
    is_ascending = query.get("sort", "date-posted-desc") == "date-posted-asc"
    return sorted(kept, key=uploaded_at_s, reverse=not is_ascending)


def shown(found: list[Shot], query: QueryParams, *, per_page_cap: int, most_results: int) -> Shown:
    """One page; those beyond the end, or beyond what a query gives, repeat the last."""
    per_page = min(max(_number(query.get("per_page"), _PER_PAGE), 1), _MOST_PER_PAGE)
    per_page = min(per_page, _MOST_PER_PAGE_BY_BOX, per_page_cap)
    page, pages = max(_number(query.get("page"), 1), 1), ceil(len(found) / per_page)
    reachable = found[:most_results]
    last = max(ceil(len(reachable) / per_page), 1)
    start = (min(page, last) - 1) * per_page
    return Shown(reachable[start : start + per_page], page, pages, per_page, len(found))


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


def _seconds(text: str | None) -> int | None:
    """A moment as seconds since the epoch or as MySQL writes it; None if there is none or it is neither."""
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    try:
        return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


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
