"""Free text of Commons made plain: HTML to text, and the one moment a date field tells, if it tells one.

Here: pure functions over untrusted text. Not here: which field means what (`read.py`).
"""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from html.parser import HTMLParser
from typing import Any

from geopin_assets.sources import fields

EARLIEST = datetime(1860, 1, 1, tzinfo=UTC)  # people wrote these dates; before it no exposure was short enough
_MAX_HTML_CHARS = 10_000
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_INLINE = {"a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "s", "small", "span", "strong"} | {
    *("sub", "sup", "time", "tt", "u")
}
_UNSEEN = re.compile(r"display\s*+:\s*+none", re.IGNORECASE)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *(
                "january januari januar jänner janvier enero gennaio jan",
                "february februari februar février febrero feb",
            ),
            *("march maart märz mars marzo mar mrt", "april avril abril aprile apr", "may mei mai mayo maggio"),
            *("june juni juin junio giugno jun", "july juli juillet julio luglio jul"),
            *("august augustus août agosto aug", "september septembre septiembre settembre sept sep"),
            *("october oktober octobre octubre ottobre oct okt", "november novembre noviembre nov"),
            *("december dezember décembre diciembre dicembre dec dez",),
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})(?!\w)\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|er|e|\.)?"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_FROM = r"(?:(?P<since>\d{1,2})\.?\s{0,2}(?:[-–/&+]|and|en|und|et|to|tot|t/m|bis)\s{0,2})?"
_UNTIL = r"(?:\s{0,2}(?:[-–/&]|and|to)\s{0,2}(?P<until>\d{1,2})(?!\d))?"
_BETWEEN, _OF = r"[\s,./–-]{1,3}", r"(?:[\s,./–-]{1,3}|\s(?:of|de|del|van)\s)"
_DATES = (
    re.compile(
        r"(?<![\d./:-])(?P<year>\d{4})(?P<mark>[-:./])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})(?!\d|[-:./]\d)"
    ),
    re.compile(rf"(?<![\d./:-])(?P<day>\d{{1,2}})(?P<mark>[-./])\s?(?P<month>\d{{1,2}})(?P=mark)\s?{_YEAR}(?![-./]\d)"),
    re.compile(rf"(?<!\d){_FROM}{_DAY}{_OF}{_MONTH}{_OF}{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?<!\w){_MONTH}{_BETWEEN}{_DAY}{_UNTIL}{_BETWEEN}{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?<!\d){_YEAR}{_BETWEEN}{_MONTH}{_BETWEEN}{_DAY}(?!\d)", re.IGNORECASE),
)
"""2019-08-31 · 31-8-2019 · 31 August 2019 · August 31, 2019 · 2019 August 31; also several days of one month."""
_CLOCK = re.compile(
    r"(?<![\d:.,/+-])(?P<h>\d{1,2})(?:(?P<mark>[:.h])(?P<m>\d{2})(?:[:.](?P<s>\d{2})(?:[.,]\d{1,9})?)?)?(?!\d)"
    r"(?:\s{0,2}(?P<half>[ap])\.?\s?m(?!\w)\.?)?(?:\s{0,2}(?P<word>uur|uhr|hrs)(?!\w))?"
    r"(?:\s{0,2}\(?(?P<zone>(?:[a-z]{1,5}(?![a-z]))?(?P<offset>[+−-]\d{1,2}(?::?\d{2})?(?!\d))?))?",
    re.IGNORECASE,
)
_ZONES_H = dict.fromkeys(("Z", "UT", "UTC", "GMT", "WET"), 0) | dict.fromkeys(("CET", "MEZ", "MET", "BST", "WEST"), 1)
_ZONES_H |= dict.fromkeys(("CEST", "MESZ", "EET"), 2)
_NOT_THE_SHUTTER = re.compile(
    r"(?<!\w)(?:upload\w*+|geüpload|hochgeladen|published|scanned|before|after|between|until|circa|c|ca|voor|vóór|na|"
    r"tussen|tot|gescand|vor|nach|zwischen|bis|avant|après|vers)(?!\w)",
    re.IGNORECASE,
)


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

    None for a month or a year, for several days, for "before", "circa" or the day of upload, where day and month could
    be either, and for clocks that were never set. A day without a time that is understood is noon of it.
    """
    text = plain(value)
    if text is None or _NOT_THE_SHUTTER.search(text):
        return None
    matches = [match for pattern in _DATES for match in pattern.finditer(text)]
    days = set(map(_day, matches))
    if len(days) != 1 or (day := days.pop()) is None:
        return None
    for match in matches:
        text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
    found = _at(day, _clocks(text))
    if found is None:
        return None
    is_unset = found < fields.EARLIEST and (day.month, day.day) == (1, 1)
    return None if is_unset else fields.plausible(found, now, EARLIEST)


def _day(match: re.Match[str]) -> date | None:
    """None where there is no such day, where there are several, and where another day may be meant."""
    said = match.groupdict()
    if said.get("since") or said.get("until"):
        return None
    year, month, day = int(said["year"]), _MONTHS.get(said["month"].casefold()) or int(said["month"]), int(said["day"])
    days = [_date(year, month, day)]
    if match.re is _DATES[1]:  # as in Europe, or as in America; with points only Europeans write it
        days.append(_date(year, day, month))
        days = days[:1] if said["mark"] == "." and days[0] else days
    known = set(days) - {None}
    return known.pop() if len(known) == 1 else None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _clocks(text: str) -> set[tuple[str, ...]]:
    """What may be times of day in what is left of a text without its dates."""
    found = (match for match in _CLOCK.finditer(text) if match["half"] or match["m"])
    is_dotted = (match for match in found if match["mark"] != "." or match["half"] or match["word"])
    return {tuple(match[name] or "" for name in ("h", "m", "s", "half", "zone", "offset")) for match in is_dotted}


def _at(day: date, clocks: set[tuple[str, ...]]) -> datetime | None:
    """The moment: noon where no time is told, several are, or one in an unknown zone. None for what is no time."""
    noon = datetime.combine(day, time(12), fields.DUTCH_TIME).astimezone(UTC)
    if len(clocks) != 1:
        return noon
    h, m, s, half, zone, offset = next(iter(clocks))
    hour = int(h) % 12 + 12 * (half.lower() == "p") if half and int(h) <= 12 else int(h)
    if half.lower() == "a" and hour >= 12:
        return noon
    try:
        known = _zone(zone.removesuffix(offset), offset, is_range=not s)
        return datetime.combine(day, time(hour, int(m or 0), int(s or 0)), known).astimezone(UTC) if known else noon
    except (ValueError, OverflowError):
        return None


def _zone(name: str, offset: str, *, is_range: bool) -> tzinfo | None:
    """The zone that is stated, Dutch time for none; None for one that cannot be read.

    `is_range`: whether 10:00-12:00 would be two times rather than a time with an offset.
    """
    base_h, is_west = _ZONES_H.get(name.upper()), offset[:1] in ("-", "−")
    is_unknown = name and (offset or (name.isupper() and name.endswith("T")))
    if base_h is None and (is_unknown or (is_range and is_west)):
        return None
    if not offset:
        return fields.DUTCH_TIME if base_h is None else timezone(timedelta(hours=base_h))
    digits = offset[1:].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(ahead if offset[0] == "+" else -ahead)
