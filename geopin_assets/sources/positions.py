"""`positions.csv`: positions stated beside a folder of photos, where their EXIF has none or is wrong.

Here: reading and checking that file. Not here: how it is merged with EXIF (`own_photos.py`).
"""

import csv
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import ConfigurationError
from geopin_assets.photo_folder import PhotoFolder, PhotoGoneError
from geopin_assets.sources import fields
from geopin_assets.sources.exif import LOCAL_ZONE

POSITIONS_FILE = "positions.csv"
MAX_BYTES = 256 * 2**20  # some five million rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is stated about one file; None where a field is empty."""

    place: tuple[float, float] | None = None
    """(lon, lat), degrees WGS84."""
    heading_deg: float | None = None
    captured_at: datetime | None = None


def read_positions(folder: PhotoFolder) -> tuple[dict[str, Position], list[Rejected]]:
    """Positions by relative file name, and the rows that cannot be used; both empty without a file.

    Raises ConfigurationError if the file is no CSV in UTF-8 with a column `file`.
    """
    try:
        text = folder.read(POSITIONS_FILE, MAX_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(StringIO(text, newline="")))
        columns = set(rows[0]) if rows else {"file"}
    except PhotoGoneError:
        return {}, []
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"own_photos: {POSITIONS_FILE} is no CSV in UTF-8") from error
    if "file" not in columns:
        raise ConfigurationError(
            f"own_photos: {POSITIONS_FILE} needs the columns file, lat, lon, heading_deg, captured_at"
        )
    parsed = {
        (row["file"] or "").strip(): _position({k: (v or "").strip() for k, v in row.items() if isinstance(v, str)})
        for row in rows
    }
    good = {name: position for name, position in parsed.items() if isinstance(position, Position)}
    return good, [Rejected(reason, name) for name, reason in parsed.items() if isinstance(reason, Reason)]


def _position(row: dict[str, str]) -> Position | Reason:
    lat, lon, heading, time = (row.get(name, "") for name in ("lat", "lon", "heading_deg", "captured_at"))
    place = fields.position(lon, lat)
    heading_deg, captured_at = fields.heading_deg(heading), fields.instant(time, zone=LOCAL_ZONE)
    if place is None and (lat or lon):
        return Reason.BAD_COORDINATES
    if (heading and heading_deg is None) or (time and captured_at is None):
        return Reason.MALFORMED
    return Position(place=place, heading_deg=heading_deg, captured_at=captured_at)
