"""The platform's parts as Dagster's resources: the same classes, with variables of their own for special runs.

Not here: what they build (`platform/parts.py`), and no secret: keys come from the environment only and stay out of
resource configuration, which the UI shows.
"""

import os

import dagster as dg

from geopin_assets.platform import parts
from geopin_assets.settings import Settings


class FromSettings(dg.ConfigurableResource):
    """Base of the resources: settings from the environment, with overrides on top."""

    overrides: dict[str, str] = {}
    """GEOPIN_* variables that replace those of the environment; never keys or tokens: the UI shows them."""

    def settings(self) -> Settings:
        return Settings.from_env({**os.environ, **self.overrides})


class Sources(FromSettings, parts.Sources):
    """The imagery sources, reached through one polite client each."""


class Storage(FromSettings, parts.Storage):
    """Raw Parquet files, embedding files and the DuckDB catalog, under one data directory."""


class Embedding(FromSettings, parts.Embedding):
    """The model on its device, and the guarded image fetcher."""


class SearchIndex(FromSettings, parts.SearchIndex):
    """What is published: the versions of the vector index, the metadata beside them, and the ledger of both."""
