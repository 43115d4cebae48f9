"""Capture, the one record of the platform, and Rejected, a record that was left out and why.

Here: fields, ids and the reasons for leaving a record out. Not here: how a source is asked,
how captures are stored, or which licenses are open (`licenses.py`).
"""

import hashlib
from dataclasses import MISSING, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

MAX_VECTOR_ID_BYTES = 64  # Cloudflare Vectorize: ids are at most 64 bytes
MAX_DIM = 1_536  # and vectors have at most so many dimensions; the embedded index takes no others


class HeadingFrom(StrEnum):
    """How the direction of view is known; what is not of the camera itself comes last."""

    OWNER = "owner"
    """Stated beside the image by whoever brings it: a survey table, a form."""
    DEVICE = "device"
    """By the camera, to true north, or to what north it does not say."""
    MAGNETIC = "magnetic"
    """By the camera, to magnetic north, corrected by the declination there and then."""
    POSE = "pose"
    """By whoever stitched the panorama."""
    COMPUTED = "computed"
    """By the platform, from the image and its neighbors."""
    TRACK = "track"
    """The direction of movement, which is not always that of view."""
    SEQUENCE = "sequence"
    """The same, from where the neighbors in the sequence are."""


class PositionFrom(StrEnum):
    """How the position is known."""

    OWNER = "owner"
    DEVICE = "device"
    """By the camera's own receiver, as it wrote it."""
    LAST_FIX = "last_fix"
    """The same, but it had none then: it may have been there before."""
    TRACK = "track"
    """By the time of the image, along a track recorded beside it."""
    COMPUTED = "computed"


def _column(description: str, default: Any = MISSING) -> Any:
    return field(metadata={"description": description}, default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One image at one place, time and direction. The order of fields is the column order everywhere."""

    source: str = _column("Registered source that offered the capture, e.g. panoramax")
    source_capture_id: str = _column("The source's own stable id")
    lon: float = _column("Longitude, degrees east, WGS84")
    lat: float = _column("Latitude, degrees north, WGS84")
    position_from: PositionFrom | None = _column(
        "How the position is known: owner, device, last_fix (the device had none then), track or computed; null if the "
        "source does not say",
        None,
    )
    position_error_m: float | None = _column("Stated error of the position, meters; null if nobody says", None)
    captured_at: datetime | None = _column("Shutter time, UTC; null if unknown or junk")
    heading_deg: float | None = _column(
        "Direction of view of the image center, degrees clockwise from true north, [0, 360); null if unknown"
    )
    heading_from: HeadingFrom | None = _column(
        "How the direction is known: owner, device, magnetic, pose or computed; track and sequence are directions of "
        "movement, not always of view; null if the source does not say",
        None,
    )
    is_pano: bool = _column("Covers 360 degrees horizontally (equirectangular)")
    sequence_id: str | None = _column("Captures of one drive or walk share it")
    creator: str | None = _column("Who took it, as the source names them")
    license: str = _column("SPDX-like license id, see licenses.py")
    attribution: str = _column("Text that must be shown with the image")
    page_url: str = _column("Human page of the capture at its source")
    image_url: str = _column("Where the image to embed is fetched; may expire; after a #, where else it may be")
    image_version: str = _column("Changes when the image itself changes at the same id; empty if it never does")
    payload: str = _column("The source's own record, JSON, without secrets")

    @property
    def capture_id(self) -> str:
        """Stable id across crawls: `{source}:{source_capture_id}`."""
        return f"{self.source}:{self.source_capture_id}"


class NotIndexed(StrEnum):
    """Why the index does without a capture that the catalog has."""

    THINNED = "thinned"
    """Another one of its sequence, near enough, looks the same way."""


class Reason(StrEnum):
    """Why a record was left out. Counted per cell and shown on the asset."""

    OUTSIDE_CELL = "outside_cell"
    LICENSE_NOT_OPEN = "license_not_open"
    BAD_COORDINATES = "bad_coordinates"
    BAD_ID = "bad_id"
    NO_IMAGE = "no_image"
    NOT_READY = "not_ready"
    UNREADABLE = "unreadable"
    NO_POSITION = "no_position"
    INEXACT = "inexact"
    MALFORMED = "malformed"
    NOT_STREET_LEVEL = "not_street_level"
    IGNORED = "ignored"
    """Hidden, a system's, or what its owner does not want read."""
    UNSUPPORTED = "unsupported"
    """A kind of file that is not read."""
    SECOND_FILE = "second_file"
    """A raw file of a photo that lies beside it as JPEG or HEIC."""
    SECOND_ROW = "second_row"
    """A table says something about a photo twice: the first counts."""
    UNREAD_COLUMN = "unread_column"
    ASSUMED_CRS = "assumed_crs"
    """Coordinates of a table were read in a system that it does not state: nothing was left out."""
    NO_ATTRIBUTION = "no_attribution"
    REMOVED = "removed"
    SOURCE_TERMS = "source_terms"
    """Its platform does not want it passed on in bulk."""
    TAKEN_DOWN = "taken_down"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was left out. `record` names it for a log line (an id or a file name)."""

    reason: Reason
    record: str = ""
    kind: str = ""
    """Of records of this reason, counted apart."""

    @property
    def counted_as(self) -> str:
        """The reason, with the kind if there is one."""
        return f"{self.reason}_{self.kind}" if self.kind else str(self.reason)


def vector_id(capture_id: str, view: int) -> str:
    """Stable id of one view's vector, at most 64 bytes of UTF-8: `{capture_id}/{view:02d}`.

    A capture id that would not fit is replaced by `{source}:~{160-bit SHA-256 prefix, hex}`.
    """
    plain = f"{capture_id}/{view:02d}"
    if len(plain.encode()) <= MAX_VECTOR_ID_BYTES:
        return plain
    source = capture_id.split(":", 1)[0][:16]
    digest = hashlib.sha256(capture_id.encode()).hexdigest()[:40]
    return f"{source}:~{digest}/{view:02d}"


def in_turn(url: str, otherwise: str = "") -> str:
    """An `image_url` with another address for an image that is not at the first: after a #, which no server is sent."""
    return f"{url}#{otherwise}" if otherwise else url


def addresses(image_url: str) -> list[str]:
    """Where to look for an image, one after another."""
    first, _, otherwise = image_url.partition("#")
    return [first, otherwise] if "://" in otherwise else [first]
