"""What a file beside the photos states about one of them: a row, whatever file it came from.

Here: the records that tables (`table.py`) and descriptions (`described.py`) become. Not here: which photo a row means
(`survey.py`).
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is stated about one photo; None where nothing is."""

    place: tuple[float, float] | None = None
    """(lon, lat), degrees WGS84."""
    error_m: float | None = None
    heading_deg: float | None = None
    captured_at: datetime | None = None
    states_heading: bool = False
    """Whether something is said of the direction, understood or not: EXIF's was to be corrected."""
    states_time: bool = False
    is_of_track: bool = False
    """Whether the place is that of a GPX track at the time of the photo."""
    where: str = ""
    """`positions.csv line 3`, for people."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that names a photo."""

    file: str
    """As it is written there."""
    where: str
    """`positions.csv line 3`."""
    position: Position | None
    """None for one that was refused: its photo is at a place that nobody knows."""
