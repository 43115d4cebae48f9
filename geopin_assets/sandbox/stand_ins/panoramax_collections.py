"""The collections of the Panoramax stand-in: one a drive, page by page, deleted ones on request.

Here: limits, the filter on `updated`, keyset pages and their links. Not here: items, routes (`panoramax.py`).

As measured: 100 a page unless asked otherwise, at most 1000; a `next` link except on the last page, whose `page`
is a filter with quotes and plus signs; `show_deleted` lists what was deleted or hidden with id and status only;
filters on `status` are refused, a date that is none is a 500.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sandbox.stand_ins.panoramax_item import collection_id, root_link
from geopin_assets.sandbox.streets.world import Drive, Shot

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
_UPDATED = re.compile(r"updated\s*(?P<cmp>>=|>|<=|<)\s*'(?P<time>[^']*)'")
_PAGE = re.compile(r"created > '(?P<created>[^']*)' OR \(created = '[^']*' AND id > '(?P<id>[^']*)'\)")


class BadRequest(Exception):
    """A parameter the server refuses; its text is the message of the 400."""


class Unparsable(Exception):
    """A parameter that the server fails over: a 500 in HTML."""


def page_of(
    drives: Mapping[Drive, bool],
    shots_of: Callable[[Drive], list[Shot]],
    query: Mapping[str, str],
    base_url: str,
    most: int,
) -> dict[str, Any]:
    """One page of collections. `drives`: whether each still shows anything; else it is deleted."""
    limit = min(_limit(query.get("limit")), most)
    keeps_deleted = query.get("show_deleted", "").lower() == "true"
    is_wanted = _filter(query.get("filter", ""))
    rows = sorted((_created(drive), collection_id(drive), drive) for drive, is_shown in drives.items()
                  if (is_shown or keeps_deleted) and is_wanted(_updated(drive, is_shown)))  # fmt: skip
    after = _after(query.get("page"))
    rest = [row for row in rows if row[:2] > after]
    shown = rest[:limit]
    collections = [_collection(drive, shots_of(drive), base_url) for _, _, drive in shown]
    links: list[dict[str, Any]] = [root_link(base_url)]
    if len(rest) > limit:
        links.append(_next(shown[-1][:2], limit, query, base_url))
    return {"collections": collections, "links": links}


def _limit(text: str | None) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not text.isdecimal():
        raise BadRequest("limit parameter should be a valid, positive integer (between 1 and 1000)")
    if not 1 <= int(text) <= MAX_LIMIT:
        raise BadRequest("limit parameter should be an integer between 1 and 1000")
    return int(text)


def _filter(text: str) -> Any:
    """Whether a collection updated at some time is wanted."""
    if not text:
        return lambda updated: True
    if "status" in text:
        raise BadRequest(
            "The status filter is not supported anymore, use the `show_deleted` parameter instead if you need to "
            "query deleted collections"
        )
    match = _UPDATED.fullmatch(text.strip())
    if match is None:
        raise BadRequest("Unsupported filter parameter")
    try:
        time = datetime.fromisoformat(match["time"])
    except ValueError as error:
        raise Unparsable from error
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if match["cmp"].startswith(">"):
        return lambda updated: updated > time
    return lambda updated: updated < time


def _after(page: str | None) -> tuple[datetime, str]:
    if page is None:
        return datetime.min.replace(tzinfo=UTC), ""
    match = _PAGE.fullmatch(page)
    if match is None:
        raise BadRequest("Unsupported filter parameter")
    return datetime.fromisoformat(match["created"]), match["id"]


def _created(drive: Drive) -> datetime:
    return drive.started_at.replace(day=28)


def _updated(drive: Drive, is_shown: bool) -> datetime:
    """A deletion is always the latest of changes."""
    return _created(drive) if is_shown else datetime.now(UTC)


def _next(last: tuple[datetime, str], limit: int, query: Mapping[str, str], base_url: str) -> dict[str, Any]:
    created, id_ = str(last[0]), last[1]
    page = f"created > '{created}' OR (created = '{created}' AND id > '{id_}')"
    parts = {"limit": str(limit), "sortby": "+created,+id"}
    parts |= {"show_deleted": "True"} if query.get("show_deleted", "").lower() == "true" else {}
    parts |= {"filter": query["filter"]} if query.get("filter") else {}
    text = "&".join(f"{name}={_encoded(value)}" for name, value in (parts | {"page": page}).items())
    return {"href": f"{base_url}/api/collections?{text}", "rel": "next", "type": "application/json"}


def _encoded(value: str) -> str:
    """As Werkzeug writes links: blanks as plus signs, quotes and commas as they are."""
    return quote(value, safe="',:()").replace("%20", "+")


def _collection(drive: Drive, shots: list[Shot], base_url: str) -> dict[str, Any]:
    id_ = collection_id(drive)
    if not shots:
        return {"geovisio:status": "deleted", "id": id_}
    lons, lats = [shot.lon for shot in shots], [shot.lat for shot in shots]
    times = [min(shot.captured_at for shot in shots), max(shot.captured_at for shot in shots)]
    return {
        "created": _created(drive).isoformat(),
        "description": "A sequence of geolocated pictures",
        "extent": {
            "spatial": {"bbox": [[min(lons), min(lats), max(lons), max(lats)]]},
            "temporal": {"interval": [[time.isoformat() for time in times]]},
        },
        "id": id_,
        "keywords": ["pictures", drive.name],
        "license": drive.license,
        "links": [
            root_link(base_url),
            {"href": f"{base_url}/api/collections/{id_}", "rel": "self", "type": "application/json"},
            {"href": OPEN_LICENSES[drive.license].url, "rel": "license"},
        ],
        "providers": [{"name": drive.creator, "roles": ["producer"]}],
        "stac_version": "1.0.0",
        "stats:items": {"count": len(shots)},
        "title": drive.name,
        "type": "Collection",
        "updated": _created(drive).isoformat(),
    }
