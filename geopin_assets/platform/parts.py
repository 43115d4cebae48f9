"""Settings turned into the plain classes that do the work, built anew whenever they are asked for.

Here: which class, with which settings. Not here: any behavior of those classes, or Dagster (`defs/resources.py`).
Each is imported when it is asked for: definitions and listings load in a fraction of the time that all of them take.
"""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from math import inf
from typing import TYPE_CHECKING

from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from geopin_assets.embedding.attempts import Attempts
    from geopin_assets.embedding.decoders import Decoders
    from geopin_assets.embedding.failures import FailureFiles
    from geopin_assets.embedding.fetching import ImageFetcher
    from geopin_assets.embedding.protocol import Embedder, FailureReason, Model
    from geopin_assets.embedding.quality import SceneOf
    from geopin_assets.embedding.vectors import VectorFiles
    from geopin_assets.files.lease import Leases
    from geopin_assets.files.object_store import ObjectStore
    from geopin_assets.index.cloudflare import CloudflareApi
    from geopin_assets.index.cost import RunBudget
    from geopin_assets.index.ledger import Ledger
    from geopin_assets.index.protocol import MetadataStore, VectorIndex
    from geopin_assets.index.registry import StoreRegistry
    from geopin_assets.index.stores import Backend, Shards
    from geopin_assets.index.versions import IndexVersion, IndexVersions
    from geopin_assets.sources.base import Source
    from geopin_assets.sources.links import Links
    from geopin_assets.store.catalog import Catalog
    from geopin_assets.store.cell_files import CellFiles
    from geopin_assets.store.raw import RawStore
    from geopin_assets.store.takedowns import Takedowns


class Parts:
    """Whatever is built from settings: here those of the environment."""

    def settings(self) -> Settings:
        return Settings.from_env(os.environ)

    def leases(self) -> Leases:
        """Who works on what of this data: assets by their keys, their units being cells."""
        from geopin_assets.files.lease import LEASES, Leases

        settings = self.settings()
        return Leases(settings.postgres_url or settings.data_dir / LEASES)


class Sources(Parts):
    """The imagery sources, reached through one polite client each."""

    def open(self, name: str, *, left_s: float = inf) -> AbstractContextManager[Source]:
        """A source ready to crawl for so long; its connections are closed with the context."""
        from geopin_assets.sources import open_source

        return open_source(name, self.settings(), left_s=left_s)

    def cells_at_once(self, source: type[Source]) -> int:
        """How many cells of it are crawled side by side."""
        from geopin_assets.sources import cells_at_once

        return cells_at_once(source, self.settings())

    def links(self) -> Links:
        """Renews expired image links through the sources."""
        from geopin_assets.sources import source_named
        from geopin_assets.sources.links import Links

        return Links(self.open, source_named)

    def disabled_reason(self, source: type[Source]) -> str | None:
        return source.disabled_reason(self.settings())


class Storage(Parts):
    """Raw files, vectors and reports in the object store; the DuckDB catalog in the data directory."""

    def objects(self, folder: str = "") -> ObjectStore:
        """The store that several machines may share, or a folder of it: `raw`, `embeddings`, `quality`, …"""
        from geopin_assets.files.object_store import open_store

        settings = self.settings()
        store = open_store(
            settings.store,
            endpoint_url=settings.s3_endpoint_url,
            access=settings.s3,
            is_durable=not settings.is_sandbox,  # what is invented can be invented again
        )
        return store.below(folder) if folder else store

    def raw(self) -> RawStore:
        from geopin_assets.store.raw import RawStore

        return RawStore(self.objects("raw"))

    def catalog(self) -> Catalog:
        from geopin_assets.store.catalog import Catalog

        settings = self.settings()
        return Catalog(settings.catalog_path, self.takedowns(), self.cells(), thin_m=settings.thin_m)

    def cells(self) -> CellFiles:
        """What the catalog holds of each cell."""
        from geopin_assets.store.cell_files import CellFiles

        return CellFiles(self.objects("captures"))

    def failures(self) -> FailureFiles:
        """Images that could not be embedded, by cell."""
        from geopin_assets.embedding.failures import FailureFiles

        return FailureFiles(self.objects("failures"))

    def follow_failures(self) -> None:
        """Have the catalog know what failed anywhere, where there is a catalog."""
        self.catalog().follow_failures(self.failures().objects)

    def takedowns(self) -> Takedowns:
        """What never comes back; copies of the list are beside the raw files and in the embedded index's folder."""
        from geopin_assets.files.object_store import open_store
        from geopin_assets.store.takedowns import Takedowns

        settings = self.settings()
        return Takedowns(settings.takedowns_path, lambda: [self.objects("raw"), open_store(settings.index_dir)])

    def vectors(self, model: Model) -> VectorFiles:
        """The vectors of one model; those of others are beside them, never among them."""
        from geopin_assets.embedding.vectors import VectorFiles

        return VectorFiles(self.embeddings(), model.model_id, model.dim)

    def embeddings(self) -> ObjectStore:
        """The vectors of all models."""
        return self.objects("embeddings")

    def quality(self) -> ObjectStore:
        """Reports: `with storage.quality().as_folder() as folder` where they are written as files."""
        return self.objects("quality")

    def snapshots(self) -> ObjectStore:
        """Copies of the catalog for readers elsewhere."""
        return self.objects("catalog")

    def exports(self) -> ObjectStore:
        """What is handed to others."""
        return self.objects("exports")


class Embedding(Parts):
    """The model on its device, and the guarded image fetcher."""

    def model(self) -> Model:
        """Which model the settings ask for, without loading it."""
        from geopin_assets.embedding.model.choosing import identify_model

        return identify_model(self.settings())

    def embedder(self) -> Embedder:
        from geopin_assets.embedding.model.choosing import build_embedder

        return build_embedder(self.settings())

    def unwanted(self) -> frozenset[FailureReason]:
        """Flaws of an image that leave it without a vector."""
        from geopin_assets.embedding.protocol import FLAWS

        return FLAWS & self.settings().leave_out

    def scene_of(self) -> SceneOf | None:
        """The network that tells rooms and insides of vehicles, if one is configured."""
        if not (folder := self.settings().scenes):
            return None
        from pathlib import Path

        from geopin_assets.embedding.model.scenes import Scenes

        return Scenes(Path(folder))

    def decoders(self) -> Decoders:
        """Processes that images are decoded in, for as long as somebody does so."""
        from geopin_assets.embedding.decoders import Decoders

        return Decoders()

    def attempts(self) -> Attempts:
        """Which images are being read by any run over this data."""
        from geopin_assets.embedding.attempts import Attempts

        return Attempts(self.settings().attempts_dir)

    def fetcher(self) -> ImageFetcher:
        """Public hosts only; loopback in the sandbox; private hosts where the settings trust them.

        Hosts are asked as gently as the sources state, whichever source an image is from, and left alone by all runs
        if one was asked to.
        """
        from geopin_assets.embedding.fetching import ImageFetcher
        from geopin_assets.files.losable import clock_of
        from geopin_assets.http_client import SharedState, user_agent
        from geopin_assets.http_client.addresses import AddressRule
        from geopin_assets.sources import SOURCES
        from geopin_assets.sources.own_photos import photo_folder

        settings = self.settings()
        rule = AddressRule(trusted_hosts=settings.trusted_hosts, allow_loopback=settings.is_sandbox)
        return ImageFetcher(
            own_photos=photo_folder(settings),
            addresses=rule,
            host_limits={host: most for source in SOURCES for host, most in source.image_hosts.items()},
            user_agent=user_agent(settings.contact),
            ignore_opt_out=settings.ignore_opt_out,
            pauses=lambda: SharedState(settings.use_place, "image hosts"),
            clock=clock_of(settings.use_place),
        )


class SearchIndex(Parts):
    """What is published: the versions of the vector index, the metadata beside them, and the ledger of both.

    Embedded, or at Cloudflare: the profile decides.
    """

    def backend(self) -> Backend:
        """Raises ConfigurationError naming the variable that Cloudflare needs and that is missing."""
        from geopin_assets.index.stores import EmbeddedBackend

        if not self.settings().publishes_to_cloudflare:
            return EmbeddedBackend(self.settings().index_dir)
        return self._cloudflare()

    def _cloudflare(self) -> Backend:
        from geopin_assets.index.stores import CloudflareBackend

        settings = self.settings()
        account = settings.cloudflare
        api = _api(account.account_id, account.token, account.base_url, settings.use_place, settings.contact)
        return CloudflareBackend(api, settings.d1_database)

    def backends(self) -> dict[str, Backend]:
        """By their keys those that the settings can reach, whichever is published to: the folder, and the account."""
        from geopin_assets.index.stores import EmbeddedBackend

        found: list[Backend] = [EmbeddedBackend(self.settings().index_dir)]
        with suppress(ConfigurationError):
            found.append(self._cloudflare())
        return {backend.key: backend for backend in found}

    def registry(self) -> StoreRegistry:
        """Every store that was ever published to."""
        from geopin_assets.index.registry import StoreRegistry

        return StoreRegistry(self.settings().stores_path)

    def versions(self) -> IndexVersions:
        from geopin_assets.index.versions import IndexVersions

        return IndexVersions(self.settings().ledger_path, self.backend().key)

    def publishing(self, model: Model) -> IndexVersion:
        """The version that vectors of this model are published to; made up where there is none yet."""
        versions, now = self.versions(), datetime.now(UTC)
        return self._recorded(versions.publishing(model.model_id, model.dim, shards=self._shards(), now=now))

    def rebuild(self, model: Model) -> IndexVersion:
        """A new version of this model's index, to be published from the beginning."""
        versions, now = self.versions(), datetime.now(UTC)
        return self._recorded(versions.rebuild(model.model_id, model.dim, shards=self._shards(), now=now))

    def replaced(self, lost: IndexVersion) -> IndexVersion:
        """A version in the place of one whose index was deleted and cannot be made again."""
        return self._recorded(self.versions().replaced(lost, shards=self._shards(), now=datetime.now(UTC)))

    def _recorded(self, version: IndexVersion) -> IndexVersion:
        from geopin_assets.index.registry import Recorded

        about = (version.model_id, version.number, version.dim, version.shards)
        self.registry().record(Recorded(part.store_key, *about) for part in self.vectors(version).parts)
        return version

    def vectors(self, version: IndexVersion) -> Shards[VectorIndex]:
        """The index of a version, in its shards."""
        from geopin_assets.index.stores import Shards

        backend = self.backend()
        return Shards(tuple(backend.index(name, version.dim) for name in version.shard_names()))

    def metadata(self) -> Shards[MetadataStore]:
        """The metadata beside every version, in its shards, with the present schema."""
        from geopin_assets.index.registry import Recorded

        shards = self.metadata_parts()
        self.registry().record(Recorded(store.store_key) for store in shards.parts)
        for store in shards.parts:
            store.migrate()
        return shards

    def metadata_parts(self) -> Shards[MetadataStore]:
        """The same, as it is."""
        from geopin_assets.index.stores import Shards

        return Shards(self.stores())

    def stores(self) -> tuple[MetadataStore, ...]:
        """The same, without asking for anything yet."""
        shards = self.settings().d1_shards
        backend = self.backend()
        return tuple(backend.store(shard if shards > 1 else None) for shard in range(shards))

    def ledger(self) -> Ledger:
        from geopin_assets.index.ledger import Ledger

        return Ledger(self.settings().ledger_path)

    def budget(self) -> RunBudget:
        """What one run may write and ask, at most."""
        from geopin_assets.index.cost import RunBudget

        settings = self.settings()
        return RunBudget(rows=settings.publish_max_rows, requests=settings.publish_max_requests)

    def max_deletions(self) -> int:
        """Vectors that one publish may delete; more is a new version of the index."""
        return self.settings().mass_removal

    def _shards(self) -> int:
        return self.settings().index_shards


@cache
def _api(account_id: str, token: str, base_url: str, rate_place: Path | str, contact: str) -> CloudflareApi:
    """One client per account and process: it keeps connections, and the rate of the account."""
    from geopin_assets.index.cloudflare import CloudflareApi

    api = CloudflareApi(account_id, token, base_url=base_url, rate_place=rate_place, contact=contact)
    atexit.register(api.close)
    return api
