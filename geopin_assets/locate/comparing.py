"""A photo compared with the images of its best matches: matching points by capture.

Here: fetching those images with links that work, unless their points are kept, and counting. Not here: how points are
found (`verify.py`) or kept (`features.py`), how images are read (`references.py`), or what counts are worth
(`confidence.py`). An image that cannot be had has no count.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

import polars as pl

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason, Fetcher, Image
from geopin_assets.locate.evaluation import Question
from geopin_assets.locate.features import KeptFeatures, View
from geopin_assets.locate.references import WITHIN_S, reference_images, reference_of
from geopin_assets.locate.verify import Features, Verifier
from geopin_assets.locate.witnesses import Match
from geopin_assets.platform.parts import Embedding, Sources, Storage
from geopin_assets.sources.links import LinkedCapture, Links

Renew = Callable[[Sequence[CaptureImage]], Mapping[str, str | Failure]]


@dataclass(slots=True)
class Comparison:
    """Compares with published images, fetched politely while it is open."""

    verifier: Verifier
    catalogued: Callable[[Sequence[str]], pl.DataFrame]
    """What the catalog has of the images of some cells: `Catalog.wanted`."""
    fetcher: Fetcher
    renew: Renew
    kept: KeptFeatures
    decoders: Decoders
    within_s: float = WITHIN_S
    images_left: float = inf
    """So many may be fetched for questions; those whose points are kept cost none."""

    def inliers(self, frames: Sequence[Image], matches: Sequence[Match]) -> dict[str, int]:
        """Of a photo, in one frame or the views of a panorama: its best count with each match."""
        return self._counted([self.verifier.features(frame) for frame in frames], self._features(matches))

    def of_question(self, question: Question, matches: Sequence[Match]) -> dict[str, int]:
        """Of a published capture; nothing if its own image cannot be had, or no more may be fetched."""
        if self.images_left <= 0:
            return {}
        features = self._features([question.row, *matches])
        asked = features.pop(question.row["capture_id"], None)
        return self._counted([asked], features) if asked else {}

    def _counted(self, frames: Sequence[Features], references: Mapping[str, Features]) -> dict[str, int]:
        return {
            capture_id: max(self.verifier.inliers(frame, features) for frame in frames)
            for capture_id, features in references.items()
        }

    def _features(self, matches: Sequence[Match]) -> dict[str, Features]:
        """By capture id: those that are kept, and of images fetched now the others, which are kept then."""
        known = self.catalogued(sorted({match["cell_id"] for match in matches}))
        about = {row["capture_id"]: row for row in known.iter_rows(named=True)}
        images = {reference_of(match, about.get(match["capture_id"])): int(match["view"]) for match in matches}
        views = {image.capture_id: View(image.capture_id, view, image.image_version) for image, view in images.items()}
        kept = self.kept.read(views.values())
        lacking = {image: view for image, view in images.items() if image.capture_id not in kept}
        self.images_left -= len(lacking)
        fetched = reference_images(lacking, self.fetcher, self.decoders, self.renew, self.within_s)
        found = {capture_id: self.verifier.features(image) for capture_id, image in fetched.items()}
        self.kept.keep({views[capture_id]: features for capture_id, features in found.items()})
        return kept | found


@contextmanager
def comparison(
    verifier: Verifier, storage: Storage, embedding: Embedding, sources: Sources, images: float = inf
) -> Iterator[Comparison]:
    """Links of sources are renewed where theirs have expired. `images`: see `Comparison.images_left`."""
    with sources.links() as links, Decoders() as decoders:
        kept = KeptFeatures(storage.settings().data_dir, verifier.model_id)
        wanted = storage.catalog().wanted
        yield Comparison(verifier, wanted, embedding.fetcher(), renewing(links), kept, decoders, images_left=images)


def renewing(links: Links) -> Renew:
    """Asks their sources for the links of images that have expired."""

    def renew(images: Sequence[CaptureImage]) -> Mapping[str, str | Failure]:
        renewal = links.renew(
            LinkedCapture(image.capture_id, image.source, image.source_capture_id, image.image_url) for image in images
        )
        return renewal.fresh | {key: Failure(FailureReason(loss)) for key, loss in renewal.lost.items()}

    return renew
