"""A photo compared with the images of its best matches: matching points by capture.

Here: fetching those images with links that work, and counting. Not here: how points are found (`verify.py`), how images
are read (`references.py`), or what counts are worth (`confidence.py`). An image that cannot be had has no count.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason, Fetcher, Image
from geopin_assets.locate.evaluation import Question
from geopin_assets.locate.references import reference_images
from geopin_assets.locate.verify import Features, Verifier
from geopin_assets.locate.witnesses import Match
from geopin_assets.platform.parts import Embedding, Sources, Storage
from geopin_assets.sources.links import LinkedCapture, Links

Renew = Callable[[Sequence[CaptureImage]], Mapping[str, str | Failure]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares with published images, fetched politely while it is open."""

    verifier: Verifier
    storage: Storage
    fetcher: Fetcher
    renew: Renew

    def inliers(self, frames: Sequence[Image], matches: Sequence[Match]) -> dict[str, int]:
        """Of a photo, in one frame or the views of a panorama: its best count with each match."""
        return self._counted([self.verifier.features(frame) for frame in frames], self._images(matches))

    def of_question(self, question: Question, matches: Sequence[Match]) -> dict[str, int]:
        """Of a published capture; nothing if its own image cannot be had."""
        images = self._images([question.row, *matches])
        asked = images.pop(question.row["capture_id"])
        return {} if isinstance(asked, Failure) else self._counted([self.verifier.features(asked)], images)

    def _counted(self, frames: Sequence[Features], images: Mapping[str, Image | Failure]) -> dict[str, int]:
        return {
            capture_id: max(self.verifier.inliers(frame, features) for frame in frames)
            for capture_id, image in images.items()
            if not isinstance(image, Failure)
            for features in [self.verifier.features(image)]
        }

    def _images(self, matches: Sequence[Match]) -> dict[str, Image | Failure]:
        known = self.storage.catalog().images(sorted({match["cell_id"] for match in matches}))
        return reference_images(matches, known, self.fetcher, self.renew)


@contextmanager
def comparison(verifier: Verifier, storage: Storage, embedding: Embedding, sources: Sources) -> Iterator[Comparison]:
    """Links of sources are renewed where theirs have expired."""
    with sources.links() as links:
        yield Comparison(verifier, storage, embedding.fetcher(), _renewing(links))


def _renewing(links: Links) -> Renew:
    def renew(images: Sequence[CaptureImage]) -> Mapping[str, str | Failure]:
        renewal = links.renew(
            LinkedCapture(image.capture_id, image.source, image.source_capture_id, image.image_url) for image in images
        )
        return renewal.fresh | {key: Failure(FailureReason(loss)) for key, loss in renewal.lost.items()}

    return renew
