"""One file page of Commons: what of it counts, and why it may not; its free text made plain.

Here: pure parsing: HTML to text, the one moment a date field tells, license, author, image. Not here: pages in parts
and errors (`answers.py`), what shows a street (`streets.py`).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, timezone
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.licenses import license_of_url, open_license
from geopin_assets.sources import fields
from geopin_assets.sources.wikimedia_commons.streets import Picture, other_subject

EARLIEST = datetime(1860, 1, 1, tzinfo=UTC)  # people wrote these dates; before it no exposure was short enough
_MAX_HTML_CHARS = 10_000
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_INLINE = {"a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "s", "small", "span", "strong"} | {
    *("sub", "sup", "time", "tt", "u")
}
_UNSEEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("january januari jan", "february februari feb", "march maart mar mrt", "april apr", "may mei"),
            *("june juni jun", "july juli jul", "august augustus aug", "september sep sept"),
            *("october oktober oct okt", "november nov", "december dec"),
        ),
        start=1,
    )
    for name in names.split()
}
_ZONE = r"(?:\s*(?P<zone>Z|\(?UTC\)?|[+-]\d{2}:?\d{2})(?!\w))?"
_CLOCK = rf"(?:[T,\s]*(?:at\s+|om\s+)?(?P<h>\d{{1,2}}):(?P<m>\d{{2}})(?::(?P<s>\d{{2}})(?:\.\d+)?)?{_ZONE})?"
_NUMBERS = re.compile(rf"(?<![\d-])(?P<year>\d{{4}})[-:](?P<month>\d{{2}})[-:](?P<day>\d{{2}})(?![\d-]){_CLOCK}")
_WORDS = re.compile(
    rf"(?<!\d)(?P<day>\d{{1,2}})\.?\s+(?P<month>{'|'.join(_MONTHS)})\.?\s+(?P<year>\d{{4}})(?!\d){_CLOCK}",
    re.IGNORECASE,
)
_NOT_THE_SHUTTER = re.compile(
    r"(?<!\w)(?:upload\w*|published|scanned|before|after|between|until|circa|c|ca|voor|vóór|na|tussen|tot|gescand)(?!\w)",
    re.IGNORECASE,
)
THUMB_WIDTH, SPHERE_THUMB_WIDTH = 960, 3840  # of the standard widths 20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920 …
UNKNOWN = "unknown author"
_LICENSES = {
    "cc0": "CC0-1.0",
    "cc-zero": "CC0-1.0",
    "cc-pd": "PDM-1.0",
    "pd": "PDM-1.0",
    "pdm": "PDM-1.0",
    "public domain": "PDM-1.0",
    "public domain mark": "PDM-1.0",
    "cc-by-sa-3.0-migrated": "CC-BY-SA-3.0",  # from the GFDL, in 2009
    "cc-by-sa-3.0-migrated-with-disclaimers": "CC-BY-SA-3.0",
}
_NOBODY = re.compile(
    r"unknown(?: author| photographer)?|author unknown|not provided|anonymous|anoniem|onbekend(?:e .+)?|n/?a", re.I
)
_OWN_WORK = re.compile(r"own work|eigen werk|self[- ]photographed|zelfgemaakt.*", re.I)
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
    """A page with the address of its thumbnail, as another answer gave it."""
    url = _info(thumbnail).get("thumburl")
    return page if url is None else {**page, "imageinfo": [{**_info(page), "thumburl": url}]}


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
    if subject := other_subject(picture):
        return Rejected(Reason.NOT_STREET_LEVEL, f"{id_} ({subject}) {title}"[:200])
    license_id = _license(info)
    if license_id is None:
        return Rejected(Reason.LICENSE_NOT_OPEN, name)
    image_url = _image_url(info, picture)
    if image_url is None:
        return Rejected(Reason.NO_IMAGE, name)
    return Capture(
        source="wikimedia_commons",
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=moment(_metadata(info, "DateTimeOriginal"), now),
        heading_deg=None,
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
    """The open license of a file: by its address, else by its name; None if the address says another."""
    if url := plain(_metadata(info, "LicenseUrl")):
        if id_ := license_of_url(url):
            return id_
        if "creativecommons.org" in url:
            return None  # of another country or version, or not open; the name says no more
    names = [plain(_metadata(info, key)) for key in ("License", "LicenseShortName")]
    spellings = [name.casefold() for name in names if name]
    known = (_LICENSES.get(name) or open_license(name.replace(" ", "-")) for name in spellings)
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


def plain(value: Any) -> str | None:
    """What a reader sees of a piece of HTML, at most 500 characters; None for nothing and for what is no text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    parser = _Text()
    try:
        parser.feed(value[:_MAX_HTML_CHARS])
        parser.close()
    except AssertionError:  # html.parser's way of refusing broken declarations
        return None
    return fields.text("".join(parser.parts))


class _Text(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden_tags = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self._space(tag)
        elif self._hidden_tags or tag in ("script", "style") or _UNSEEN.search(dict(attrs).get("style") or ""):
            self._hidden_tags += 1
        else:
            self._space(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_tags:
            self._hidden_tags -= tag not in _VOID
        else:
            self._space(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._space(tag)

    def handle_data(self, data: str) -> None:
        if not self._hidden_tags:
            self.parts.append(data)

    def _space(self, tag: str) -> None:
        if tag not in _INLINE:
            self.parts.append(" ")


def moment(value: Any, now: datetime) -> datetime | None:
    """The shutter time that a date field tells, UTC: one day, with or without a time of day, in Dutch time.

    None for a month or a year, for several days, for "before", "circa" or the day of upload, and for clocks that were
    never set. A day without a time is noon of it.
    """
    text = plain(value)
    if text is None or _NOT_THE_SHUTTER.search(text):
        return None
    times = {_time(match) for match in (*_NUMBERS.finditer(text), *_WORDS.finditer(text))}
    if len(times) != 1 or (found := times.pop()) is None:
        return None
    is_unset = found < fields.EARLIEST and found.astimezone(fields.DUTCH_TIME).timetuple()[1:3] == (1, 1)
    return None if is_unset else fields.plausible(found, now, EARLIEST)


def _time(match: re.Match[str]) -> datetime | None:
    month = match["month"].casefold()
    try:
        day = datetime(int(match["year"]), _MONTHS.get(month) or int(month), int(match["day"]), tzinfo=UTC)
        clock = time(int(match["h"]), int(match["m"]), int(match["s"] or 0)) if match["h"] else time(12)
        return datetime.combine(day, clock, _zone(match["zone"])).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(stated: str | None) -> ZoneInfo | timezone:
    if not stated:
        return fields.DUTCH_TIME
    if stated[0] not in "+-":
        return UTC
    offset = timedelta(hours=int(stated[1:3]), minutes=int(stated[-2:]))
    return timezone(offset if stated[0] == "+" else -offset)
