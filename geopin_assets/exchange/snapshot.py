"""What an installation holds of a region at one moment, cell by cell.

The catalog is read once, into a file beside it: what is merged meanwhile is part of the next publish. Vectors are those
of the model that searches use. Here: reading them. Not here: what of it is passed on, or where to (`publish.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from shutil import rmtree
from typing import Self

import polars as pl
import pyarrow.parquet as pq

from geopin_assets.embedding.protocol import Model
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.exchange.files import CRAWLS, TAKEDOWNS, CheckedFile, frames_of
from geopin_assets.exchange.items import ITEM_SCHEMA, vector_file_schema
from geopin_assets.exchange.manifest import ModelFacts
from geopin_assets.index.versions import State
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.parts import Embedding, SearchIndex, Storage

COLUMNS = pl.Schema({name: dtype for name, dtype in ITEM_SCHEMA.items() if not name.startswith("vectors")})
WITHHELD = pl.Schema({"capture_id": pl.String(), "reason": pl.String()})


@dataclass(frozen=True, slots=True)
class Content:
    """What there is in a cell. `captures`: COLUMNS, by capture_id. `vectors`: by capture and view, each time."""

    cell_id: str
    captures: pl.DataFrame
    vectors: Callable[[], Iterator[pl.DataFrame]]
    withheld: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=WITHHELD))
    """What there is, too, and is not passed on: WITHHELD."""

    @classmethod
    def empty(cls, cell_id: str) -> Self:
        """A cell without captures."""
        return cls(cell_id, pl.DataFrame(schema=COLUMNS), lambda: iter(()))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What may be published. `crawls`: CRAWLS. `takedowns`: TAKEDOWNS, none of them undone."""

    installation_id: str
    region: str
    cells: int
    model: ModelFacts
    parts: Mapping[str, Callable[[], Iterator[Content]]]
    """By province."""
    crawls: pl.DataFrame
    takedowns: pl.DataFrame
    stays: frozenset[str] = frozenset()
    """Provinces of which all stays as it was published."""
    withheld: Mapping[str, int] = field(default_factory=dict)
    """What else there is and is not passed on, by reason."""


def by_province(cell_ids: Sequence[str]) -> dict[str, list[str]]:
    """Cells by the first word of their ids."""
    return {name: list(some) for name, some in groupby(sorted(cell_ids), lambda cell_id: cell_id.partition("-")[0])}


def searched_model(embedding: Embedding, search_index: SearchIndex) -> Model:
    """The model of the index that searches use; the configured one where there is none yet, or it is that."""
    configured = embedding.model()
    serving = next((v for v in search_index.versions().all() if v.state is State.SERVING), None)
    if serving is None or serving.model_id == configured.model_id:
        return configured
    return Model(serving.model_id, serving.dim, is_place_recognition=True)


@contextmanager
def snapshot(storage: Storage, model: Model, cell_ids: Sequence[str], region: str) -> Iterator[Snapshot]:
    """What there is now, until the end; one at a time.

    Raises StaleCatalogError where the catalog was lost, or put back from a copy: others would be told that all is gone.
    """
    Evidence(storage).check_catalog()
    folder = storage.settings().data_dir / "exchange.tmp"
    with storage.leases().held("a snapshot of the catalog", what="export"):
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            provinces = by_province(cell_ids)
            crawls = storage.catalog().snapshot(
                {folder / f"{name}.parquet": ids for name, ids in provinces.items()}, COLUMNS.names()
            )
            files = storage.vectors(model)
            yield Snapshot(
                installation_id=storage.takedowns().installation_id(),
                region=region,
                cells=len(cell_ids),
                model=ModelFacts(model_id=model.model_id, dim=model.dim, label=model.label),
                parts={name: _part(folder / f"{name}.parquet", files) for name in provinces},
                crawls=_crawls(crawls),
                takedowns=takedowns(storage),
            )
        finally:
            rmtree(folder, ignore_errors=True)


def _part(path: Path, files: VectorFiles) -> Callable[[], Iterator[Content]]:
    columns = [name for name in vector_file_schema(files.dim) if name != "cell_id"]

    def contents() -> Iterator[Content]:
        with pq.ParquetFile(path) as parquet:
            captures = CheckedFile(parquet, frames_of(COLUMNS), str(path))
            for cell_id in captures.cells:
                yield Content(cell_id, captures.all_of(cell_id), files.cell(cell_id).snapshot(columns))

    return contents


def _crawls(crawls: pl.DataFrame) -> pl.DataFrame:
    """Of the newest complete crawl; where there was none, of the newest."""
    is_complete = pl.col("complete_number").is_not_null()
    seen_at = pl.when(is_complete).then("complete_at").otherwise("crawled_at")
    return (
        crawls.select("source", "cell_id", seen_at=seen_at, is_complete=is_complete)
        .cast(CRAWLS)
        .sort("cell_id", "source")
    )


def takedowns(storage: Storage) -> pl.DataFrame:
    """TAKEDOWNS, none of them undone."""
    listed = storage.takedowns().listed().select("capture_id", "taken_down_at", is_undone=pl.lit(False))
    return listed.cast(TAKEDOWNS).sort("capture_id")
