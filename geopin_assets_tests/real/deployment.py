"""The platform as an operator sets it up: nothing but GEOPIN_* variables and a data folder of its own.

Here: building it and running all or its first layers. Not here: where real input comes from.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import dagster as dg
import polars as pl

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.local_run import LayerResult, run_region
from geopin_assets.defs.resources import Embedding, SearchIndex, Sources, Storage
from geopin_assets.embedding.decode import decode_image
from geopin_assets.embedding.failures import Failure
from geopin_assets.locate.search import locate


class Deployment:
    """One installation with one source switched on."""

    def __init__(self, folder: Path, source: str, variables: dict[str, str]) -> None:
        overrides = {"GEOPIN_DATA": str(folder / "data"), **variables}
        self.source = source
        self.storage, self.embedding = Storage(overrides=overrides), Embedding(overrides=overrides)
        self.search_index = SearchIndex(overrides=overrides)
        self.definitions = build_definitions(
            sources=Sources(overrides=overrides),
            storage=self.storage,
            embedding=self.embedding,
            search_index=self.search_index,
        )

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
        return locate(views, self.search_index.vectors(embedder), self.search_index.metadata(), top)
