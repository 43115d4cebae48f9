"""The bare model, and all of embedding around it, on so many images. Not here: what is compared, and how often."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.decoding import decode_image
from geopin_assets.embedding.model.checkpoints import Architecture
from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.embedding.model.inference import TorchEmbedder
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets.embedding.protocol import Failure, Image
from geopin_assets.embedding.reading import Fetcher
from geopin_assets.settings import Precision
from geopin_assets_tests.embedding.cells import captures, cell_task


def random_cosplace(
    backbone: str = "ResNet18",
    device: str = "cpu",
    *,
    precision: Precision = Precision.AUTO,
    is_compiled: bool = False,
) -> TorchEmbedder:
    """CosPlace with random weights: speed does not depend on them."""
    model = Architecture("cosplace", backbone, 512).model("random")
    network = CosPlaceNetwork(backbone, 512)
    return TorchEmbedder(network, model, device=device, precision=precision, is_compiled=is_compiled)


def decoded(jpeg: bytes) -> Image:
    """The pixels of a picture that is known to be good."""
    pixels = decode_image(jpeg)
    if isinstance(pixels, Failure):
        sys.exit(f"not decoded: {pixels}")
    return pixels


def bare_model(embedder: TorchEmbedder, batch: Sequence[Image], images: int) -> None:
    """Embed so many preprocessed images in batches like this one, in a thread as the pipeline does."""
    with ThreadPoolExecutor(1) as thread:
        for start in range(0, images, len(batch)):
            thread.submit(embedder.embed, batch[: images - start]).result()


def end_to_end(
    embedder: TorchEmbedder,
    fetcher: Fetcher,
    urls: Sequence[str],
    batch_size: int,
    decoders: Decoders | None = None,
) -> Mapping[str, float]:
    """Embed the images as a cell, into a file that is gone afterwards; returns the seconds of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        task = cell_task(captures(urls), Path(folder))
        ((_, done),) = embed_cells(
            [task], embedder=embedder, fetcher=fetcher, batch_size=batch_size, many=9**9, decoders=decoders
        )
    if isinstance(done, Exception) or done.stats.vectors != len(urls):
        sys.exit(f"not all images were embedded: {done}")
    return done.stats.seconds
