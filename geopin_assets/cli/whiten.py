"""`geopin whiten`: fewer dimensions of a model's vectors, fitted to captures of the catalog and kept with the weights.

Here: the sample, embedding it, and saying what was fitted. Not here: the fit (`embedding/model/whitening.py`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from geopin_assets.cli.console import console, progress_bar, stand_ins
from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.model.checkpoints import find_weights, weights_sha256
from geopin_assets.embedding.model.choosing import build_unwhitened, whitening_path
from geopin_assets.embedding.model.whitening import FEWEST_PER_DIM, fit, write
from geopin_assets.embedding.protocol import VIEWS, CaptureImage, Embedder, Image
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.comparing import renewing
from geopin_assets.locate.references import reference_images
from geopin_assets.platform.parts import Embedding, Sources, Storage
from geopin_assets.settings import Settings

_AT_ONCE = 64
_WITHIN_S = 600.0
_SAMPLE = """
select capture_id, cell_id, source, source_capture_id, is_pano, image_url, image_version from captures
where image_url is not null order by hash(capture_id), capture_id limit ?
"""


def whiten_and_report(settings: Settings, images: int) -> None:
    """Raises ConfigurationError where nothing is to be whitened, or too few images can be had."""
    embedder, architecture = build_unwhitened(settings)
    sample, fewest = Storage().catalog().query(_SAMPLE, [images]), FEWEST_PER_DIM * architecture.whitened
    if sample.height < fewest:
        raise ConfigurationError(f"not enough to fit to: {sample.height} captures; {fewest} at least")
    with stand_ins(settings), progress_bar("embedding", sample.height, "images") as advance:
        vectors = []
        for some in sample.iter_slices(_AT_ONCE):
            rows = some.iter_rows(named=True)
            vectors.append(_embedded(embedder, _images({_capture(row): n % VIEWS for n, row in enumerate(rows)})))
            advance(f"{sum(map(len, vectors))} embedded", some.height)
    weights = find_weights(settings.weights, architecture, settings.data_dir / "weights")
    try:
        found = fit(np.concatenate(vectors), architecture.whitened, _provenance(sample, weights))
    except ValueError as error:
        raise ConfigurationError(f"not enough to fit to: {error}; --images, or crawl more") from error
    path = write(whitening_path(settings, architecture), found)
    kept = found.provenance["variance_kept"]
    console.print(
        f"{architecture}: of {architecture.dim} dimensions {architecture.whitened} hold {kept:.1%} of the variance of"
        f" {found.provenance['images']} images",
        f"kept in {path}: another one is another model, and makes another index",
        sep="\n",
    )


def _capture(row: dict[str, object]) -> CaptureImage:
    return CaptureImage(**row, center_deg=None)  # type: ignore[arg-type]


def _images(references: dict[CaptureImage, int]) -> Iterator[Image]:
    """Of panoramas one view each."""
    with Sources().links() as links, Decoders() as decoders:
        yield from reference_images(references, Embedding().fetcher(), decoders, renewing(links), _WITHIN_S).values()


def _embedded(embedder: Embedder, images: Iterator[Image]) -> np.ndarray:
    """Those of one shape together; float32 [N, dim]."""
    by_shape: dict[tuple[int, ...], list[Image]] = {}
    for image in map(embedder.preprocess, images):
        by_shape.setdefault(image.shape, []).append(image)
    found = [embedder.embed(some) for some in by_shape.values()]
    return np.concatenate(found) if found else np.empty((0, embedder.model.dim), np.float32)


def _provenance(sample: pl.DataFrame, weights: Path) -> dict[str, object]:
    return {
        "weights_sha256": weights_sha256(weights),
        "sources": sorted(sample["source"].unique()),
        "cells": sample["cell_id"].n_unique(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
