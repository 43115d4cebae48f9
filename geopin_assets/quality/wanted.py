"""Where imagery would help most: cells by who lives there, how much is lacking, and how often photos are not found.

Here: the ranking. Not here: what cells should have (`coverage.py`), how photos were looked for (`locate/`), or where
people contribute, which each source says and whoever draws the map is told.
"""

import polars as pl

from geopin_assets.quality.coverage import Expectations, facts

WANTED_SCHEMA = pl.Schema(
    {
        "cell_id": pl.String,
        "place": pl.String,
        "population": pl.Int64,
        "lack": pl.Float64,
        "failed": pl.Float64,
        "score": pl.Float64,
    }
)
WANTED_DESCRIPTIONS = {
    "lack": "0 to 1: captures, sources and recent ones, as far as the cell is short of what is expected",
    "failed": "Share of its captures that the other sources did not place, drawn to the country's where few were asked",
    "score": "Inhabitants x lack x failed: how many people a contribution would help",
}
NOTHING_ASKED = pl.DataFrame(schema={"cell_id": pl.String, "asked": pl.Int64, "failed": pl.Int64})
_AS_GOOD_AS = 5
"""Questions of a cell that count as much as what is known of all others."""


def wanted(
    coverage: pl.DataFrame, crawled: pl.DataFrame, retrieval: pl.DataFrame, expect: Expectations
) -> pl.DataFrame:
    """Crawled Dutch-land cells where anything is lacking, the most wanted first (columns: WANTED_SCHEMA).

    Frames as in `coverage.py`; `retrieval` has cell_id, asked, failed. Where nothing was asked anywhere, every cell
    counts as failed: then people and lack decide.
    """
    needed = pl.max_horizontal(pl.col("population") * expect.captures_per_1000_inhabitants / 1000, pl.lit(1.0))
    years = pl.lit(expect.now) - pl.col("newest")
    old = (years.dt.total_seconds() / (expect.max_age_years * 365.25 * 86_400) - 1).clip(0, 1).fill_null(1.0)
    short = [
        1 - (pl.col("captures") / needed).clip(0, 1),
        1 - (pl.col("sources") / pl.min_horizontal(pl.lit(expect.min_sources), "looked")).clip(0, 1),
        old,
    ]
    asked = retrieval.select(pl.col("asked").sum()).item() or 0
    overall = retrieval.select(pl.col("failed").sum()).item() / asked if asked else 1.0
    counted = retrieval.group_by("cell_id").agg(pl.col("asked").sum(), pl.col("failed").sum())
    failed = (pl.col("failed").fill_null(0) + _AS_GOOD_AS * overall) / (pl.col("asked").fill_null(0) + _AS_GOOD_AS)
    return (
        facts(coverage, crawled)
        .with_columns(lack=pl.mean_horizontal(short))
        .join(counted, on="cell_id", how="left")
        .with_columns(failed=failed)
        .with_columns(score=pl.col("population") * pl.col("lack") * pl.col("failed"))
        .filter(pl.col("score") > 0)
        .sort("score", "cell_id", descending=[True, False])
        .select(list(WANTED_SCHEMA))
        .cast(WANTED_SCHEMA)
    )
