"""An answer: where a photo was taken, and how sure that is. Every field is documented in `docs/locating.md`.

Here: the record, and its JSON. Not here: how it is found (`locator.py`), or shown (`report.py`, `cli/locate.py`).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

FOUND, UNCERTAIN, NOT_COVERED = "found", "uncertain", "not_covered"


@dataclass(frozen=True, slots=True)
class Place:
    """Another place that the photo may be of. `confidence` is what it would have had by likeness alone."""

    lat: float
    lon: float
    confidence: float
    score: float
    capture_id: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A published capture that looks like the photo, with what must be shown beside it."""

    rank: int
    capture_id: str
    source: str
    lat: float
    lon: float
    distance_m: float
    """From the best match."""
    score: float
    heading_deg: float | None
    """Direction of the matching view."""
    heading_from: str | None
    """What the capture's direction is known from: see `heading_from` in docs/schema.md."""
    captured_at: str | None
    creator: str | None
    license: str
    license_url: str | None
    attribution: str
    page_url: str
    thumbnail_url: str | None
    inliers: int | None = None
    """Points that match; None if that was not looked at."""
    copy_of: str | None = None
    """The better match that this one is a copy of: the two are one witness."""
    trust: float = 1.0
    """Below 1 where other sources contradict this capture."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a photo was taken. Without any match the position is None, and the status NOT_COVERED."""

    status: str
    lat: float | None
    lon: float | None
    radius_m: float | None
    """The truth is within this with 68 % probability."""
    heading_deg: float | None
    heading_from: str | None
    """What that direction is known from, as of a match."""
    confidence: float | None
    """Probability that the position is right within 25 m; None for a model that is not calibrated."""
    terms: list[str]
    alternatives: list[Place]
    matches: list[Reference]
    model_id: str
    index_version: str
    notes: list[str] = field(default_factory=list)
    """What this answer lacks, and why."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)
