"""The platform through weeks of a world, as its assets do it, without Dagster, processes and images.

Here: crawling, merging, embedding, taking down and publishing, into either backend, which may refuse; and what is
published then. Not here: the world (`world.py`), or what is right (`test_weeks.py`).
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import lancedb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.cells import cell
from geopin_assets.defs.assets.embeddings import cell_tasks
from geopin_assets.defs.assets.raw import store_cell
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets.errors import GeoPinError
from geopin_assets.index.protocol import VectorIndex
from geopin_assets.index.stores import Backend, CloudflareBackend
from geopin_assets.platform import parts
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.index_state import announce_versions, switch_when_complete
from geopin_assets.platform.publishing import Publisher
from geopin_assets.settings import Settings
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets_tests.cloudflare import CloudflareEmulator
from geopin_assets_tests.faults.world import Faint, InPlace, Lying, Web
from geopin_assets_tests.index.cloudflare.emulated import emulated
from geopin_assets_tests.index.frames import Clock
from geopin_assets_tests.platform import CELLS

EVERYTHING = 10**9
AT_ONCE = 20


class Storage(parts.Storage):
    """With settings of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def settings(self) -> Settings:
        return self._settings


class SearchIndex(parts.SearchIndex):
    """The same, at Cloudflare if there is a backend there."""

    def __init__(self, settings: Settings, hosted: Backend | None) -> None:
        self._settings, self._hosted = settings, hosted

    def settings(self) -> Settings:
        return self._settings

    def backend(self) -> Backend:
        return self._hosted or super().backend()


@dataclass
class Published:
    """What searchers could see."""

    rows: pl.DataFrame
    views: pl.DataFrame
    vectors: dict[str, NDArray[np.float32]]


@dataclass
class Platform:
    """One installation. `emulator`: of Cloudflare, if it publishes there."""

    storage: Storage
    index: SearchIndex
    clock: Clock
    emulator: CloudflareEmulator | None
    model = Faint.model

    def crawl(self, source: Lying, cell_id: str) -> CellCrawl | GeoPinError:
        raw, taken_down = self.storage.raw(), self.storage.takedowns().of(source.name)
        held = raw.ids_of(source.name, cell_id)
        try:
            outcome: CellCrawl | GeoPinError = crawl_cell(source, cell(cell_id), known=lambda _: held)
        except GeoPinError as error:
            outcome = error
        list(store_cell(raw, source.name, cell_id, outcome, taken_down))
        return outcome

    def merge(self) -> None:
        self.storage.catalog().merge(CELLS, self.storage.raw())

    def embed(self, web: Web, embedder: Faint) -> None:
        """Raises Killed when the embedder dies; what was stored by then stays."""
        Evidence(self.storage).check_files()
        tasks = cell_tasks(self.storage, self.model, CELLS, self.storage.takedowns().ids(), lambda _: True, {})
        finished = embed_cells(tasks, embedder=embedder, fetcher=web, now=self.clock, decoders=InPlace())
        for cell_id, result in finished:
            assert not isinstance(result, GeoPinError), result
            if result.failures_changed:
                self.storage.failures().write(cell_id, result.failures)

    def take_down(self, capture_ids: Sequence[str]) -> None:
        self.storage.takedowns().take_down(capture_ids, note="asked", now=datetime.now(UTC))

    def undo(self, capture_ids: Sequence[str]) -> None:
        self.storage.takedowns().undo(capture_ids, now=datetime.now(UTC))

    def publish(self) -> None:
        """Raises what Cloudflare said."""
        publisher = Publisher.begin(self.storage, self.index, self.model, max_removals=EVERYTHING)
        publisher.rows(CELLS)
        publisher.vectors(CELLS, self.index.publishing(self.model))
        switch_when_complete(self.storage, self.index, self.model)
        announce_versions(self.storage, self.index, self.model)

    def published(self) -> Published:
        (rows,) = self.index.metadata().parts
        (index,) = self.index.vectors(self.index.publishing(self.model)).parts
        is_there = index.name in self.index.backend().indexes()
        found = list(self._vectors(index)) if is_there else []
        return Published(
            rows.query("SELECT * FROM captures"),
            rows.query("SELECT * FROM vectors"),
            {id_: values for some in found for id_, values in some.select("vector_id", "embedding").iter_rows()},
        )

    def _vectors(self, index: VectorIndex) -> Iterator[pl.DataFrame]:
        """Of a folder all at once, by LanceDB alone; of Cloudflare as many as it gives."""
        if not self.emulator:
            folder = self.index.settings().index_dir / "vectors"
            yield pl.DataFrame(lancedb.connect(folder).open_table(index.name).to_arrow())
            return
        ids = sorted(index.ids())
        yield from (index.get(ids[start : start + AT_ONCE]) for start in range(0, len(ids), AT_ONCE))


@cache
def _prepared() -> "TemporaryDirectory[str]":
    """An installation that published nothing yet: what is born in it is so once."""
    folder = TemporaryDirectory()
    with _platform_in(Path(folder.name), is_hosted=False) as platform:
        platform.merge()
        platform.publish()
    return folder


@contextmanager
def platform_in(folder: Path, *, is_hosted: bool) -> Iterator[Platform]:
    if not is_hosted:
        shutil.copytree(_prepared().name, folder, dirs_exist_ok=True)
    with _platform_in(folder, is_hosted=is_hosted) as platform:
        yield platform


@contextmanager
def _platform_in(folder: Path, *, is_hosted: bool) -> Iterator[Platform]:
    settings = Settings.from_env({"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(folder)})
    clock, backend, emulator = Clock(), None, None
    with ExitStack() as stack:
        if is_hosted:
            api, emulator = stack.enter_context(emulated(folder, clock, attempts=3))
            backend = CloudflareBackend(api)
        yield Platform(Storage(settings), SearchIndex(settings, backend), clock, emulator)
