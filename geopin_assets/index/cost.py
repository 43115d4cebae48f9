"""What publishing costs at Cloudflare: a forecast of requests, hours, shards and money, and the budget of one run.

Rewriting the same rows for a month has cost others thousands (D1 bills each row written), and requests are 1,200 in
five minutes for everything an account does: a mistake upstream should cost a failed run and not a bill. Here:
arithmetic over limits and prices. Not here: how much there is to publish (`defs/`), limits of single requests
(`limits.py`).

Prices of the Workers Paid plan, as documented in 2026: D1 writes 1 $ per million rows beyond 50 million a month and
0.75 $ per GB and month beyond 5 GB; Vectorize stores 100 million dimensions for 0.05 $ beyond 10 million, and, in a
month with at least one search, counts all stored dimensions as queried at 0.01 $ per million beyond 50 million.
"""

from dataclasses import dataclass
from math import ceil

from geopin_assets.errors import PermanentError
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE, VECTOR_CAPTURES_AT_ONCE
from geopin_assets.index.limits import (
    IMPORT_FILE_BYTES,
    OUR_REQUESTS_PER_WINDOW,
    VECTORS_PER_INDEX,
    VECTORS_PER_UPSERT,
    WINDOW_S,
)
from geopin_assets.index.protocol import Wait

DOLLARS_PER_MILLION_ROWS = 1.0  # D1, rows written beyond the 50 million a month that are included
BYTES_PER_NUMBER = 12.5
"""Of a float32 as JSON; measured over unit vectors: 6.4 KB per vector of 512."""
BYTES_PER_LINE = 150
"""Id and metadata of a vector."""
BYTES_PER_CAPTURE, BYTES_PER_VIEW = 330, 130
"""Of a row, as stored; the demo's take 322 and 150, with ids longer than most."""
DATABASE_BYTES = 8e9
"""Of the 10 GB that a database may hold: room to grow before it has to be divided."""
MAX_INDEX_FILL = 0.8
"""Share of an index's vectors that is planned with."""
_AWAITED_S = 30.0  # Vectorize's median; in that time `Wait` looks every 2 s
_LOOKS = round(_AWAITED_S / Wait().poll_s)
_REQUESTS_PER_IMPORT = 5  # init, ingest, two polls, reading back; the upload itself has no part in the rate


@dataclass(frozen=True, slots=True)
class PublishForecast:
    """A first publish of so many vectors and captures; money in US dollars, at most."""

    vectors: int
    captures: int
    requests: int
    vector_bytes: int
    row_bytes: int
    rows_written: int
    hours: float
    """At the account's rate of requests, and waiting; uploading takes its own: `vector_bytes` over the bandwidth."""
    index_shards: int
    database_shards: int
    first_load_usd: float
    monthly_usd: float
    """Storage, and one search or more."""


def forecast_publish(vectors: int, captures: int, dim: int) -> PublishForecast:
    """What a first load takes; later publishes take the part that changed."""
    rows = vectors + captures
    row_bytes = captures * BYTES_PER_CAPTURE + vectors * BYTES_PER_VIEW
    publishes = ceil(captures / VECTOR_CAPTURES_AT_ONCE)  # of vectors; each awaits its last upsert and reads back
    files = max(2 * ceil(captures / ROW_CAPTURES_AT_ONCE), ceil(row_bytes / IMPORT_FILE_BYTES))  # of two tables
    sent = ceil(vectors / VECTORS_PER_UPSERT) + publishes + _REQUESTS_PER_IMPORT * files
    requests = sent + publishes * _LOOKS
    dims = vectors * dim
    stored = max(dims - 10e6, 0) / 100e6 * 0.05 + max(row_bytes / 1e9 - 5, 0) * 0.75
    searched = max(dims - 50e6, 0) / 1e6 * 0.01
    return PublishForecast(
        vectors=vectors,
        captures=captures,
        requests=requests,
        vector_bytes=round(vectors * (dim * BYTES_PER_NUMBER + BYTES_PER_LINE)),
        row_bytes=row_bytes,
        rows_written=rows,
        hours=(sent / OUR_REQUESTS_PER_WINDOW * WINDOW_S + publishes * _AWAITED_S) / 3600,
        index_shards=max(ceil(vectors / (VECTORS_PER_INDEX * MAX_INDEX_FILL)), 1),
        database_shards=max(ceil(row_bytes / DATABASE_BYTES), 1),
        first_load_usd=max(rows / 1e6 - 50, 0) * DOLLARS_PER_MILLION_ROWS,
        monthly_usd=stored + searched,
    )


@dataclass(slots=True)
class RunBudget:
    """Rows written and requests that are left of a run. What does not fit is refused before anything of it is sent."""

    rows: int
    requests: int

    def check(self, what: str, rows: int, requests: int) -> None:
        """Raise PermanentError, naming the setting, unless so much is left."""
        if rows > self.rows:
            raise PermanentError(
                f"{what}: {rows} rows would be written, {self.rows} are left of this run's budget: nothing was written."
                " If so many changes are right, raise GEOPIN_PUBLISH_MAX_ROWS and publish again"
            )
        if requests > self.requests:
            raise PermanentError(
                f"{what}: {requests} requests would be sent, {self.requests} are left of this run's budget: nothing was"
                " written. If so many changes are right, raise GEOPIN_PUBLISH_MAX_REQUESTS and publish again"
            )

    def spend(self, rows: int, requests: int) -> None:
        """Note what was really used."""
        self.rows -= rows
        self.requests -= requests
