"""Coverage per province: one row each, and their total. Not here: what counts as covered or a gap (`coverage.py`)."""

import polars as pl

from geopin_assets.quality.coverage import land_cells
from geopin_assets.quality.names import ELSEWHERE, PROVINCES

TOTAL = "Total"
_COUNTED = ["land_cells", "crawled", "covered", "gap_cells", "gap_population"]


def province_summary(coverage: pl.DataFrame, crawled: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """One row per province in alphabetical order, then the total. Frames as in `coverage.py`.

    Columns: province, land_cells, crawled, covered, captures, panoramas, sources, newest, gap_cells, gap_population.
    Cells are Dutch-land cells; captures are those of any cell, so that the total is all there are: where some were
    found abroad or at sea, that is a row too.
    """
    code = pl.col("cell_id").str.split("-").list.first().alias("code")
    found = coverage.with_columns(code)
    names = PROVINCES | ELSEWHERE
    rows = (
        pl.DataFrame({"code": list(names), "province": list(names.values())})
        .join(_land(coverage, crawled, gaps).group_by(code).agg(_counts()), on="code", how="left")
        .join(found.group_by("code").agg(_found()), on="code", how="left")
        .with_columns(pl.exclude("code", "province", "newest").fill_null(0))
        .filter(pl.col("code").is_in(list(PROVINCES)) | (pl.col("captures") > 0))
        .sort(pl.col("code").is_in(list(ELSEWHERE)), "province")
    )
    totals = [pl.lit(TOTAL).alias("province"), *(pl.col(name).sum() for name in _COUNTED)]
    total = pl.concat([rows.select(totals), found.select(_found())], how="horizontal")
    order = ["province", *_COUNTED[:3], "captures", "panoramas", "sources", "newest", *_COUNTED[3:]]
    return pl.concat([rows.select(order), total.select(order)])


def _land(coverage: pl.DataFrame, crawled: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Dutch-land cells and whether each was crawled, is covered, falls short."""
    return land_cells().with_columns(
        pl.col("cell_id").is_in(frame["cell_id"].unique().implode()).alias(name)
        for name, frame in {"is_crawled": crawled, "is_covered": coverage, "is_gap": gaps}.items()
    )


def _counts() -> list[pl.Expr]:
    return [
        pl.len().cast(pl.Int64).alias("land_cells"),
        pl.col("is_crawled").sum().cast(pl.Int64).alias("crawled"),
        pl.col("is_covered").sum().cast(pl.Int64).alias("covered"),
        pl.col("is_gap").sum().cast(pl.Int64).alias("gap_cells"),
        pl.col("population").filter("is_gap").sum().alias("gap_population"),
    ]


def _found() -> list[pl.Expr]:
    return [
        pl.col("captures").sum(),
        pl.col("panos").sum().alias("panoramas"),
        pl.col("source").n_unique().cast(pl.Int64).alias("sources"),
        pl.col("newest").max(),
    ]
