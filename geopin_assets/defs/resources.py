"""Resources: thin builders that turn settings into the plain classes that do the work.

Not here: any behavior of those classes, and no secret: keys come from the environment only and stay out
of resource configuration, which the UI shows.
"""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from geopin_assets.embedding.choose import build_embedder
from geopin_assets.embedding.protocol import Embedder
from geopin_assets.errors import ConfigurationError
from geopin_assets.http_client import user_agent
from geopin_assets.index.lance import LanceIndex
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.protocol import MetadataStore, VectorIndex, index_name
from geopin_assets.index.sqlite import SqliteStore
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import SOURCES, open_source, source_named
from geopin_assets.sources.base import Source
from geopin_assets.sources.links import Links
from geopin_assets.sources.own_photos import photo_folder
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore

if TYPE_CHECKING:  # aiohttp alone is a tenth of the time that loading the definitions may take
    from geopin_assets.embedding.images import ImageFetcher


class FromSettings(dg.ConfigurableResource):
    """Base of the resources: settings from the environment, with overrides for tests and special runs."""

    overrides: dict[str, str] = {}
    """GEOPIN_* variables that replace those of the environment; never keys or tokens: the UI shows them."""

    def settings(self) -> Settings:
        return Settings.from_env({**os.environ, **self.overrides})


class Sources(FromSettings):
    """The imagery sources, reached through one polite client each."""

    def open(self, name: str) -> AbstractContextManager[Source]:
        """A source ready to crawl; its connections are closed with the context."""
        return open_source(name, self.settings())

    def links(self) -> Links:
        """Renews expired image links through the sources."""
        return Links(self.open, source_named)

    def disabled_reason(self, source: type[Source]) -> str | None:
        return source.disabled_reason(self.settings())


class Storage(FromSettings):
    """Raw Parquet files, embedding files and the DuckDB catalog, under one data directory."""

    def raw(self) -> RawStore:
        return RawStore(self.settings().raw_dir)

    def catalog(self) -> Catalog:
        return Catalog(self.settings().catalog_path)

    def embeddings_path(self, cell_id: str) -> Path:
        return self.settings().embeddings_dir / f"{cell_id}.parquet"

    def embeddings_paths(self) -> list[Path]:
        """The files of all embedded cells."""
        return sorted(self.settings().embeddings_dir.glob("*.parquet"))

    def quality_dir(self) -> Path:
        return self.settings().quality_dir


class Embedding(FromSettings):
    """The model on its device, and the guarded image fetcher."""

    def embedder(self) -> Embedder:
        return build_embedder(self.settings())

    def fetcher(self) -> "ImageFetcher":
        """Public hosts only; loopback in the sandbox; private hosts where the settings trust them.

        Hosts are asked as gently as the sources state, whichever source an image is from.
        """
        from geopin_assets.embedding.addresses import AddressRule
        from geopin_assets.embedding.images import ImageFetcher

        settings = self.settings()
        rule = AddressRule(trusted_hosts=settings.trusted_hosts, allow_loopback=settings.is_sandbox)
        return ImageFetcher(
            own_photos=photo_folder(settings),
            addresses=rule,
            host_limits={host: most for source in SOURCES for host, most in source.image_hosts.items()},
            user_agent=user_agent(settings.contact),
        )


class SearchIndex(FromSettings):
    """What is published: the vector index of a model, the metadata store, and the ledger of both."""

    def vectors(self, embedder: Embedder) -> VectorIndex:
        """The index of this embedder's vectors; another model has another index."""
        return LanceIndex(self._embedded() / "vectors", index_name(embedder.model_id), embedder.dim)

    def metadata(self) -> MetadataStore:
        store = SqliteStore(self._embedded() / "metadata.sqlite")
        store.migrate()
        return store

    def ledger(self) -> Ledger:
        return Ledger(self.settings().ledger_path)

    def _embedded(self) -> Path:
        """Where the embedded backends live. Raises ConfigurationError for the profile that has none."""
        settings = self.settings()
        if settings.profile is Profile.CLOUD:
            raise ConfigurationError("GEOPIN_PROFILE=cloud: publishing to Cloudflare is not there yet, use live")
        return settings.index_dir
