"""Free text of Commons made plain: HTML to text, and the one moment a date field tells, if it tells one.

Here: pure functions over untrusted text. Not here: which field means what (`read.py`).
"""

import re
from datetime import UTC, datetime, time, timedelta, timezone
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

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
            *("january januari jan", "february februari feb", "march maart mar mrt", "april apr", "may mei"),
            *("june juni jun", "july juli jul", "august augustus aug", "september sep sept"),
            *("october oktober oct okt", "november nov", "december dec"),
        ),
        start=1,
    )
    for name in names.split()
}
_ZONE = r"(?:\s*+(?P<zone>Z|\(?UTC\)?|[+-]\d{2}:?\d{2})(?!\w))?"
_CLOCK = rf"(?:[T,\s]*+(?:at\s++|om\s++)?(?P<h>\d{{1,2}}):(?P<m>\d{{2}})(?::(?P<s>\d{{2}})(?:\.\d++)?)?{_ZONE})?"
_NUMBERS = re.compile(rf"(?<![\d-])(?P<year>\d{{4}})[-:](?P<month>\d{{2}})[-:](?P<day>\d{{2}})(?![\d-]){_CLOCK}")
_WORDS = re.compile(
    rf"(?<!\d)(?P<day>\d{{1,2}})\.?\s++(?P<month>{'|'.join(_MONTHS)})\.?\s++(?P<year>\d{{4}})(?!\d){_CLOCK}",
    re.IGNORECASE,
)
_NOT_THE_SHUTTER = re.compile(
    r"(?<!\w)(?:upload\w*+|published|scanned|before|after|between|until|circa|c|ca|voor|vóór|na|tussen|tot|gescand)(?!\w)",
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
