"""Invented installations without a catalog: what they hold is a few dictionaries, which tests change as they like."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from geopin_assets.cells import cell_facts
from geopin_assets.exchange.exporting import withdraw
from geopin_assets.exchange.files import CRAWLS, TAKEDOWNS, CheckedFile
from geopin_assets.exchange.following import part_files, takedowns_of
from geopin_assets.exchange.items import ITEM_SCHEMA, vector_file_schema
from geopin_assets.exchange.manifest import Entry, ModelFacts, number_of, read_entry, read_manifest
from geopin_assets.exchange.publish import Published, publish
from geopin_assets.exchange.snapshot import COLUMNS, Content, Snapshot, by_province
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.store.schema import captures_frame
from geopin_assets_tests.factories import capture

CELLS = ("nh-amsterdam-r090c051", "nh-amsterdam-r090c052", "ut-utrecht-r074c059")
START = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class World:
    """Captures by id: their fields, the cell that they are in, and a seed of their vectors (0: none)."""

    captures: dict[str, dict[str, Any]] = field(default_factory=dict)
    cell: dict[str, str] = field(default_factory=dict)
    seed: dict[str, int] = field(default_factory=dict)
    taken_down: dict[str, datetime] = field(default_factory=dict)
    model: str = "model-4"
    dim: int = 4
    now: datetime = START
    seen_at: datetime = START

    def put(self, name: str, cell_id: str = CELLS[0], seed: int = 1, **fields: Any) -> None:
        """Add or replace a capture."""
        self.captures[name], self.cell[name], self.seed[name] = fields, cell_id, seed

    def drop(self, name: str) -> None:
        """As if a source did not show it any more."""
        for of_captures in (self.captures, self.cell, self.seed):
            of_captures.pop(name, None)

    def snapshot(self) -> Snapshot:
        provinces = by_province(CELLS)
        return Snapshot(
            installation_id="world",
            region="all",
            cells=len(CELLS),
            model=ModelFacts(model_id=self.model, dim=self.dim, label=self.model),
            parts={name: lambda cells=cells: map(self._content, cells) for name, cells in provinces.items()},
            crawls=pl.DataFrame(
                [("panoramax", cell_id, self.seen_at, True) for cell_id in CELLS], CRAWLS, orient="row"
            ),
            takedowns=self.listed(),
        )

    def listed(self) -> pl.DataFrame:
        """TAKEDOWNS."""
        return pl.DataFrame([(id_, at, False) for id_, at in sorted(self.taken_down.items())], TAKEDOWNS, orient="row")

    def withdraw(self, store: ObjectStore) -> int:
        """As a takedown does, before anything is published again."""
        self.now += timedelta(hours=1)
        return withdraw(store, self.listed(), now=self.now, takedown_days=7)

    def publish(self, store: ObjectStore) -> Published:
        self.now += timedelta(days=1)
        return publish(self.snapshot(), store, now=self.now, takedown_days=7)

    def _content(self, cell_id: str) -> Content:
        names = sorted(name for name, where in self.cell.items() if where == cell_id)
        lon, lat = cell_facts(cell_id).cell.bbox.center
        captures = [capture(name, lon=lon, lat=lat, **self.captures[name]) for name in names]
        frame = captures_frame(captures).with_columns(cell_id=pl.lit(cell_id)).select(COLUMNS.names())
        return Content(cell_id, frame, lambda: self._vectors(names))

    def _vectors(self, names: list[str]) -> Iterator[pl.DataFrame]:
        schema = vector_file_schema(self.dim)
        for name in names:
            views = 12 if self.captures[name].get("is_pano") else 1
            vectors = np.random.default_rng([self.seed[name], self.dim, len(self.model)]).normal(size=(views, self.dim))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            rows = pl.DataFrame(
                {
                    "capture_id": [f"panoramax:{name}"] * views,
                    "view": range(views),
                    "left_out": [0] * views,
                    "heading_deg": [(90.0 + 30.0 * view) % 360.0 for view in range(views)],
                    "image_version": ["1"] * views,
                    "embedding": pl.Series(vectors.astype(np.float16), dtype=pl.Array(pl.Float16, self.dim)),
                },
                schema={name: dtype for name, dtype in schema.items() if name != "cell_id"},
            )
            if self.seed[name]:
                yield rows


def content_of(store: ObjectStore) -> dict[str, pl.DataFrame]:
    """All that is in a publication or a copy, whichever files it is in."""
    manifest = read_manifest(store)
    captures, vectors = [], []
    for name in manifest.parts:
        with part_files(store, manifest, name) as (items, rows):
            captures += [items.all_of(cell_id) for cell_id in items.cells]
            vectors += list(_all(rows))
    schema = vector_file_schema(manifest.model.dim)
    return {
        "captures": pl.concat([ITEM_SCHEMA.to_frame(), *captures]).sort("capture_id"),
        "vectors": pl.concat([schema.to_frame(), *vectors]).sort("capture_id", "view"),
        "takedowns": takedowns_of(store, manifest),
        "summary": pl.DataFrame([manifest.summary.model_dump_json(), manifest.model.model_dump_json()]),
    }


def _all(file: CheckedFile) -> Iterator[pl.DataFrame]:
    for cell_id in file.cells:
        yield from file.of(cell_id)


def entry_of(store: ObjectStore, number: int) -> Entry:
    """An entry of the feed."""
    return read_entry(store, next(stamp for stamp in read_manifest(store).feed if number_of(stamp) == number))[0]


def same(one: ObjectStore, other: ObjectStore) -> bool:
    """Whether two folders hold the same."""
    left, right = content_of(one), content_of(other)
    return all(left[name].equals(right[name]) for name in left)
