"""The images of matches, fetched again to be compared with the photo: by the guarded fetcher, politely, within a limit.

Here: reading them, and of a panorama the view that matched. Not here: comparing (`verify.py`). Nothing is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.decoding import needed_px
from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason, Fetcher, Image
from geopin_assets.embedding.reading import ReadAhead, Renew
from geopin_assets.embedding.seen import panorama
from geopin_assets.embedding.stages import StageClock
from geopin_assets.embedding.views import SIZE_PX
from geopin_assets.locate.witnesses import Match


def reference_images(
    matches: Sequence[Match], known: pl.DataFrame, fetcher: Fetcher, renew: Renew | None = None
) -> dict[str, Image | Failure]:
    """Pixels by capture id, or why there are none.

    `known`: what the catalog has of these captures (capture_id, source_capture_id, image_url, image_version); of one
    that it does not have, as on a machine that only searches, the thumbnail's address is taken.
    """
    addresses = {row["capture_id"]: row for row in known.iter_rows(named=True)}
    images = [_image(match, addresses.get(match["capture_id"])) for match in matches]
    wanted = [image for image in images if image.image_url]
    found: dict[str, Image | Failure] = {
        image.capture_id: Failure(FailureReason.LINK_EXPIRED, "no address") for image in images
    }
    views = {match["capture_id"]: int(match["view"]) for match in matches}
    with Decoders() as decoders, ReadAhead(fetcher, _Cut(decoders, views), StageClock(), renew) as reader:
        reader.submit(wanted)
        while reader.pending:
            image, pixels = reader.next()
            found[image.capture_id] = pixels
    return found


def _image(match: Match, known: Mapping[str, str] | None) -> CaptureImage:
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


@dataclass(frozen=True, slots=True)
class _Cut:
    """Decodes an image, and cuts the view that matched out of a panorama."""

    decoders: Decoders
    views: Mapping[str, int]

    def __call__(self, image: CaptureImage, data: bytes) -> Image | Failure:
        with self.decoders.lent() as decoder:
            pixels = decoder.decode(data, at_least=needed_px(SIZE_PX, image.is_pano))
            if isinstance(pixels, Failure):
                return pixels
            if not image.is_pano:
                return pixels.copy()
            seen = panorama(pixels, data, SIZE_PX)
            return seen if isinstance(seen, Failure) else seen.views.get(self.views[image.capture_id], pixels).copy()
