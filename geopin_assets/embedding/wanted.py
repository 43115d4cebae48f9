"""One capture whose image is to be fetched: what reading, embedding and storing it take. Nothing else lives here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WantedImage:
    """A capture of a cell, with the version its image has now."""

    cell_id: str
    capture_id: str
    source: str
    source_capture_id: str
    image_url: str
    """As the catalog knows it; it may have expired."""
    image_version: str
    is_pano: bool
    center_deg: float | None
    """Bearing of the image center, degrees clockwise from true north; None if unknown."""
