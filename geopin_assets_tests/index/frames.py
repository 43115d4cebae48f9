"""Frames, short ways to publish, and small stand-ins of the outside world, shared by the tests of the index."""

import itertools
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from geopin_assets.index.cost import RunBudget
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.protocol import IndexInfo, MetadataStore, vector_schema
from geopin_assets.index.publish import PublishReport, publish
from geopin_assets.index.tables import TABLES, encode_rows
from geopin_assets.index.targets import RowTarget

DIM = 8
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def unit(seed: int, dim: int = DIM) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dim).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)


def vectors(rows: Iterable[tuple[str, int]], cell_id: str = "a", source: str = "panoramax") -> pl.DataFrame:
    """(id, content seed) pairs as desired vectors of one cell."""
    rows = list(rows)
    return pl.DataFrame(
        {
            "vector_id": [id_ for id_, _ in rows],
            "embedding": np.array([unit(seed) for _, seed in rows], dtype=np.float32).reshape(-1, DIM),
            "source": [source] * len(rows),
            "cell_block": ["block"] * len(rows),
            "captured_year": [None if seed % 5 == 0 else 2000 + seed % 20 for _, seed in rows],
            "cell_id": [cell_id] * len(rows),
        },
        schema={**vector_schema(DIM), "cell_id": pl.String()},
    )


def upsertable(rows: Iterable[tuple[str, int]], **kwargs: str) -> pl.DataFrame:
    return vectors(rows, **kwargs).drop("cell_id")


def captures(rows: Iterable[tuple[str, int]], cell_id: str = "a") -> pl.DataFrame:
    """(id, content seed) pairs as desired rows of the captures table, of one cell."""
    rows = list(rows)
    return pl.DataFrame(
        [
            {
                "capture_id": id_,
                "source": "panoramax",
                "lon": 4.9 + seed / 1000,
                "lat": 52.3,
                "captured_at": NOW + timedelta(days=seed),
                "heading_deg": None if seed % 5 == 0 else float(seed % 360),
                "is_pano": seed % 2 == 0,
                "license": "CC-BY-SA-4.0",
                "attribution": "© Zoë 'Z', \"maker\"",
                "creator": None,
                "page_url": f"https://example.org/{id_}",
                "thumbnail_url": None,
                "covered_by": '["panoramax"]',
                "cell_id": cell_id,
                "position_from": "device",
                "position_error_m": None if seed % 3 else 4.5,
                "heading_from": None if seed % 5 == 0 else "device",
                "not_indexed_because": None if seed % 7 else "thinned",
                "payload": "not published",
            }
            for id_, seed in rows
        ],
        schema={
            **{"capture_id": pl.String, "source": pl.String, "lon": pl.Float64, "lat": pl.Float64},
            **{"captured_at": pl.Datetime("us", "UTC"), "heading_deg": pl.Float64, "is_pano": pl.Boolean},
            **{"license": pl.String, "attribution": pl.String, "creator": pl.String, "page_url": pl.String},
            **{"thumbnail_url": pl.String, "covered_by": pl.String, "cell_id": pl.String, "payload": pl.String},
            **{"position_from": pl.String, "position_error_m": pl.Float64, "heading_from": pl.String},
            "not_indexed_because": pl.String,
        },
    )


def publish_rows(
    rows: pl.DataFrame, cells: Sequence[str], store: MetadataStore, ledger: Ledger, budget: RunBudget | None = None
) -> PublishReport:
    """Make the captures of a store those of `rows` for these cells."""
    return publish(rows, cells, RowTarget(store, TABLES["captures"]), ledger, now=NOW, budget=budget)


def row_hashes(table: str, rows: pl.DataFrame) -> list[str]:
    return encode_rows(TABLES[table], rows)["row_hash"].to_list()


def claimed(ledger: Ledger, store: str, *cells: str) -> dict[str, int]:
    """How many ids each of these cells claims; cells that claim none are not in it."""
    return dict(Counter(ledger.claims(store, cells)["cell_id"]))


class LaggingIndex(LanceIndex):
    """Takes a write at once, as Vectorize does, and processes it `lag_s` later, in order."""

    def __init__(self, folder: Path, name: str, dim: int, *, lag_s: float, clock: Clock) -> None:
        super().__init__(folder, name, dim)
        self._lag, self._clock = timedelta(seconds=lag_s), clock
        self._waiting = deque[tuple[str, datetime, Callable[[], str]]]()
        self._processed: tuple[str, datetime] | tuple[None, None] = (None, None)

    def upsert(self, vectors: pl.DataFrame) -> str:
        write = super().upsert
        return self._later(lambda: write(vectors))

    def delete(self, vector_ids: Sequence[str]) -> str:
        delete = super().delete
        return self._later(lambda: delete(vector_ids))

    def info(self) -> IndexInfo:
        while self._waiting and self._waiting[0][1] + self._lag <= self._clock():
            mutation, at, write = self._waiting.popleft()
            write()
            self._processed = mutation, at
        return IndexInfo(self.dim, super().info().vector_count, *self._processed)

    def _later(self, write: Callable[[], str]) -> str:
        self._waiting.append((str(uuid.uuid4()), self._clock(), write))
        return self._waiting[-1][0]


class Killed(Exception):
    """The process died here."""


class Faults:
    """Counts the calls through its wrappers and dies at call number `at`, before or after doing it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.calls = at, after, itertools.count()

    def wrap(self, target: Any, methods: Iterable[str]) -> Any:
        return _Wrapper(target, frozenset(methods), self)


class _Wrapper:
    def __init__(self, target: Any, methods: frozenset[str], faults: Faults) -> None:
        self._target, self._methods, self._faults = target, methods, faults

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        return self._guarded(attribute) if name in self._methods else attribute

    def _guarded(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            dies = next(self._faults.calls) == self._faults.at
            if dies and not self._faults.after:
                raise Killed
            result = method(*args, **kwargs)
            if dies:
                raise Killed
            return result

        return call
