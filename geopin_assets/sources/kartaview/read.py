"""Reading KartaView's answers: status codes, pages, photos and where their images are.

Here: pure parsing; every scalar may be a string, a number or null. Not here: asking.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from geopin_assets.capture import Capture, Reason, Rejected, in_turn
from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer
from geopin_assets.sources import fields

NAME = "kartaview"
HOMEPAGE = "https://kartaview.org"
LICENSE = "CC-BY-SA-4.0"
ATTRIBUTION = "© Grab and KartaView contributors, CC BY-SA 4.0"
IMAGES = "https://{storage}.openstreetcam.org/{path}"
CDN = "https://cdn.kartaview.org/pr:sharp/"

_ANSWERED = {600, 601}  # 601: done, and empty
_BACK_PRESSURE = {690, 408}
_TEMPORARY = {429, 500, 502, 503, 504}
_IMAGE_NAME = re.compile(r"(?P<storage>storage\d{1,3})/(?P<path>files/photo/(?:\w[\w-]*+/){1,8}\w[\w.-]*)", re.ASCII)


class Refused(GeoPinError):
    """The server is overloaded by the area asked for: wait, ask again, then ask for less at a time."""


@dataclass(frozen=True, slots=True)
class Page:
    """Photos of one page, unchecked, and how many there are on all pages."""

    photos: list[Any]
    total: int


def judge(answer: Answer) -> GeoPinError | None:
    """What an answer's own code says, whatever its HTTP status; None leaves it to the status."""
    if answer.status not in (200, 400):
        return None
    try:
        status = fields.mapping(fields.mapping(answer.json()).get("status"))
    except GeoPinError:
        return None
    code = fields.whole(status.get("apiCode"))
    said = f"apiCode {code} {fields.text(status.get('apiMessage')) or ''}".rstrip()
    if code in _BACK_PRESSURE:
        return Refused(said)
    if code in _TEMPORARY:
        return TransientError(said)
    if answer.status == 200 and code is not None and code not in _ANSWERED:
        return PermanentError(f"answered 200 with {said}")
    return None


def parse_page(answer: Any, where: str) -> Page:
    """Understand a page of a listing. Raises PayloadError, saying `where`, for another shape."""
    answer = fields.mapping(answer)
    photos, total = answer.get("currentPageItems"), answer.get("totalFilteredItems")
    if isinstance(total, list):
        total = total[0] if total else 0
    count = fields.whole(total)
    if not isinstance(photos, list) or count is None:
        raise PayloadError(f"{where}: a page without a list of photos and their number")
    return Page(photos, count)


def place_of(photo: Any) -> tuple[float, float] | None:
    """(lon, lat) of a photo, None if it has no usable one."""
    photo = fields.mapping(photo)
    return fields.position(photo.get("lng"), photo.get("lat"))


@fields.rejecting
def parse_photo(photo: Any, bbox: Bbox, now: datetime, images: str = IMAGES) -> Capture | Rejected:
    """Understand one photo that was returned for a box. `images`: see `image_url`."""
    photo = fields.mapping(photo)
    id_ = fields.source_id(photo.get("id"))
    if id_ is None:
        return Rejected(Reason.BAD_ID if "id" in photo else Reason.MALFORMED, str(photo.get("id"))[:200])
    place = place_of(photo)
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, id_)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, id_)
    is_pano, heading = _is_pano(photo), fields.number(photo.get("heading"))
    image = _best_image(photo, is_pano, images)
    if image is None:
        return Rejected(Reason.NO_IMAGE, id_)
    sequence_id = fields.source_id(photo.get("sequence_id"))
    return Capture(
        source=NAME,
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=fields.plausible(fields.instant(photo.get("shot_date")), now),
        heading_deg=None if heading == -1 else fields.heading_deg(heading),  # as devices without a compass say
        is_pano=is_pano,
        sequence_id=sequence_id,
        creator=fields.text(photo.get("username")),
        license=LICENSE,
        attribution=ATTRIBUTION,
        page_url=_page_url(sequence_id, fields.whole(photo.get("sequence_index"))),
        image_url=image,
        image_version="",
        payload=fields.payload(photo),
    )


def image_url(name: Any, images: str = IMAGES) -> str | None:
    """Where the image of a name like `storage13/files/photo/2024/6/23/lth/….jpg` is, or None for any other name.

    `images` is the address with `{storage}` and `{path}` in it, or CDN: its proxy takes the storage's address
    in base64. Only plain names are taken, so that none leads to another host.
    """
    match = _IMAGE_NAME.fullmatch(name) if isinstance(name, str) and len(name) <= fields.MAX_TEXT_CHARS else None
    if match is None:
        return None
    if images == CDN:
        return CDN + base64.urlsafe_b64encode(IMAGES.format(**match.groupdict()).encode()).decode().rstrip("=")
    return images.format(**match.groupdict())


def _is_pano(photo: Mapping[str, Any]) -> bool:
    """Whether an image is a full sphere: not half of one, nor one whose images are the flat part in front of it."""
    if fields.whole(photo.get("is_unwrapped")) == 1:
        return False
    if field_of_view := fields.whole(photo.get("field_of_view")):
        return field_of_view == 360
    return (fields.text(photo.get("projection")) or "").upper() == "SPHERE"


def _best_image(photo: Mapping[str, Any], is_pano: bool, images: str) -> str | None:
    """The large thumbnail, then the full image, as one of both may be gone; the other way round for a panorama, which
    is cut into views. Originals are rarely public: only where there is nothing else."""
    order = ("proc_name", "name", "lth_name") if is_pano else ("lth_name", "proc_name", "name")
    names = [str(photo[key]) for key in order if image_url(photo.get(key))]
    public = [name for name in names if "/ori/" not in name] or names
    urls = list(filter(None, (image_url(name, images) for name in dict.fromkeys(public))))
    return in_turn(*urls[:2]) if urls else None


def _page_url(sequence_id: str | None, index: int | None) -> str:
    if sequence_id is None or index is None:
        return HOMEPAGE
    return f"{HOMEPAGE}/details/{quote(sequence_id, safe='')}/{index}/track-info"
