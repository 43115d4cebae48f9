"""One file page of Commons: what of it counts, and why it may not.

Here: pure parsing. Not here: pages in parts and errors (`answers.py`), what shows a street (`streets.py`), free text
(`text.py`), wikitext (`location.py`).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from geopin_assets.capture import Capture, HeadingFrom, Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.licenses import is_restricted, license_of_url, open_license
from geopin_assets.sources import fields
from geopin_assets.sources.wikimedia_commons.location import camera_heading_deg
from geopin_assets.sources.wikimedia_commons.streets import Picture, other_subject
from geopin_assets.sources.wikimedia_commons.text import moment, plain

THUMB_WIDTH, SPHERE_THUMB_WIDTH = 960, 3840  # of the standard widths 20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920 …
UNKNOWN = "unknown author"
_PUBLIC_DOMAIN = frozenset({"cc-pd", "pd", "public domain"})
_NOBODY = re.compile(
    r"unknown(?: author| photographer)?|author unknown|not provided|anonymous|anoniem|onbekend(?:e .++)?|n/?a", re.I
)
_OWN_WORK = re.compile(r"own work|eigen werk|self[- ]photographed|zelfgemaakt.*", re.I)
_NO = ("", "0", "false", "no")
_KEPT = ("timestamp", "user", "size", "width", "height", "mime", "sha1", "url")
_KEPT_EXTMETADATA = ("Categories", "Credit", "DateTimeOriginal", "License", "LicenseShortName", "Restrictions")


def place_of(page: Any) -> tuple[float, float] | None:
    """(lon, lat) of the camera: the primary position on Earth."""
    listed = fields.mapping(page).get("coordinates")
    for coordinates in listed if isinstance(listed, list) else []:
        one = fields.mapping(coordinates)
        if one.get("primary", True) is True and one.get("globe", "earth") == "earth":
            return fields.position(one.get("lon"), one.get("lat"))
    return None


def missing_width(page: Any, bbox: Bbox, now: datetime) -> int | None:
    """The width of the thumbnail that a page lacks, if that is all it lacks."""
    result = parse_page(page, bbox, now)
    if isinstance(result, Capture) or result.reason is not Reason.NO_IMAGE or not _info(page):
        return None
    picture = _picture(fields.mapping(page))
    return None if picture is None else _thumb_width(picture)


def with_thumbnail(page: Any, thumbnail: Any) -> Any:
    """A page with the address of its thumbnail, and its wikitext, as another answer gave them."""
    url = _info(thumbnail).get("thumburl")
    if url is None:
        return page
    found = {"revisions": thumbnail["revisions"]} if "revisions" in thumbnail else {}
    return {**page, "imageinfo": [{**_info(page), "thumburl": url}], **found}


@fields.rejecting
def parse_page(page: Any, bbox: Bbox, now: datetime) -> Capture | Rejected:
    """Understand one page that was found for a box."""
    page = fields.mapping(page)
    id_, title = fields.source_id(page.get("pageid")), fields.text(page.get("title"))
    name = f"{id_} {title}"[:200]
    place, info, picture = place_of(page), _info(page), _picture(page)
    if id_ is None:
        return Rejected(Reason.BAD_ID if "pageid" in page else Reason.MALFORMED, title or "")
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, name)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, name)
    if not info:
        return Rejected(Reason.NO_IMAGE, name)
    if picture is None or not _says_anything(info):
        return Rejected(Reason.MALFORMED, name)
    if doubt := _doubt(info):
        return Rejected(Reason.LICENSE_NOT_OPEN, f"{id_} ({doubt}) {title}"[:200])
    if subject := other_subject(picture):
        return Rejected(Reason.NOT_STREET_LEVEL, f"{id_} ({subject}) {title}"[:200])
    license_id = _license(info)
    if license_id is None:
        return Rejected(Reason.LICENSE_NOT_OPEN, name)
    image_url, heading_deg = _image_url(info, picture), camera_heading_deg(_wikitext(page))
    if image_url is None:
        return Rejected(Reason.NO_IMAGE, name)
    return Capture(
        source="wikimedia_commons",
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=moment(_metadata(info, "DateTimeOriginal"), now),
        heading_deg=heading_deg,
        heading_from=None if heading_deg is None else HeadingFrom.OWNER,
        is_pano=picture.is_sphere,
        sequence_id=None,
        creator=_creator(info),
        license=license_id,
        attribution=f"{_credited(info)}, {license_id}, via Wikimedia Commons",
        page_url=fields.web_url(info.get("descriptionurl")) or f"https://commons.wikimedia.org/?curid={id_}",
        image_url=image_url,
        image_version=fields.source_id(info.get("sha1")) or fields.source_id(info.get("timestamp")) or "",
        payload=fields.payload(_kept(page, info)),
    )


def _info(page: Any) -> Mapping[str, Any]:
    """The current version of the file: the first."""
    versions = fields.mapping(page).get("imageinfo")
    return fields.mapping(versions[0]) if isinstance(versions, list) and versions else {}


def _wikitext(page: Mapping[str, Any]) -> Any:
    """The text of the page as its authors write it."""
    revisions = page.get("revisions")
    newest = fields.mapping(revisions[0]) if isinstance(revisions, list) and revisions else {}
    return fields.mapping(fields.mapping(newest.get("slots")).get("main")).get("content", newest.get("content"))


def _doubt(info: Mapping[str, Any]) -> str | None:
    """Why a file may not stay, whatever license it states."""
    if (plain(_metadata(info, "NonFree")) or "").casefold() not in _NO:
        return "not free"
    reason = plain(_metadata(info, "DeletionReason"))
    return f"to be deleted: {reason[:100]}" if reason else None


def _metadata(info: Mapping[str, Any], key: str) -> Any:
    return fields.mapping(fields.mapping(info.get("extmetadata")).get(key)).get("value")


def _says_anything(info: Mapping[str, Any]) -> bool:
    """Whether any of the extended metadata can be read; without it nothing is known of the license."""
    return any(_metadata(info, key) is not None for key in fields.mapping(info.get("extmetadata")))


def _picture(page: Mapping[str, Any]) -> Picture | None:
    """None unless title, format and size are all there."""
    info, title = _info(page), fields.text(page.get("title"))
    mime, width, height = fields.text(info.get("mime")), *(fields.number(info.get(k)) for k in ("width", "height"))
    if title is None or mime is None or width is None or height is None:
        return None
    categories, restrictions = (_listed(_metadata(info, key)) for key in ("Categories", "Restrictions"))
    return Picture(title, mime, int(width), int(height), categories, restrictions)


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, value[:10_000].split("|")))) if isinstance(value, str) else ()


def _license(info: Mapping[str, Any]) -> str | None:
    """The open license of a file: by its address, else by its name; None if anything says another."""
    url, *names = (plain(_metadata(info, key)) for key in ("LicenseUrl", "License", "LicenseShortName"))
    if any(map(is_restricted, (url, *names))):
        return None
    if (linked := license_of_url(url)) or "creativecommons.org/licenses" in (url or "").casefold():
        return linked
    known = ("PDM-1.0" if (name or "").casefold() in _PUBLIC_DOMAIN else open_license(name) for name in names)
    return next(filter(None, known), None)


def _creator(info: Mapping[str, Any]) -> str | None:
    """The author; the uploader if it is their own work."""
    artist = plain(_metadata(info, "Artist"))
    if artist and not _NOBODY.fullmatch(artist):
        return artist
    return fields.text(info.get("user")) if _OWN_WORK.fullmatch(plain(_metadata(info, "Credit")) or "") else None


def _credited(info: Mapping[str, Any]) -> str:
    """Who must be named: as the author asks, else the author, else where the file is from."""
    return plain(_metadata(info, "Attribution")) or _creator(info) or plain(_metadata(info, "Credit")) or UNKNOWN


def _thumb_width(picture: Picture) -> int:
    return SPHERE_THUMB_WIDTH if picture.is_sphere else THUMB_WIDTH


def _image_url(info: Mapping[str, Any], picture: Picture) -> str | None:
    """The thumbnail as returned; files no wider than it have none and are taken themselves."""
    if (thumbnail := fields.web_url(info.get("thumburl"))) is not None:
        return thumbnail
    return fields.web_url(info.get("url")) if picture.width <= _thumb_width(picture) else None


def _kept(page: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """The page without what has a column, and without HTML around its texts."""
    texts = {key: plain(_metadata(info, key)) for key in _KEPT_EXTMETADATA}
    return {
        "title": page.get("title"),
        "coordinates": page.get("coordinates"),
        "imageinfo": {key: info[key] for key in _KEPT if key in info},
        "extmetadata": {key: text for key, text in texts.items() if text},
    }
