"""`positions.csv` as surveyors deliver it: any usual encoding, separator and names of columns, read row by row.

Here: bytes to rows, and what of them was left out, with line and column. Not here: which column holds what
(`columns.py`), what a cell means (`values.py`), which photo a row means (`survey.py`).

Only RD New in columns called x and y, or in a system that the table states, is transformed: 52.3650 and 4.8950 whose
decimal points got lost, 523650 and 48950, are a place in RD New too.
"""

import codecs
import csv
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from itertools import islice

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos import values
from geopin_assets.sources.own_photos.columns import Column, Field, find_header, shown
from geopin_assets.sources.own_photos.stated import Position, Row


class _RefusedError(Exception):
    """A row cannot be used: why, and in which column."""

    def __init__(self, label: str, why: str, reason: Reason = Reason.BAD_COORDINATES) -> None:
        super().__init__(why)
        self.label, self.reason = label, reason


def read_table(data: bytes, name: str, *, crs: str = "", now: datetime) -> tuple[list[Row], list[Rejected]]:
    """Rows that name a photo, and what of the table was left out. `crs`: of tables that state none.

    Raises PayloadError for what is no table of positions; it names the columns that there are.
    """
    return _Table(_text(data, name), name, crs, now).read()


class _Table:
    def __init__(self, text: str, name: str, crs: str, now: datetime) -> None:
        self._text, self._name, self._crs, self._now = text, name, crs, now
        self._said: list[Rejected] = []
        self._header = find_header(text, name)
        self._columns = self._header.columns
        self._day_first = self._puts_day_first()
        self._has_assumed = False

    def read(self) -> tuple[list[Row], list[Rejected]]:
        header = self._header
        for label in header.unread:
            self._say(Reason.UNREAD_COLUMN, header.line, label, "is not read")
        rows = [row for line, cells in self._records() if (row := self._row(line, cells))]
        if not rows:
            self._say(Reason.MALFORMED, header.line, "", "no photo is named below")
        return rows, self._said

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) below the header. Raises PayloadError where quotes do not match."""
        lines = islice(StringIO(self._text, newline=""), self._header.line, None)
        reader = csv.reader(lines, delimiter=self._header.separator, strict=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield self._header.line + reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            raise PayloadError(f"{self._name} line {self._header.line + reader.line_num}: {error}") from error

    def _row(self, line: int, cells: list[str]) -> Row | None:
        file, where = self._cell(cells, Field.FILE), f"{self._name} line {line}"
        if not file:
            self._say(Reason.MALFORMED, line, self._label(Field.FILE), "names no photo")
            return None
        try:
            if any(cells[self._header.width :]):
                raise _RefusedError("", f"{len(cells)} cells below {self._header.width} names", Reason.MALFORMED)
            place = self._place(cells, line)
        except _RefusedError as error:
            self._say(error.reason, line, error.label, str(error), file)
            return Row(file, where, None)
        position = Position(
            place=place,
            error_m=self._error_m(cells, line) if place else None,
            heading_deg=self._heading_deg(cells, line),
            captured_at=self._captured_at(cells, line),
            states_heading=bool(self._cell(cells, Field.HEADING)),
            states_time=bool(self._time_text(cells)[0]),
            where=where,
        )
        return Row(file, where, position)

    def _place(self, cells: list[str], line: int) -> tuple[float, float] | None:
        lat, lon = self._cell(cells, Field.LAT), self._cell(cells, Field.LON)
        if lat or lon:
            return self._of_degrees(lat, lon, self._stated_system(cells, Field.LAT))
        x, y = self._cell(cells, Field.X), self._cell(cells, Field.Y)
        return self._of_system(x, y, self._stated_system(cells, Field.X) or self._crs, line) if x or y else None

    def _of_degrees(self, lat: str, lon: str, stated: str | None) -> tuple[float, float]:
        y, x = values.degrees(lat, is_lat=True), values.degrees(lon, is_lat=False)
        place = None if stated else fields.position(x, y)
        if place is None and (crs := stated or self._crs):
            return self._projected(lon, lat, crs, Field.LON, Field.LAT)
        for value, text, field in ((y, lat, Field.LAT), (x, lon, Field.LON)):
            if value is None:
                raise _RefusedError(self._label(field), f"{shown(text)} are no degrees")
        if x is not None and y is not None and (values.is_rd_new(x, y) or values.is_rd_new(y, x)):
            raise _RefusedError(self._label(Field.LAT), f"{shown(lat)} may be RD New: call the columns x and y then")
        if place is None:
            raise _RefusedError(self._label(Field.LAT), f"{shown(lat)}, {shown(lon)} are no place")
        return place

    def _of_system(self, x_text: str, y_text: str, crs: str | None, line: int) -> tuple[float, float]:
        x, y = values.number(x_text), values.number(y_text)
        if not crs and x is not None and y is not None and values.is_rd_new(x, y):
            crs = values.RD_NEW
            if not self._has_assumed:
                self._say(Reason.ASSUMED_CRS, line, self._label(Field.X), "is read as RD New (EPSG:28992) by its size")
            self._has_assumed = True
        if crs:
            return self._projected(x_text, y_text, crs, Field.X, Field.Y)
        place = fields.position(x, y)
        if place is None:
            raise _RefusedError(self._label(Field.X), f"{shown(x_text)}, {shown(y_text)}: state their system (crs)")
        return place

    def _projected(self, x_text: str, y_text: str, crs: str, x_is: Field, y_is: Field) -> tuple[float, float]:
        for text, field in ((x_text, x_is), (y_text, y_is)):
            if values.number(text) is None:
                raise _RefusedError(self._label(field), f"{shown(text)} is no number")
        place = values.on_earth(values.number(x_text) or 0.0, values.number(y_text) or 0.0, crs)
        if place is None:
            raise _RefusedError(self._label(x_is), f"{shown(x_text)}, {shown(y_text)} are no place in {crs}")
        return place

    def _stated_system(self, cells: list[str], of: Field) -> str | None:
        """What the row or the name of the column states. Raises _RefusedError for a name of none."""
        stated = self._cell(cells, Field.CRS)
        if stated and values.system(stated) is None:
            raise _RefusedError(self._label(Field.CRS), f"{shown(stated)} is no system that is known, as EPSG:28992 is")
        column = self._columns.get(of)
        return values.system(stated) if stated else column.crs if column else None

    def _heading_deg(self, cells: list[str], line: int) -> float | None:
        text = self._cell(cells, Field.HEADING)
        found = values.heading_deg(text)
        if text and found is None:
            self._say(
                Reason.MALFORMED,
                line,
                self._label(Field.HEADING),
                f"{shown(text)} is no direction",
                self._cell(cells, Field.FILE),
            )
        return found

    def _error_m(self, cells: list[str], line: int) -> float | None:
        text = self._cell(cells, Field.ERROR)
        found = values.number(text)
        if text and (found is None or found < 0):
            self._say(
                Reason.MALFORMED,
                line,
                self._label(Field.ERROR),
                f"{shown(text)} is no distance",
                self._cell(cells, Field.FILE),
            )
            return None
        return found

    def _captured_at(self, cells: list[str], line: int) -> datetime | None:
        text, column = self._time_text(cells)
        if column is None or not text:
            return None
        time = values.instant(text, zone=column.zone, day_first=self._day_first)
        if (found := fields.plausible(time, self._now)) is None:
            self._say(
                Reason.MALFORMED,
                line,
                column.label,
                f"{shown(text)} is no time that is understood",
                self._cell(cells, Field.FILE),
            )
        return found

    def _time_text(self, cells: list[str]) -> tuple[str, Column | None]:
        """The one cell that holds day and time, or those of the day and the time of day."""
        whole, date, time = (self._columns.get(field) for field in (Field.CAPTURED_AT, Field.DATE, Field.TIME))
        if whole and (text := self._cell(cells, Field.CAPTURED_AT)):
            return text, whole
        text = f"{self._cell(cells, Field.DATE)} {self._cell(cells, Field.TIME)}".strip()
        return text, time or date

    def _puts_day_first(self) -> bool | None:
        """Whether dates with slashes do: as those of them that tell, else as the Dutch where the table is theirs."""
        if "/" not in self._text:
            return None
        told = {values.puts_day_first(self._time_text(cells)[0]) for _, cells in self._records()} - {None}
        if told:
            return told.pop() if len(told) == 1 else None
        return True if self._header.separator == ";" else None

    def _cell(self, cells: list[str], field: Field) -> str:
        column = self._columns.get(field)
        return cells[column.index] if column and column.index < len(cells) else ""

    def _label(self, field: Field) -> str:
        return self._columns[field].label if field in self._columns else field

    def _say(self, reason: Reason, line: int, label: str, why: str, file: str = "") -> None:
        column = f" column {shown(label)}" if label else ""
        self._said.append(
            Rejected(reason, f"{self._name} line {line}{column}: {why}{f' ({shown(file)})' if file else ''}")
        )


def _text(data: bytes, name: str) -> str:
    """Of UTF-8, UTF-16 and UTF-32 as their marks and NULs tell, else of the code page of Western Windows."""
    if data.startswith(b"PK\x03\x04") or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise PayloadError(f"{name} is a workbook: save it as CSV")
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise PayloadError(f"{name} is no text: {error.reason}") from error
    if "\0" in text:
        raise PayloadError(f"{name} is no text")
    return text


def _encoding(data: bytes) -> str:
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    )  # fmt: skip
    for mark, encoding in marks:
        if data.startswith(mark):
            return encoding
    start = data[:200]
    if start.count(0) > len(start) // 4:
        return "utf-16-le" if start[1::2].count(0) >= start[0::2].count(0) else "utf-16-be"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "cp1252" if not set(b"\x81\x8d\x8f\x90\x9d") & set(data) else "latin-1"
    return "utf-8"
