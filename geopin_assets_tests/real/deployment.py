"""An installation with one source switched on.

Here: running all of its layers or the first ones, and asking what came of it. Not here: where real input comes from.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import dagster as dg
import polars as pl

from geopin_assets.defs.running.local_run import LayerResult, run_region
from geopin_assets.embedding.decoding import decode_image
from geopin_assets.embedding.protocol import Failure
from geopin_assets.locate.search import search
from geopin_assets_tests.platform import Installation


class Deployment(Installation):
    """An installation that crawls one source."""

    def __init__(self, folder: Path, source: str, variables: dict[str, str]) -> None:
        super().__init__(folder, variables)
        self.source = source

    def run(self, instance: dg.DagsterInstance, cells: Sequence[str], layers: int | None = None) -> list[LayerResult]:
        """Materialize the first `layers` layers (None: all): raw, catalog, embeddings, vectors, rows, quality."""
        return list(islice(run_region(self.definitions, instance, cells, (self.source,)), layers))

    def captures(self) -> pl.DataFrame:
        """The whole catalog, ordered by id."""
        return self.storage.catalog().query("from captures order by capture_id")

    def tombstones(self) -> set[str]:
        """Ids of captures that their source no longer shows."""
        gone = self.storage.catalog().query("select capture_id from capture_history where removed_at is not null")
        return set(gone["capture_id"])

    def locate(self, image: bytes, top: int) -> pl.DataFrame:
        """The published captures that look most like an encoded image."""
        decoded = decode_image(image)
        assert not isinstance(decoded, Failure), decoded
        embedder = self.embedding.embedder()
        views = embedder.embed([embedder.preprocess(decoded)])
        return search(views, self.index, self.rows, top)
