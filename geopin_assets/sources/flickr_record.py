"""One photo of a Flickr search: what of it counts, and why it may not.

Here: pure parsing. Not here: pages, licenses and errors (`flickr_answer.py`), asking (`flickr.py`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.sources import fields

EXTRAS = "geo,license,date_taken,date_upload,last_update,owner_name,url_m,url_l,o_dims,tags"
STREET_LEVEL, INDOORS = 16, 1
_DUTCH_TIME = ZoneInfo("Europe/Amsterdam")
_KEPT = (
    "accuracy",
    "context",
    "datetaken",
    "datetakengranularity",
    "datetakenunknown",
    "dateupload",
    "id",
    "latitude",
    "license",
    "longitude",
    "o_height",
    "o_width",
    "owner",
    "ownername",
    "tags",
    "title",
    "woeid",
)  # no addresses and no secrets of image files, nothing that changes with every comment


def record_key(record: Any) -> str:
    """What makes a photo the same when it is returned twice: its id, else its whole content."""
    id_ = fields.source_id(fields.mapping(record).get("id"))
    return id_ if id_ is not None else f"~{fields.payload({'record': record})}"


def place_of(record: Any) -> tuple[float, float] | None:
    """(lon, lat) of a photo."""
    record = fields.mapping(record)
    return fields.position(record.get("longitude"), record.get("latitude"))


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
    taken = fields.instant(record.get("datetaken"), zone=_DUTCH_TIME)
    return fields.plausible(taken, now) if is_exact and is_known else None


def _attribution(title: str | None, creator: str, license_id: str) -> str:
    """Title, author, source and license, as Creative Commons recommends."""
    work = f'"{title}" by {creator}' if title else creator
    return f"{work} on Flickr, {license_id}"
