"""A small index to ask: captures at places, each with a vector that looks like its place.

Here: the index, its rows, and the captures as questions. Not here: answers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from geopin_assets.geo import destination
from geopin_assets.index.cloudflare import D1Store, VectorizeIndex
from geopin_assets.index.covering import WITHIN_M, covered_by
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.limits import VECTORS_PER_UPSERT
from geopin_assets.index.protocol import MetadataStore, VectorIndex, vector_schema
from geopin_assets.index.stores import SearchedIndex, SearchedStore, Shards
from geopin_assets.locate.evaluation import Question
from geopin_assets.locate.samples import Around
from geopin_assets_tests.cloudflare import Limits
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.frames import Clock

DIM = 32
DAM = (4.8936, 52.3731)


def east(meters: float) -> tuple[float, float]:
    """(lon, lat) so far east of the Dam."""
    return destination(*DAM, 90, meters)


def look(place: float, noise: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Unit vector, float32 [DIM], of what a place looks like, from a camera with so much noise."""
    vector = np.random.default_rng(int(place)).normal(size=DIM)
    vector = vector + noise * np.random.default_rng(seed + 10_000).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass(frozen=True)
class Shown:
    """One capture: `{source}:{name}` at so many meters east of the Dam, looking like a place."""

    name: str
    source: str
    at_m: float
    looks: NDArray[np.float32]
    creator: str | None = None
    captured_at: datetime | None = datetime(2024, 5, 1, 10, 30, 15, tzinfo=UTC)
    cell_id: str = "nh-amsterdam-r090c051"
    trust: float | None = None
    heading_deg: float = 90.0
    cell_block: str = "r09c05"

    @property
    def capture_id(self) -> str:
        return f"{self.source}:{self.name}"


def indexed(folder: Path, shown: Sequence[Shown]) -> tuple[LanceIndex, SqliteStore]:
    """An index and a store that hold these captures."""
    index, store = (
        LanceIndex(folder, "test", len(shown[0].looks) if shown else DIM),
        SqliteStore(folder / "rows.sqlite"),
    )
    fill(index, store, shown, shown)
    return index, store


@contextmanager
def sharded(folder: Path, shown: Sequence[Shown], shards: int) -> Iterator[tuple[SearchedIndex, SearchedStore]]:
    """The same at Cloudflare's stand-in, in so many indexes and databases."""
    clock, dim, names = Clock(), len(shown[0].looks), [f"test-{number}" for number in range(shards)]
    with emulated(folder, clock, limits=Limits(min_dimensions=dim)) as (api, _):
        wait = wait_by(clock)
        indexes: Shards[VectorIndex] = Shards(tuple(VectorizeIndex(api, name, dim, wait=wait) for name in names))
        stores: Shards[MetadataStore] = Shards(tuple(D1Store(api, name, wait=wait) for name in names))
        for number, (index, store) in enumerate(zip(indexes.parts, stores.parts, strict=True)):
            fill(index, store, [each for each in shown if indexes.number(each.cell_id) == number], shown)
        yield SearchedIndex(indexes), SearchedStore(stores)


def fill(index: VectorIndex, store: MetadataStore, shown: Sequence[Shown], of: Sequence[Shown]) -> None:
    """Have them hold these captures, `of` all that there are."""
    index.create()
    store.migrate()
    vectors = {
        "vector_id": [f"{each.capture_id}/00" for each in shown],
        "embedding": np.array([each.looks for each in shown]).reshape(-1, index.dim),
        "source": [each.source for each in shown],
        "cell_block": [each.cell_block for each in shown],
        "captured_year": [2024] * len(shown),
    }
    for part in pl.DataFrame(vectors, schema=vector_schema(index.dim)).iter_slices(VECTORS_PER_UPSERT):
        index.upsert(part)
    places = _places(shown)
    store.upsert("captures", _rows(shown, places.with_columns(covered_by=covered_by(places, _places(of)))))
    doubts = [{"capture_id": each.capture_id, "trust": each.trust, "reason": "moved"} for each in shown if each.trust]
    if doubts:
        store.upsert("doubts", pl.DataFrame(doubts))
    ids = {"vector_id": vectors["vector_id"], "capture_id": [each.capture_id for each in shown]}
    headings = pl.Series([each.heading_deg for each in shown])
    store.upsert("vectors", pl.DataFrame(ids).with_columns(view=0, heading_deg=headings))


def _places(shown: Sequence[Shown]) -> pl.DataFrame:
    lons, lats = zip(*(east(each.at_m) for each in shown), strict=True) if shown else ((), ())
    return pl.DataFrame({"source": [each.source for each in shown], "lon": lons, "lat": lats})


def questions(shown: Sequence[Shown], groups: Sequence[str] | None = None) -> Iterator[Question]:
    """Each of these captures as a question to all others; `groups`: see `Question`, by default each is one."""
    at_m = np.array([each.at_m for each in shown])
    sources = np.array([each.source for each in shown])
    rows = [_row_of(each, sorted(set(sources[np.abs(at_m - each.at_m) <= WITHIN_M]))) for each in shown]
    looks = pl.Series("embedding", [each.looks.tolist() for each in shown])
    around = Around(pl.DataFrame(rows).with_columns(looks))
    for number, each in enumerate(shown):
        yield Question(rows[number], groups[number] if groups else each.name, each.looks[None], around.beside(number))


def _row_of(each: Shown, near: Sequence[str]) -> dict[str, object]:
    """As a question has it; `near`: sources that show its place."""
    lon, lat = east(each.at_m)
    return {
        "capture_id": each.capture_id, "source": each.source, "lon": lon, "lat": lat,
        "heading_deg": each.heading_deg, "creator": each.creator, "captured_at": each.captured_at,
        "page_url": "https://example.org/", "thumbnail_url": None,
        "covered_by": orjson.dumps([str(name) for name in near]).decode(), "attribution": f"© {each.source}",
    }  # fmt: skip


def _rows(shown: Sequence[Shown], places: pl.DataFrame) -> pl.DataFrame:
    return places.with_columns(
        capture_id=pl.Series([each.capture_id for each in shown]),
        captured_at=pl.Series([each.captured_at for each in shown], dtype=pl.Datetime("us", "UTC")),
        creator=pl.Series([each.creator for each in shown], dtype=pl.String),
        cell_id=pl.Series([each.cell_id for each in shown]),
        heading_deg=pl.Series([each.heading_deg for each in shown]),
        is_pano=pl.lit(False),
        license=pl.lit("CC-BY-4.0"),
        attribution=pl.format("© {}", "source"),
        page_url=pl.lit("https://example.org/"),
        thumbnail_url=pl.lit(None, pl.String),
        position_from=pl.lit(None, pl.String),
        position_error_m=pl.lit(None, pl.Float64),
        heading_from=pl.lit(None, pl.String),
        not_indexed_because=pl.lit(None, pl.String),
    )


def sources_of(text: str) -> list[str]:
    """What `covered_by` says."""
    return list(orjson.loads(text))
