"""What people write into a table: numbers, degrees, times, coordinates of other systems, each understood or None.

Here: decimal commas, degrees with minutes and hemispheres, the forms of dates that spreadsheets, cameras and programs
write, RD New and other systems through PROJ. Not here: which column a cell stands in (`table.py`), what EXIF says.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from math import isfinite

from geopin_assets.sources import fields

RD_NEW = "EPSG:28992"
_RD_X, _RD_Y = (-7_000, 300_000), (289_000, 629_000)
"""Meters; no x is a y."""
_SYSTEMS = {
    "rd": RD_NEW, "rdnew": RD_NEW, "rdnieuw": RD_NEW, "rijksdriehoek": RD_NEW, "amersfoortrdnew": RD_NEW,
    "wgs84": "EPSG:4326", "wgs": "EPSG:4326", "gps": "EPSG:4326", "etrs89": "EPSG:4258", "etrs": "EPSG:4258",
}  # fmt: skip
_EPSG = re.compile(r"(?:epsg)?(\d{4,6})")
_LONGEST = 60
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[. ']\d{3}){1,6}(?:,\d{0,20})?|[+-]?\d{1,3}(?:[, ']\d{3}){1,6}\.\d{0,20}")
_PLAIN = re.compile(r"[+-]?\d{0,20}(?:[.,]\d{0,25})?(?:[eE][+-]?\d{1,3})?")
_BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-", "\u2019": "'"})
_PART = re.compile(r"\d{1,10}(?:[.,]\d{1,15})?")
_OF_DEGREES = frozenset(("deg", "degrees", "graden", "min", "minutes", "sec", "seconds", "d", "m", "s"))
_IN_DEGREES = frozenset("0123456789abcdefghijklmnopqrstuvwxyz °º'\"′″´:.,+-")
_HEMISPHERES = {
    "n": 1, "north": 1, "noord": 1, "s": -1, "south": -1, "z": -1, "zuid": -1,
    "e": 1, "east": 1, "o": 1, "oost": 1, "w": -1, "west": -1,
}  # fmt: skip
_NORTHERN = frozenset(("n", "north", "noord", "s", "south", "z", "zuid"))
_SEPARATED = r"(?:[T_ ,]{1,3}(.{1,40}))?"
_DAY_FIRST = re.compile(rf"(\d{{1,2}})([-/. ])(\d{{1,2}})\2(\d{{4}}){_SEPARATED}")
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-:/._ ])(\d{{1,2}})\2(\d{{1,2}}){_SEPARATED}")
_CLOCK = re.compile(
    r"(\d{1,2})[:._](\d{2})(?:[:._](\d{2})(?:[.,_](\d{1,9}))?)? {0,2}([apAP][mM])? {0,2}"
    r"(Z|z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?"
)
_OFFSET = re.compile(r"([+-])(\d{1,2}):?(\d{2})?")
_SECONDS, _MILLISECONDS, _SPREADSHEET_DAYS = (10**9, 10**10), (10**12, 10**13), (30_000, 80_000)
_SPREADSHEET_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001
_DIGITS = re.compile(r"\d{1,14}(?:[.,]\d{1,12})?")


def number(text: str) -> float | None:
    """Of `52.365`, `52,365`, `121.700,50` or `121 700.5`; a comma or point that may group or not is a decimal one."""
    text = text.translate(_BLANKS).strip()
    if len(text) > _LONGEST:
        return None
    if _GROUPED.fullmatch(text) and not _PLAIN.fullmatch(text):
        decimal = max(text.rfind(","), text.rfind(".")) if "," in text else -1
        whole = re.sub(r"[., ']", "", text[:decimal] if decimal >= 0 else text)
        return fields.number(f"{whole}.{text[decimal + 1 :]}" if decimal >= 0 else whole)
    return fields.number(text.replace(",", ".")) if _PLAIN.fullmatch(text) else None


def degrees(text: str, *, is_lat: bool) -> float | None:
    """Of a number, or of degrees, minutes and seconds with a hemisphere as ExifTool and people write them."""
    text = text.translate(_BLANKS).strip()
    if len(text) > _LONGEST:
        return None
    plain = number(text.removesuffix("°"))
    if plain is not None:
        return plain
    words = re.sub(r"[^a-z]", " ", text.lower()).split()
    if set(text.lower()) - _IN_DEGREES:
        return None
    sides = [word for word in words if word in _HEMISPHERES and not (word == "s" and "m" in words)]
    if len(sides) > 1 or not set(words) <= _OF_DEGREES | set(sides):
        return None
    if sides and ((sides[0] in _NORTHERN) != is_lat or "-" in text):
        return None
    parts = [number(part) for part in _PART.findall(text)]
    if not 1 <= len(parts) <= 3 or any(part is None or (place and part >= 60) for place, part in enumerate(parts)):
        return None
    if any(part is not None and not part.is_integer() for part in parts[:-1]):
        return None  # 52.365 and 4.9 in one cell
    size = sum(part / 60**place for place, part in enumerate(parts) if part is not None)
    return -size if text.startswith("-") or (sides and _HEMISPHERES[sides[0]] < 0) else size


def heading_deg(text: str) -> float | None:
    """Degrees to true north; -1 is how many programs write that they do not know."""
    found = number(text.strip().removesuffix("°"))
    return None if found is None or found == -1 or not -180 <= found <= 450 else fields.heading_deg(found)


def is_rd_new(x: float, y: float) -> bool:
    """Whether two numbers are x and y of Amersfoort / RD New by their size."""
    return _RD_X[0] <= x <= _RD_X[1] and _RD_Y[0] <= y <= _RD_Y[1]


def system(text: str) -> str | None:
    """`EPSG:28992` of `RD`, `rd new`, `28992`, …; None for what is no name of a system of coordinates."""
    plain = re.sub(r"[^a-z0-9]", "", text[:_LONGEST].lower())
    code = _EPSG.fullmatch(plain)
    return f"EPSG:{int(code[1])}" if code else _SYSTEMS.get(plain)


def on_earth(x: float, y: float, crs: str) -> tuple[float, float] | None:
    """(lon, lat), degrees WGS84, of coordinates of a system (`EPSG:…`): x is what grows to the east, however it says.

    None for a system that PROJ does not know, and for what lies far from where it is used.
    """
    transform = _transform(crs)
    return transform(x, y) if transform else None


@cache
def _transform(crs: str) -> Callable[[float, float], tuple[float, float] | None] | None:
    from pyproj import CRS, Transformer  # 0.2 s, and few tables need it
    from pyproj.exceptions import CRSError

    try:
        known = CRS.from_user_input(crs)
        transformer = Transformer.from_crs(known, "EPSG:4326", always_xy=True)
    except CRSError:
        return None
    used = known.area_of_use

    def transform(x: float, y: float) -> tuple[float, float] | None:
        lon, lat = transformer.transform(x, y)
        if not (isfinite(lon) and isfinite(lat)):
            return None
        is_far = used and not (
            used.west - 0.1 <= lon <= used.east + 0.1 and used.south - 0.1 <= lat <= used.north + 0.1
        )
        return None if is_far else fields.position(lon, lat)

    return transform


def puts_day_first(text: str) -> bool | None:
    """Whether `13/6/2024` does; None for `6/6/2024`, which does not tell, and for other forms."""
    found = _DAY_FIRST.fullmatch(text.strip()[:_LONGEST])
    if found is None or found[2] != "/" or (int(found[1]) > 12) == (int(found[3]) > 12):
        return None
    return int(found[1]) > 12


def instant(text: str, *, zone: tzinfo, day_first: bool | None) -> datetime | None:
    """UTC. `zone` is for times that state none, `day_first` for dates with slashes (None: they are not understood).

    A day without a time is its noon; a number is seconds or milliseconds since 1970, or days as spreadsheets count.
    """
    text = text.translate(_BLANKS).strip()
    if len(text) > _LONGEST:
        return None
    try:
        if _DIGITS.fullmatch(text) and (counted := _counted(text, zone)):
            return counted
        if found := _DAY_FIRST.fullmatch(text):
            first, second = int(found[1]), int(found[3])
            if found[2] == "/" and day_first is None:
                return None
            day, month = (first, second) if day_first or found[2] != "/" else (second, first)
            return _at(int(found[4]), month, day, found[5], zone)
        if found := _YEAR_FIRST.fullmatch(text):
            return _at(int(found[1]), int(found[3]), int(found[4]), found[5], zone)
        return fields.instant(text, zone=zone)
    except (ValueError, OverflowError):
        return None


def _counted(text: str, zone: tzinfo) -> datetime | None:
    size = number(text) or 0.0
    if _SPREADSHEET_DAYS[0] <= size < _SPREADSHEET_DAYS[1]:
        seconds = round(size * 86_400)  # a spreadsheet's fractions are that exact
        return (_SPREADSHEET_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=zone).astimezone(UTC)
    if _SECONDS[0] <= size < _SECONDS[1]:
        return datetime.fromtimestamp(size, UTC)
    if _MILLISECONDS[0] <= size < _MILLISECONDS[1]:
        return datetime.fromtimestamp(size / 1000, UTC)
    if len(text) in (8, 14) and text.isdecimal():
        clock = f"{text[8:10]}:{text[10:12]}:{text[12:14]}" if len(text) == 14 else None
        return _at(int(text[:4]), int(text[4:6]), int(text[6:8]), clock, zone)
    return None


def _at(year: int, month: int, day: int, clock: str | None, zone: tzinfo) -> datetime | None:
    found = _CLOCK.fullmatch((clock or "12:00").strip())
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if found[5]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[5].lower() == "pm" else 0)
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    offset = _zone(found[6], zone)
    if offset is None:
        return None
    passed = timedelta(
        hours=hour, minutes=minute, seconds=second, microseconds=int((found[4] or "0").ljust(6, "0")[:6])
    )
    return (datetime(year, month, day) + passed).replace(tzinfo=offset).astimezone(UTC)  # noqa: DTZ001


def _zone(text: str | None, otherwise: tzinfo) -> tzinfo | None:
    if text is None:
        return otherwise
    found = _OFFSET.fullmatch(text)
    if found is None:
        return UTC
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    if ahead > timedelta(hours=14):
        return None
    return timezone(ahead if found[1] == "+" else -ahead)
