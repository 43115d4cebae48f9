"""The assets on one screen, in the order in which data flows: the main path.

Here: what each asset is made from, how many of its cells a run takes, which pool its runs wait in, what starts it by
itself, what one partition holds and where. Whoever needs one of these facts reads it here: the assets themselves,
`geopin run`, sensors, backfills, the README's table. Not here: how anything is made (`assets/`), when a sensor asks
(`automation/`), and Dagster, so that commands read the table without importing it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source


@dataclass(frozen=True, slots=True)
class Node:
    """One asset. Its group is the first word of its key."""

    key: str
    above: tuple[str, ...]
    """Keys of the assets it is made from."""
    cells_per_run: int | None
    """None: it is made as a whole. Neighbors in the graph differ in it: Dagster puts those with equal policies into one
    range run, where it would skip the lower one without a word."""
    pool: str | None
    started_by: str
    """The sensor, or the schedule, that asks for it."""
    holds: str
    """What one partition holds, or the whole of what is not made cell by cell."""
    where: str
    path: str | None = None
    """Under the data directory, as long as nothing is published to Cloudflare."""

    @property
    def group(self) -> str:
        return self.key.partition("/")[0]

    @property
    def queue(self) -> str:
        """Whose worker makes it, where runs are spread over machines."""
        return {"raw": "crawl", "index": "gpu", "publish": "publish"}.get(self.group, "catalog")


def _gpu_pool() -> str:
    """Of embedding runs. Read when the definitions load, which a wrong variable must not prevent."""
    return Settings.from_env({"GEOPIN_GPU_POOL": os.environ.get("GEOPIN_GPU_POOL", "")}).gpu_pool


GPU = _gpu_pool()
# fmt: off
RAW_CELLS = 250


def raw(source: type[Source]) -> Node:
    """The row of a source: each registered one has its own."""
    return Node(f"raw/{source.name}", (), RAW_CELLS, source.name, f"refresh_{source.name}",
                "everything the source shows in the cell, as at its last good crawl, and an account of the crawl: "
                "requests, divided boxes, duplicates, records left out by reason",
                "Parquet per source and cell", f"raw/{source.name}")


RAW = tuple(raw(source).key for source in SOURCES)
CATALOG, EMBEDDINGS, VECTORIZE, D1 = "catalog/captures", "index/embeddings", "publish/vectorize", "publish/d1"
EXCHANGE = "exchange/publication"

GRAPH = (
    #    key                     made from           cells pool          started by
    *map(raw, SOURCES),
    Node(CATALOG,                RAW,                  500, "duckdb",    "follow_raw",
         "one row per capture that exists today; removed ones leave a tombstone in `capture_history`",
         "DuckDB", "catalog.duckdb"),
    Node(EMBEDDINGS,             (CATALOG,),           100, GPU,         "follow_catalog",
         "unit vectors: one per flat capture, twelve per panorama (every 30°); unchanged images are not fetched again",
         "Parquet per cell and model", "embeddings"),
    Node(D1,                     (CATALOG, EMBEDDINGS), 300, "cloudflare", "publish_rows",
         "what is shown beside a match, license and attribution first of all; it is there before its vectors",
         "Cloudflare D1, or SQLite", "index"),
    Node(VECTORIZE,              (EMBEDDINGS, D1),     200, "cloudflare", "publish_vectors",
         "the vectors in the searchable index; only the difference to the ledger is sent, and counts once read back",
         "Cloudflare Vectorize, or LanceDB", "index/vectors"),
    Node(EXCHANGE,               (CATALOG, EMBEDDINGS), None, None,     "publish_exchange",
         "captures with license and attribution, and their vectors, per province, for others to take, and a feed of "
         "what changed since the last time", "STAC-GeoParquet", "exports"),
    Node("quality/coverage",     (CATALOG,),          None, None,        "make_reports",
         "coverage per cell and source, gaps with the people who live there, a table per province, what changed since "
         "last week, a map", "Parquet, GeoJSON, PNG, HTML, a snapshot a day", "quality"),
    Node("quality/layers",       (CATALOG,),          None, None,        "make_reports",
         "layers for maps: every capture by source, age, direction and kind at all zooms, cells and gaps; and a map of "
         "streets and their newest image", "PMTiles, TileJSON, HTML", "quality"),
    Node("quality/diversity",    (CATALOG,),          None, None,        "make_reports",
         "seasons, years and directions that each place and province is shown in", "Parquet", "quality"),
    Node("quality/attribution",  (CATALOG,),          None, None,        "make_reports",
         "captures per source, license and creator, a notice ready to publish, and where each platform takes imagery",
         "`NOTICE.txt`, CSV, Parquet", "quality"),
    Node("quality/freshness",    (*RAW, CATALOG),     None, None,        "make_reports",
         "how old each source's cells are, what failed and since when, and what a source lost",
         "Parquet, checks", "quality"),
    Node("quality/notices",      (CATALOG,),          None, None,        "make_reports",
         "who wanted to hear of an area was told: nothing recent, new imagery, a source less", "webhooks, Atom feeds",
         "quality/notices"),
    Node("quality/integrity",    (CATALOG, EMBEDDINGS, D1, VECTORIZE), None, None, "make_reports",
         "duplicates, licenses, vectors, images without one, budgets, and the index beside the catalog", "checks"),
    Node("quality/images",       (CATALOG, EMBEDDINGS), None, None,      "make_reports",
         "images without a vector, by what is wrong with them, with examples as pictures", "numbers, pictures"),
    Node("quality/retrieval",    (D1, VECTORIZE),     None, None,        "weekly_maintenance",
         "how many captures the other sources place right, whether confidence and radius hold, and the calibration of "
         "`geopin locate`", "Parquet, JSON, checks", "quality"),
    Node("quality/outliers",     ("quality/retrieval",), None, None,     "weekly_maintenance",
         "captures that the other sources contradict (moved, turned, like nothing there), with pictures side by side",
         "Parquet", "quality"),
    Node("operations/search_index", (),               None, "cloudflare", "weekly_maintenance",
         "old versions of the index that were dropped, and what compacting it gave back", "numbers with plots"),
    Node("operations/catalog",   (),                  None, "duckdb",    "weekly_maintenance",
         "what the catalog's file takes, and what of it is unused", "numbers with plots"),
    Node("operations/leftovers", (),                  None, GPU,         "weekly_maintenance",
         "what killed runs and forgotten models left, removed", "numbers with plots"),
    Node("operations/disk", ("operations/search_index", "operations/catalog", "operations/leftovers"), None, None,
         "weekly_maintenance", "what everything takes, and what is left on the disk", "numbers with plots"),
)
# fmt: on
_BY_KEY = {node.key: node for node in GRAPH}
QUEUES = ("catalog", "publish", "crawl", "gpu")
"""One worker has the first two, and with them the catalog and the ledger; one the third; the last as many as there are
GPUs."""


def node(key: str) -> Node:
    """The asset of that key. Raises KeyError."""
    return _BY_KEY[key]


def group(name: str) -> list[Node]:
    """The assets of a group, in the order of the table."""
    return [node for node in GRAPH if node.group == name]


def started_by(name: str) -> list[Node]:
    """The assets that one sensor or schedule asks for."""
    return [node for node in GRAPH if node.started_by == name]


def queue_of(keys: Iterable[str]) -> str:
    """The queue of a run over these assets: of several the one whose machine has what the others need, too."""
    return min((_BY_KEY[key].queue for key in keys if key in _BY_KEY), key=QUEUES.index, default=QUEUES[0])


def markdown_table() -> str:
    """The table as the README and `docs/` show it, sources in one row. A test keeps them true."""
    rows = [replace(GRAPH[0], key="raw/<source>", started_by="refresh_<source>"), *GRAPH[len(RAW) :]]
    head = ["| asset | made from | started by | one partition = one cell holds | where |", "|---|---|---|---|---|"]
    return "\n".join(head + [_line(row) for row in rows])


def _line(row: Node) -> str:
    above = dict.fromkeys("raw/<source>" if key in RAW else key for key in row.above)
    holds = row.holds if row.cells_per_run else f"(as a whole) {row.holds}"
    made_from = ", ".join(f"`{key}`" for key in above) or "—"
    return f"| `{row.key}` | {made_from} | `{row.started_by}` | {holds} | {row.where} |"
