"""All assets and resources as one Definitions object. Tests and the command line put their own resources in."""

from typing import Any

import dagster as dg

from geopin_assets.defs.catalog import captures
from geopin_assets.defs.coverage import coverage
from geopin_assets.defs.embeddings import embeddings
from geopin_assets.defs.integrity import integrity
from geopin_assets.defs.progress import Progress
from geopin_assets.defs.publish import d1, vectorize
from geopin_assets.defs.raw import raw_assets
from geopin_assets.defs.resources import Embedding, SearchIndex, Sources, Storage


def build_definitions(*, overrides: dict[str, str] | None = None, **resources: Any) -> dg.Definitions:
    """Definitions with these resources in place of the default ones of the same key.

    `overrides` are GEOPIN_* variables that the default resources put on top of the environment's.
    Runs use one process: a range run does many cells in its single step, so another interpreter
    per step would only add seconds.
    """
    defaults: dict[str, Any] = {
        "sources": Sources(overrides=overrides or {}),
        "storage": Storage(overrides=overrides or {}),
        "embedding": Embedding(overrides=overrides or {}),
        "search_index": SearchIndex(overrides=overrides or {}),
        "progress": Progress(),
    }
    return dg.Definitions(
        assets=[*raw_assets, captures, embeddings, vectorize, d1, coverage, integrity],
        resources=defaults | resources,
        executor=dg.in_process_executor,
    )
