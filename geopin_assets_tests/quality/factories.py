"""Frames as the quality layer takes them, with one keyword per thing a test is about."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl

from geopin_assets.store.counts import Counts

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CITY = "nh-amsterdam-r090c052"
FARM = "dr-assen-r116c111"
LAKE = "fl-lelystad-r097c065"

CAPTURES = pl.Schema(
    {
        "cell_id": pl.String,
        "source": pl.String,
        "captured_at": pl.Datetime("us", "UTC"),
        "heading_deg": pl.Float64,
        "is_pano": pl.Boolean,
    }
)
CRAWLED = pl.Schema({"source": pl.String, "cell_id": pl.String, "is_complete": pl.Boolean})


def captures(
    cell_id: str = CITY,
    source: str = "panoramax",
    *,
    count: int = 1,
    days_old: float | None = 10,
    heading_deg: float | None = 90.0,
    is_pano: bool = False,
) -> pl.DataFrame:
    captured_at = None if days_old is None else NOW - timedelta(days=days_old)
    return pl.DataFrame([(cell_id, source, captured_at, heading_deg, is_pano)] * count, schema=CAPTURES, orient="row")


def crawled(*sources: str, cell_id: str = CITY, is_complete: bool = True) -> pl.DataFrame:
    return pl.DataFrame([(source, cell_id, is_complete) for source in sources], schema=CRAWLED, orient="row")


class Frame(Counts):
    """A frame of captures, asked as the catalog is."""

    def __init__(self, captures: pl.DataFrame) -> None:
        self._captures = captures

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        with duckdb.connect() as db:
            db.execute("set TimeZone = 'UTC'")
            db.register("captures", self._captures)
            return pl.DataFrame(db.sql(sql, params=list(parameters)))


def coverage_by_cell(captures: pl.DataFrame) -> pl.DataFrame:
    return Frame(captures).coverage()


def tally(captures: pl.DataFrame) -> pl.DataFrame:
    return Frame(captures).tally()
