"""Reading Flickr: errors that come with status 200, pages of a search, the table of licenses, and one photo.

Here: pure parsing: which errors another attempt may cure, what of a photo counts, and why it may not. Not here: asking.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer, KeyRefused
from geopin_assets.licenses import is_restricted, license_of_url, open_license
from geopin_assets.sources import fields

_BAD_KEY, _UNAVAILABLE = 100, (0, 10, 105, 106, 201)
_PASSING = re.compile(r"not currently available|unavailable|temporar|try again|timed? ?out", re.IGNORECASE)
"""Said with status 400 or 418 as well."""
_NAMES = {
    "attribution license": "CC-BY-2.0",
    "attribution-sharealike license": "CC-BY-SA-2.0",
}  # the others state their version
_RESERVED = re.compile(r"reserved|restrictions|government", re.IGNORECASE)
EXTRAS = "geo,license,date_taken,date_upload,last_update,owner_name,url_m,url_l,o_dims,tags"
STREET_LEVEL, INDOORS = 16, 1
_KEPT = (
    *("accuracy", "context", "datetaken", "datetakengranularity", "datetakenunknown", "dateupload", "id"),
    *("latitude", "license", "longitude", "o_height", "o_width", "owner", "ownername", "tags", "title"),
    *("woeid",),
)  # no addresses and no secrets of image files, nothing that changes with every comment


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search, its records unchecked. `total` and `pages` are of the whole query."""

    records: list[Any]
    total: int
    pages: int


def judge(answer: Answer) -> GeoPinError | None:
    """The error in an answer with status 200 that says `stat: fail`, or in a refusal that is an outage."""
    if answer.status in (400, 418) and _PASSING.search(answer.excerpt):
        return TransientError(f"answered {answer.status} {answer.excerpt}")
    if answer.status != 200:
        return None
    body = fields.mapping(answer.json())
    if body.get("stat") != "fail":
        return None
    code, said = fields.whole(body.get("code")), fields.text(body.get("message")) or "no message"
    if code == _BAD_KEY:
        return KeyRefused(f"GEOPIN_FLICKR_API_KEY is not accepted: {said}")
    error = TransientError if code in _UNAVAILABLE or _PASSING.search(said) else PermanentError
    return error(f"failed with code {code}: {said}")


def parse_page(answer: Any) -> Page:
    """Raises PayloadError for another shape. Where nothing is found, numbers may be empty texts."""
    photos = fields.mapping(_succeeded(answer).get("photos"))
    records, stated = photos.get("photo"), [photos.get(name) for name in ("total", "pages")]
    total, pages = (0 if records == [] and number == "" else fields.whole(number) for number in stated)
    if not isinstance(records, list) or total is None or pages is None:
        raise PayloadError("flickr: a page without photos, their total and the number of pages")
    return Page(records, total, pages)


def parse_licenses(answer: Any) -> dict[str, str]:
    """Flickr's number of each open license -> our id. Raises PayloadError for another shape or if none is open."""
    listed = fields.mapping(_succeeded(answer).get("licenses")).get("license")
    rows = [fields.mapping(row) for row in listed] if isinstance(listed, list) else []
    table = {id_: ours for row in rows if (id_ := fields.source_id(row.get("id"))) and (ours := _license(row))}
    if not table:
        raise PayloadError(f"flickr: no open license in a table of {len(rows)}")
    return table


def _license(row: Mapping[str, Any]) -> str | None:
    """Our id of a row, by the address of the license, or by its name where there is no address."""
    name, url = fields.text(row.get("name")) or "", fields.text(row.get("url"))
    if _RESERVED.search(name) or is_restricted(name):
        return None
    return license_of_url(url) if url else _NAMES.get(name.casefold()) or open_license(name)


def _succeeded(answer: Any) -> Mapping[str, Any]:
    answer = fields.mapping(answer)
    if answer.get("stat") != "ok":
        raise PayloadError("flickr: an answer that does not say whether it succeeded")
    return answer


def place_of(record: Any) -> tuple[float, float] | None:
    """(lon, lat) of a photo."""
    record = fields.mapping(record)
    return fields.position(record.get("longitude"), record.get("latitude"))


@fields.rejecting
def parse_photo(record: Any, bbox: Bbox, licenses: Mapping[str, str], now: datetime) -> Capture | Rejected:
    """Understand one photo that was found for a box; `licenses`: Flickr's number of each open one -> our id."""
    record = fields.mapping(record)
    id_ = fields.source_id(record.get("id"))
    name = id_ or (fields.text(str(record.get("id"))) or "")
    owner, place = fields.source_id(record.get("owner")), place_of(record)
    license_number = fields.source_id(record.get("license"))
    license_id = licenses.get(license_number or "")
    accuracy = fields.number(record.get("accuracy"))
    image_url = fields.web_url(record.get("url_l")) or fields.web_url(record.get("url_m"))
    if id_ is None:
        return Rejected(Reason.BAD_ID if "id" in record else Reason.MALFORMED, name)
    if license_number is None or accuracy is None:  # both were asked for: a format that changed is no closed license
        return Rejected(Reason.MALFORMED, name)
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, name)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, name)
    if accuracy < STREET_LEVEL:
        return Rejected(Reason.NO_POSITION, name)
    if fields.number(record.get("context")) == INDOORS:
        return Rejected(Reason.NOT_STREET_LEVEL, name)
    if license_id is None:
        return Rejected(Reason.LICENSE_NOT_OPEN, name)
    if image_url is None:
        return Rejected(Reason.NO_IMAGE, name)
    if owner is None:
        return Rejected(Reason.NO_ATTRIBUTION, name)
    creator = fields.text(record.get("ownername"))
    return Capture(
        source="flickr",
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=_captured_at(record, now),
        heading_deg=None,
        is_pano=False,
        sequence_id=None,
        creator=creator,
        license=license_id,
        attribution=_attribution(fields.text(record.get("title")), creator or owner, license_id),
        page_url=f"https://www.flickr.com/photos/{quote(owner, safe='@')}/{quote(id_, safe='')}",
        image_url=image_url,
        image_version=fields.source_id(record.get("lastupdate")) or "",
        payload=fields.payload({key: record[key] for key in _KEPT if key in record}),
    )


def _captured_at(record: Mapping[str, Any], now: datetime) -> datetime | None:
    """Dutch local time of the camera, if it is known to the second; a month or a year is no shutter time."""
    is_exact = fields.number(record.get("datetakengranularity", 0)) == 0
    is_known = fields.number(record.get("datetakenunknown", 0)) == 0
    taken = fields.instant(record.get("datetaken"), zone=fields.DUTCH_TIME)
    return fields.plausible(taken, now) if is_exact and is_known else None


def _attribution(title: str | None, creator: str, license_id: str) -> str:
    """Title, author, source and license, as Creative Commons recommends."""
    work = f'"{title}" by {creator}' if title else creator
    return f"{work} on Flickr, {license_id}"
