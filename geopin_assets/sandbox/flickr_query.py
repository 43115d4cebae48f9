"""What a search of the Flickr stand-in selects, and which part of it a page shows.

Here: parameters, the limits of a query, and the errors of wrong ones. Not here: routes (`flickr.py`), wording
(`flickr_item.py`).

As documented: a search by box gives 250 photos a page at most, any search 4,000 in all, and pages after that repeat
the last; dates of upload are inclusive seconds or local times as in MySQL; a search by box without dates or another
limit means the last 12 hours, which in the sandbox is nothing. The code for a box that is none is a guess.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from starlette.datastructures import QueryParams

from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.flickr_item import license_number, uploaded_at_s
from geopin_assets.sandbox.world import Quirk, Shot

MOST_RESULTS = 4000
_PER_PAGE, _MOST_PER_PAGE, _MOST_PER_PAGE_BY_BOX = 100, 500, 250
_LIMITING = ("min_upload_date", "max_upload_date", "min_taken_date", "max_taken_date", "tags", "text", "user_id")


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
