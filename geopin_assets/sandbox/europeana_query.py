"""What a search of the Europeana stand-in selects, and which part of it a page shows.

Here: parameters, cursors and the errors of wrong ones. Not here: routes (`europeana.py`), wording
(`europeana_item.py`).

As documented: a page has 12 items unless asked otherwise and 100 at most; without a cursor only the first 1,000 are
reached; cursor and start exclude each other. As in Solr, which is behind it, the cursor of a page leads to what
follows even if nothing does: the end is an empty page, and it alone has no next cursor.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from geopin_assets.licenses import license_of_url
from geopin_assets.sandbox.europeana_item import rights_of, type_of
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.world import Shot

MOST_ROWS = 100
_ROWS, _REACHED_WITHOUT_CURSOR = 12, 1000
_WORLD: Box = (-180.0, -90.0, 180.0, 90.0)
_RANGE = re.compile(r"pl_wgs84_pos_(?P<axis>lat|long):\[(?P<low>[-\d.*]+) TO (?P<high>[-\d.*]+)\]")
_TYPE = re.compile(r'TYPE:"?(?P<type>[A-Z0-9]+)"?')

_TOO_FAR = (
    "It is not possible to paginate beyond the first 1000 search results. Please use cursor-based pagination instead"
)
_BAD_CURSOR = "Invalid cursor value. Please make sure you encode the cursor value before sending it to the API."


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
