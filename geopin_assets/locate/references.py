"""The images of matches, fetched again to be compared with the photo: by the guarded fetcher, politely, within a limit.

Here: reading them, and of a panorama the view that matched. Not here: comparing (`verify.py`). Nothing is stored.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.decoding import needed_px
from geopin_assets.embedding.protocol import CaptureImage, Failure, Fetcher, Image
from geopin_assets.embedding.reading import ReadAhead, Renew
from geopin_assets.embedding.seen import panorama
from geopin_assets.embedding.stages import StageClock
from geopin_assets.embedding.views import SIZE_PX
from geopin_assets.locate.witnesses import Match

WITHIN_S = 15.0
"""Somebody waits for the answer: an image that has not come by then is not compared."""


def reference_of(match: Match, known: Mapping[str, str] | None) -> CaptureImage:
    """`known`: what the catalog has of the capture (source_capture_id, image_url, image_version); of one that it does
    not have, as on a machine that only searches, the thumbnail's address is taken."""
    about = known or {"source_capture_id": "", "image_url": match["thumbnail_url"] or "", "image_version": ""}
    return CaptureImage(
        cell_id=match["cell_id"],
        capture_id=match["capture_id"],
        source=match["source"],
        source_capture_id=about["source_capture_id"],
        image_url=about["image_url"],
        image_version=about["image_version"],
        is_pano=match["is_pano"],
        center_deg=None,
    )


def reference_images(
    references: Mapping[CaptureImage, int],
    fetcher: Fetcher,
    decoders: Decoders,
    renew: Renew | None = None,
    within_s: float = WITHIN_S,
) -> dict[str, Image]:
    """Pixels by capture id, of those that can be had; the view with this number of a panorama."""
    views, until = {image.capture_id: view for image, view in references.items()}, monotonic() + within_s
    found: dict[str, Image] = {}
    if not references:
        return found
    with ReadAhead(fetcher, _Cut(decoders, views), StageClock(), renew) as reader:
        reader.submit([image for image in references if image.image_url])
        with suppress(TimeoutError):
            while reader.pending:
                image, pixels = reader.next(max(0.0, until - monotonic()))
                if not isinstance(pixels, Failure):
                    found[image.capture_id] = pixels
    return found


@dataclass(frozen=True, slots=True)
class _Cut:
    """Decodes an image, and cuts the view that matched out of a panorama. One at a time: a second process takes as
    much to start as twenty images to decode."""

    decoders: Decoders
    views: Mapping[str, int]
    turn: Lock = field(default_factory=Lock)

    def __call__(self, image: CaptureImage, data: bytes) -> Image | Failure:
        with self.turn, self.decoders.lent() as decoder:
            pixels = decoder.decode(data, at_least=needed_px(SIZE_PX, image.is_pano))
            if isinstance(pixels, Failure):
                return pixels
            if not image.is_pano:
                return pixels.copy()
            view = self.views[image.capture_id]
            seen = panorama(pixels, data, SIZE_PX, numbers=[view])
            return seen if isinstance(seen, Failure) else seen.views.get(view, pixels).copy()
