"""Something to publish to Cloudflare, and a place to publish it to.

Here: what `publish.py` measures. Not here: measuring, the server (`cloudflare_host.py`), the baseline (`replay.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import polars as pl

from geopin_assets.cells import cell_block, cell_ids
from geopin_assets.http_client import SharedBucket
from geopin_assets.index.cloudflare import CloudflareApi, D1Store, VectorizeIndex
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.limits import OUR_BURST, OUR_REQUESTS_PER_WINDOW, WINDOW_S
from geopin_assets.index.protocol import vector_schema
from geopin_assets_tests.cloudflare import ACCOUNT_ID, API, TOKEN
from geopin_assets_tests.index.frames import Clock

DIM = 512
CELLS = cell_ids()[:20]
"""As many as a run publishes together."""
_RATE_FILE = "rate.sqlite"
_START = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Desired:
    """What an index should hold: vectors, and rows of captures and of their views, of which each has one."""

    vectors: pl.DataFrame
    captures: pl.DataFrame
    views: pl.DataFrame

    @classmethod
    def first(cls, count: int) -> "Desired":
        """So many of each, the same each time."""
        rng = np.random.default_rng(7)
        captures = _captures(count, rng)
        views = captures.select(
            pl.concat_str("capture_id", pl.lit("/00")).alias("vector_id"),
            *("capture_id", pl.lit(0).alias("view"), "heading_deg", "cell_id"),
        )
        blocks = {cell_id: cell_block(cell_id) for cell_id in CELLS}
        vectors = captures.select(
            *(views["vector_id"], _embeddings(count, rng), "source", "cell_id"),
            pl.col("cell_id").replace_strict(blocks, return_dtype=pl.String).alias("cell_block"),
            pl.col("captured_at").dt.year().cast(pl.Int32).alias("captured_year"),
        )
        return cls(vectors.select(*vector_schema(DIM), "cell_id"), captures, views)

    def changed(self, one_of: int) -> "Desired":
        """One of so many captures was taken anew: another heading, another embedding."""
        is_new = pl.int_range(pl.len()) % one_of == 0
        turned = pl.when(is_new).then((pl.col("heading_deg") + 90) % 360).otherwise("heading_deg").alias("heading_deg")
        other = pl.when(is_new).then(pl.col("embedding").reverse()).otherwise("embedding").alias("embedding")
        return Desired(
            self.vectors.with_columns(other), self.captures.with_columns(turned), self.views.with_columns(turned)
        )


def _captures(count: int, rng: np.random.Generator) -> pl.DataFrame:
    """As Panoramax has them, cell by cell."""
    ids = [str(UUID(bytes=rng.bytes(16))) for _ in range(count)]
    people = [number % 97 for number in range(count)]
    return pl.DataFrame(
        {
            "capture_id": [f"panoramax:{id_}" for id_ in ids],
            "source": "panoramax",
            "lon": rng.uniform(4.7, 5.0, count).round(7),
            "lat": rng.uniform(52.3, 52.4, count).round(7),
            "captured_at": [_START + timedelta(seconds=3 * number) for number in range(count)],
            "heading_deg": rng.uniform(0, 360, count).round(1),
            "is_pano": rng.random(count) < 0.5,
            "license": "CC-BY-SA-4.0",
            "attribution": [f"Panoramax contributor {number}, CC BY-SA 4.0" for number in people],
            "creator": [f"contributor {number}" for number in people],
            "thumbnail_url": [f"https://api.panoramax.xyz/api/pictures/{id_}/thumb.jpg" for id_ in ids],
            "covered_by": '["panoramax"]',
            "page_url": [f"https://api.panoramax.xyz/?pic={id_}" for id_ in ids],
            "cell_id": [CELLS[number * len(CELLS) // count] for number in range(count)],
            "position_from": "device",
            "position_error_m": 4.5,
            "heading_from": "device",
            "not_indexed_because": None,
        }
    )


def _embeddings(count: int, rng: np.random.Generator) -> pl.Series:
    """Unit vectors with float16's values, as they are stored."""
    values = rng.standard_normal((count, DIM), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return pl.Series("embedding", values.astype(np.float16).astype(np.float32), pl.Array(pl.Float32, DIM))


class Workplace:
    """A client of the account at `address`; its ledger and the account's rate are in `folder`.

    Unless it `keeps_rate`, its clock is one that moves by sleeping.
    """

    def __init__(
        self, address: str, folder: Path, *, transport: httpx.BaseTransport | None = None, keeps_rate: bool = False
    ) -> None:
        clock = Clock()
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.api = CloudflareApi(
            ACCOUNT_ID,
            TOKEN,
            rate_place=folder / _RATE_FILE,
            base_url=address + API,
            transport=transport,
            sleep=time.sleep if keeps_rate else clock.sleep,
            wall_clock=time.time if keeps_rate else lambda: clock().timestamp(),
        )
        self.index = VectorizeIndex(self.api, "geopin-benchmark-v1", DIM)
        self.store = D1Store(self.api, "geopin")
        self.store_by_file = D1Store(self.api, "geopin-by-file", import_from_rows=1)
        self.ledger = Ledger(folder / "ledger.sqlite")

    def prepare(self) -> "Workplace":
        """Bring index and databases into being, or find that they are there."""
        self.index.create()
        self.store.migrate()
        self.store_by_file.migrate()
        return self


def spent_rate(folder: Path) -> SharedBucket:
    """The account's rate in this folder when its burst is used up: a request every third of a second."""
    folder.mkdir(exist_ok=True)
    waits = list[float]()
    while not waits:
        _rate(folder, waits.append).acquire()
    return _rate(folder, time.sleep)


def _rate(folder: Path, sleep: Callable[[float], None]) -> SharedBucket:
    file, requests, burst = folder / _RATE_FILE, OUR_REQUESTS_PER_WINDOW, OUR_BURST
    return SharedBucket(file, "cloudflare", requests=requests, period_s=WINDOW_S, burst=burst, sleep=sleep)
