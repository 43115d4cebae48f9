"""Settings turned into the plain classes that do the work, built anew whenever they are asked for.

Here: which class, with which settings. Not here: any behavior of those classes, or Dagster (`defs/resources.py`).
"""

import atexit
import os
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from geopin_assets.embedding.attempts import Attempts
from geopin_assets.embedding.model.choosing import build_embedder, identify_model
from geopin_assets.embedding.protocol import Embedder, Model
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.files.lease import LEASES, Leases
from geopin_assets.files.object_store import ObjectStore, open_store
from geopin_assets.http_client import user_agent
from geopin_assets.index.cloudflare import CloudflareApi
from geopin_assets.index.cost import RunBudget
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.protocol import MetadataStore, VectorIndex
from geopin_assets.index.stores import Backend, CloudflareBackend, EmbeddedBackend, Shards
from geopin_assets.index.versions import IndexVersion, IndexVersions
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES, open_source, source_named
from geopin_assets.sources.base import Source
from geopin_assets.sources.links import Links
from geopin_assets.sources.own_photos import photo_folder
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore

if TYPE_CHECKING:  # aiohttp alone is a tenth of the time that loading the definitions may take
    from geopin_assets.embedding.fetching import ImageFetcher


class Parts:
    """Whatever is built from settings: here those of the environment."""

    def settings(self) -> Settings:
        return Settings.from_env(os.environ)

    def leases(self) -> Leases:
        """Who works on what of this data: assets by their keys, their units being cells."""
        return Leases(self.settings().data_dir / LEASES)


class Sources(Parts):
    """The imagery sources, reached through one polite client each."""

    def open(self, name: str) -> AbstractContextManager[Source]:
        """A source ready to crawl; its connections are closed with the context."""
        return open_source(name, self.settings())

    def links(self) -> Links:
        """Renews expired image links through the sources."""
        return Links(self.open, source_named)

    def disabled_reason(self, source: type[Source]) -> str | None:
        return source.disabled_reason(self.settings())


class Storage(Parts):
    """Raw Parquet files, embedding files and the DuckDB catalog, under one data directory."""

    def raw(self) -> RawStore:
        return RawStore(self._open(self.settings().raw_dir))

    def catalog(self) -> Catalog:
        return Catalog(self.settings().catalog_path)

    def vectors(self, model: Model) -> VectorFiles:
        """The vectors of one model; those of others are beside them, never among them."""
        return VectorFiles(self.embeddings(), model.model_id, model.dim)

    def embeddings(self) -> ObjectStore:
        """The vectors of all models."""
        return self._open(self.settings().embeddings_dir)

    def quality_dir(self) -> Path:
        return self.settings().quality_dir

    def _open(self, folder: Path) -> ObjectStore:
        """What is invented can be invented again: only real data waits for the disk."""
        return open_store(folder, is_durable=not self.settings().is_sandbox)


class Embedding(Parts):
    """The model on its device, and the guarded image fetcher."""

    def model(self) -> Model:
        """Which model the settings ask for, without loading it."""
        return identify_model(self.settings())

    def embedder(self) -> Embedder:
        return build_embedder(self.settings())

    def attempts(self) -> Attempts:
        """Which images are being read by any run over this data."""
        return Attempts(self.settings().attempts_dir)

    def fetcher(self) -> "ImageFetcher":
        """Public hosts only; loopback in the sandbox; private hosts where the settings trust them.

        Hosts are asked as gently as the sources state, whichever source an image is from.
        """
        from geopin_assets.embedding.fetching import ImageFetcher
        from geopin_assets.embedding.hosts import AddressRule

        settings = self.settings()
        rule = AddressRule(trusted_hosts=settings.trusted_hosts, allow_loopback=settings.is_sandbox)
        return ImageFetcher(
            own_photos=photo_folder(settings),
            addresses=rule,
            host_limits={host: most for source in SOURCES for host, most in source.image_hosts.items()},
            user_agent=user_agent(settings.contact),
        )


class SearchIndex(Parts):
    """What is published: the versions of the vector index, the metadata beside them, and the ledger of both.

    Embedded, or at Cloudflare: the profile decides.
    """

    def backend(self) -> Backend:
        """Raises ConfigurationError naming the variable that Cloudflare needs and that is missing."""
        settings = self.settings()
        if not settings.publishes_to_cloudflare:
            return EmbeddedBackend(settings.index_dir)
        account = settings.cloudflare
        api = _api(account.account_id, account.token, account.base_url, settings.daily_use_path, settings.contact)
        return CloudflareBackend(api, settings.d1_database)

    def versions(self) -> IndexVersions:
        return IndexVersions(self.settings().ledger_path, self.backend().key)

    def publishing(self, model: Model) -> IndexVersion:
        """The version that vectors of this model are published to; made up where there is none yet."""
        return self.versions().publishing(model.model_id, model.dim, shards=self._shards(), now=datetime.now(UTC))

    def rebuild(self, model: Model) -> IndexVersion:
        """A new version of this model's index, to be published from the beginning."""
        return self.versions().rebuild(model.model_id, model.dim, shards=self._shards(), now=datetime.now(UTC))

    def vectors(self, version: IndexVersion) -> Shards[VectorIndex]:
        """The index of a version, in its shards."""
        backend = self.backend()
        return Shards(tuple(backend.index(name, version.dim) for name in version.shard_names()))

    def metadata(self) -> Shards[MetadataStore]:
        """The metadata beside every version, in its shards, with the present schema."""
        stores = self.stores()
        for store in stores:
            store.migrate()
        return Shards(stores)

    def stores(self) -> tuple[MetadataStore, ...]:
        """The same, without asking for anything yet."""
        shards = self.settings().d1_shards
        backend = self.backend()
        return tuple(backend.store(shard if shards > 1 else None) for shard in range(shards))

    def ledger(self) -> Ledger:
        return Ledger(self.settings().ledger_path)

    def budget(self) -> RunBudget:
        """What one run may write and ask, at most."""
        settings = self.settings()
        return RunBudget(rows=settings.publish_max_rows, requests=settings.publish_max_requests)

    def max_deletions(self) -> int:
        """Vectors that one publish may delete; more is a new version of the index."""
        return self.settings().mass_removal

    def _shards(self) -> int:
        return self.settings().index_shards


@cache
def _api(account_id: str, token: str, base_url: str, rate_file: Path, contact: str) -> CloudflareApi:
    """One client per account and process: it keeps connections, and the rate of the account."""
    api = CloudflareApi(account_id, token, base_url=base_url, rate_file=rate_file, contact=contact)
    atexit.register(api.close)
    return api
