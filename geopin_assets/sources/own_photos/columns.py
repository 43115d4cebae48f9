"""The header of a table: which column holds what, by the names that people give them, in English and Dutch.

Here: finding that line and its separator, and what the name of a column says of the system of its coordinates and the
zone of its times. Not here: rows (`table.py`).
"""

import csv
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from enum import StrEnum
from io import StringIO
from itertools import islice

from geopin_assets.errors import PayloadError
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos import values


class Field(StrEnum):
    """What a column can hold."""

    FILE = "file"
    LAT = "lat"
    LON = "lon"
    X = "x"
    Y = "y"
    HEADING = "heading_deg"
    CAPTURED_AT = "captured_at"
    DATE = "date"
    TIME = "time"
    CRS = "crs"
    ERROR = "position_error_m"


_NAMES: Mapping[Field, str] = {
    Field.FILE: "file filename filepath image imagename imagefile imagepath img picture picturename photo photoname "
    "photofile sourcefile path name bestand bestandsnaam bestandnaam foto fotonaam fotobestand afbeelding naam",
    Field.LAT: "lat latitude breedte breedtegraad noorderbreedte nb",
    Field.LON: "lon lng long longitude lengte lengtegraad oosterlengte ol",
    Field.X: "x easting east oost xcoord xcoordinaat xcoordinate rdx xrd",
    Field.Y: "y northing north noord ycoord ycoordinaat ycoordinate rdy yrd",
    Field.HEADING: "heading hdg bearing yaw direction imgdirection azimuth azimut compass compassangle richting "
    "kijkrichting",
    Field.CAPTURED_AT: "capturedat datetime datetimeoriginal timestamp tijdstip datumtijd opnametijdstip takenat",
    Field.DATE: "date datum opnamedatum capturedate datetaken",
    Field.TIME: "time tijd opnametijd capturetime timetaken",
    Field.CRS: "crs epsg srs srid projection projectie coordinatesystem coordinatenstelsel",
    Field.ERROR: "accuracy positionerror positionaccuracy hpositioningerror nauwkeurigheid errorm",
}
_FIELDS = {name: field for field, names in _NAMES.items() for name in names.split()}
_SAY_LITTLE = frozenset(
    (
        *(
            "gps",
            "wgs",
            "wgs84",
            "84",
            "etrs",
            "etrs89",
            "4326",
            "rd",
            "rdnew",
            "new",
            "28992",
            "epsg",
            "utc",
            "gmt",
            "z",
        ),
        *("deg", "degree", "degrees", "graden", "decimal", "dd", "m", "meter", "meters"),
        *("coord", "coordinate", "coordinaat", "coordinaten", "camera", "cam", "exif", "true", "ware", "van", "de"),
    )
)
_SEPARATORS = ",;\t|"
_HEADER_WITHIN = 20
_WORD = re.compile(r"[A-Z]{1,40}(?![a-z])|[A-Z]?[a-z]{1,40}|\d{1,10}")
_NO_OFFSET_BUT_UTC = frozenset(("utc", "gmt", "z"))


@dataclass(frozen=True, slots=True)
class Column:
    """Where a field stands, and what its name says of it."""

    index: int
    label: str
    crs: str | None
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Header:
    """The line that names the columns; rows begin below it."""

    line: int
    separator: str
    width: int
    columns: Mapping[Field, Column]
    unread: Sequence[str]


def find_header(text: str, name: str) -> Header:
    """The line that names the most columns that are known, read with each of the separators.

    Raises PayloadError if there is none with the columns of a table of positions.
    """
    lines = [line.rstrip("\r\n") for line in islice(StringIO(text, newline=""), _HEADER_WITHIN)]
    found = [_read_as(number, line, mark) for number, line in enumerate(lines, start=1) for mark in _SEPARATORS]
    best = max(found, key=lambda header: (Field.FILE in header.columns, len(header.columns)), default=None)
    if best is None or Field.FILE not in best.columns:
        first = next((line for line in lines if line.strip()), "")
        raise PayloadError(f"{name}: no column is called file; the first line is {shown(first)}")
    known = best.columns.keys()
    has_place = {Field.LAT, Field.LON} <= known or {Field.X, Field.Y} <= known
    has_half = bool({Field.LAT, Field.LON, Field.X, Field.Y} & known) and not has_place
    if has_half or (not has_place and (best.unread or known == {Field.FILE})):
        labels = [column.label for column in best.columns.values()] + list(best.unread)
        raise PayloadError(f"{name} line {best.line}: no columns lat and lon, or x and y, among {shown(labels)}")
    return best


def _read_as(number: int, line: str, separator: str) -> Header:
    try:
        labels = [label.strip() for label in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        labels = []
    columns: dict[Field, Column] = {}
    unread = []
    for index, label in enumerate(labels):
        field = _field(label)
        if field and field not in columns:
            columns[field] = _column(index, label)
        elif label:
            unread.append(label)
    return Header(number, separator, len(labels), columns, unread)


def _words(label: str) -> list[str]:
    """`heading`, `deg` of "Heading_deg", and `gps`, `latitude` of "GPSLatitude"."""
    plain = unicodedata.normalize("NFKD", label[:100])
    return [word.lower() for word in _WORD.findall("".join(c for c in plain if not unicodedata.combining(c)))]


def _field(label: str) -> Field | None:
    words = _words(label)
    telling = [word for word in words if word not in _SAY_LITTLE]
    return _FIELDS.get("".join(words)) or _FIELDS.get("".join(telling))


def _column(index: int, label: str) -> Column:
    words = _words(label)
    crs = values.RD_NEW if {"rd", "rdx", "rdy", "xrd", "yrd", "rdnew", "28992"}.intersection(words) else None
    return Column(index, label, crs, UTC if _NO_OFFSET_BUT_UTC.intersection(words) else fields.DUTCH_TIME)


def shown(value: object) -> str:
    """Foreign text for people, on one line and short."""
    return ascii(value)[:60]
