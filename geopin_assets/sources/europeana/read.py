"""Reading Europeana: errors, pages of a search, and one item.

Here: pure parsing: what of an item counts, and why it may not. Not here: asking.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer, KeyRefused
from geopin_assets.licenses import license_of_url
from geopin_assets.sources import fields

_KEY_CODES = ("400-AM", "401", "403", "410")  # 400-AM: no key; 410: one that was withdrawn
_GAZETTEERS = re.compile(r"https?://(?:data\.europeana\.eu/place|(?:sws|www)\.geonames\.org|www\.wikidata\.org)/")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_KEY_PARAMETERS = {"wskey", "api_key", "apikey", "utm_source", "utm_medium", "utm_campaign"}  # campaign is the key
_KEPT = (
    *("country", "dataProvider", "dcCreator", "edmDatasetName", "edmPlace", "edmPlaceLatitude"),
    *("edmPlaceLongitude", "id", "provider", "rights", "title", "type", "year"),
)  # no addresses: they repeat the key


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search, its records unchecked. `total` is of the whole query."""

    records: list[Any]
    total: int
    next_cursor: str | None


def judge(answer: Answer) -> GeoPinError | None:
    """The error in an answer that says `success: false`, whatever its status."""
    body = _body(answer)
    if body.get("success") is not False and answer.status not in (401, 403):
        return None
    code = fields.text(body.get("code")) or str(answer.status)
    said = f"{code}: {fields.text(body.get('error')) or 'no message'}"
    if code.startswith(_KEY_CODES) or answer.status in (401, 403):
        return KeyRefused(f"GEOPIN_EUROPEANA_API_KEY is not accepted: {said}")
    if answer.status == 429 or answer.status >= 500:
        return None  # the usual rules know how long to wait
    return TransientError(said) if code.startswith(("429", "5")) else PermanentError(said)


def parse_page(answer: Any) -> Page:
    """Raises PayloadError for another shape."""
    answer = fields.mapping(answer)
    records, total = answer.get("items"), answer.get("totalResults")
    if answer.get("success") is not True or not isinstance(records, list):
        raise PayloadError("europeana: an answer without success and a list of items")
    if not isinstance(total, int) or isinstance(total, bool):
        raise PayloadError("europeana: a page without the total number of results")
    cursor = answer.get("nextCursor")
    if cursor is not None and not (isinstance(cursor, str) and cursor.isprintable()):
        raise PayloadError("europeana: a next page that cannot be asked for")
    return Page(records, total, cursor or None)


def _body(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of an answer, or an empty one for errors in other words."""
    try:
        return fields.mapping(answer.json())
    except GeoPinError:
        if answer.status == 200:
            raise
        return {}


def has_coordinates(record: Any) -> bool:
    """Whether an item has coordinates at all, of however many places."""
    return all(_coordinates(record))


def place_of(record: Any) -> tuple[float, float] | None:
    """(lon, lat) of an item with exactly one place. Of several nobody says which one is meant."""
    lons, lats = _coordinates(record)
    return fields.position(*lons, *lats) if len(lons) == len(lats) == 1 else None


@fields.rejecting
def parse_item(item: Any, bbox: Bbox, now: datetime, api_key: str = "") -> Capture | Rejected:
    """Understand one item that was found for a box. No address that repeats `api_key` is kept."""
    item = fields.mapping(item)
    id_ = fields.source_id(item.get("id"))
    name = id_ or (fields.text(str(item.get("id"))) or "")
    place, rights = place_of(item), _texts(item.get("rights"))
    licenses = {license_of_url(url) for url in rights}
    license_id = licenses.pop() if len(licenses) == 1 else None
    image_url = _address(item, ("edmIsShownBy", "edmPreview"), api_key)
    credit = list(dict.fromkeys(filter(None, (_creator(item), *_texts(item.get("dataProvider"))[:1]))))
    if id_ is None:
        return Rejected(Reason.BAD_ID if "id" in item else Reason.MALFORMED, name)
    if not rights or not isinstance(item.get("type"), str):
        return Rejected(Reason.MALFORMED, name)
    if _is_vague(item):
        return Rejected(Reason.NO_POSITION, name)
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, name)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, name)
    if item["type"] != "IMAGE":
        return Rejected(Reason.NOT_STREET_LEVEL, name)
    if license_id is None:
        return Rejected(Reason.LICENSE_NOT_OPEN, name)
    if image_url is None:
        return Rejected(Reason.NO_IMAGE, name)
    if not credit:
        return Rejected(Reason.NO_ATTRIBUTION, name)
    return Capture(
        source="europeana",
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=_captured_at(item, now),
        heading_deg=None,
        is_pano=False,
        sequence_id=None,
        creator=_creator(item),
        license=license_id,
        attribution=f"{', '.join(credit)}, via Europeana, {license_id}",
        page_url=_address(item, ("guid", "edmIsShownAt"), api_key) or f"https://www.europeana.eu/item{quote(id_)}",
        image_url=image_url,
        image_version="",
        payload=fields.payload({key: item[key] for key in _KEPT if key in item}),
    )


def _listed(value: Any) -> list[Any]:
    """Every field may be a list or a single value."""
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> list[str]:
    return [text for part in _listed(value) if (text := fields.text(part))]


def _coordinates(record: Any) -> tuple[set[float], set[float]]:
    """Different longitudes and latitudes of an item's places; the two lists need not be in the same order."""
    record = fields.mapping(record)
    return _numbers(record.get("edmPlaceLongitude")), _numbers(record.get("edmPlaceLatitude"))


def _numbers(value: Any) -> set[float]:
    return {number for part in _listed(value) if (number := fields.number(part)) is not None}


def _creator(item: Mapping[str, Any]) -> str | None:
    """The first creator that is a name and not the address of one."""
    return next((text for text in _texts(item.get("dcCreator")) if fields.web_url(text) is None), None)


def _is_vague(item: Mapping[str, Any]) -> bool:
    """Whether it names several places, or one that a vocabulary knows: a city or a region."""
    return max(map(len, _coordinates(item))) > 1 or any(
        _GAZETTEERS.match(place) for place in _texts(item.get("edmPlace"))
    )


def _captured_at(item: Mapping[str, Any], now: datetime) -> datetime | None:
    """The one full date of `year`, at midnight UTC; hardly any item has one."""
    dates = _texts(item.get("year"))
    is_day = len(dates) == 1 and _DAY.fullmatch(dates[0])
    return fields.plausible(fields.instant(dates[0]), now) if is_day else None


def _address(item: Mapping[str, Any], names: tuple[str, ...], api_key: str) -> str | None:
    """The first address among some fields that is one once the key's parameters are cut out."""
    candidates = [part for name in names for part in _listed(item.get(name))]
    return next((clean for part in candidates if (clean := _without_key(fields.web_url(part), api_key))), None)


def _without_key(url: str | None, api_key: str) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    kept = [pair for pair in parts.query.split("&") if pair.split("=")[0].casefold() not in _KEY_PARAMETERS]
    clean = parts._replace(query="&".join(kept))
    is_telling = bool(api_key) and api_key in f"{clean.path}?{clean.query}#{clean.fragment}"
    return None if is_telling else urlunsplit(clean)
