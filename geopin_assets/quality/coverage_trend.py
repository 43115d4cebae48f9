"""What changed since last week: one snapshot of the coverage a day, and the difference between two of them.

Here: making, keeping, finding and comparing snapshots. Not here: what counts as a gap (`coverage.py`).

A snapshot is one Parquet file with a row per crawled Dutch-land cell and the totals in the file's metadata: 50 KB for
the whole country, 19 MB for a year. Knowing every crawled cell, and not just the gaps, tells a cell that became
worse from one that nobody had looked at before.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.damage import set_aside
from geopin_assets.files.parquet import read_frame, read_metadata, write_frame
from geopin_assets.quality.coverage import land_cells

A_WEEK = timedelta(days=6.5)
"""A daily report is never made at the same minute: last week's is the newest of at least this age."""
KEPT = 366
"""A year of days, counted: by a clock that is ahead all of them would be old."""
_log = logging.getLogger(__name__)
NEW, FIRST_SEEN, CLOSED = "new gap", "new gap, first crawled since", "closed gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Coverage at one moment."""

    made_at: datetime
    captures_by_source: Mapping[str, int]
    gaps_by_reason: Mapping[str, int]
    cells: pl.DataFrame = field(repr=False, compare=False)
    """One row per crawled Dutch-land cell: cell_id, place, population, captures, reasons ("" if it has no gap)."""

    @property
    def covered_cells(self) -> int:
        return self.cells.filter(pl.col("captures") > 0).height

    @property
    def gaps(self) -> pl.DataFrame:
        return self.cells.filter(pl.col("reasons") != "")

    @property
    def gap_population(self) -> int:
        return int(self.gaps["population"].sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A snapshot minus an earlier one."""

    since: datetime
    is_a_week: bool
    """Whether the earlier one is of last week; else it is the oldest there is."""
    captures_by_source: Mapping[str, int]
    gaps_by_reason: Mapping[str, int]
    covered_cells: int
    gap_cells: int
    gap_population: int
    changes: pl.DataFrame = field(repr=False, compare=False)
    """Gaps that appeared or closed, most inhabitants first: cell_id, place, population, change, reasons."""

    @property
    def captures(self) -> int:
        return sum(self.captures_by_source.values())

    @property
    def new_gaps(self) -> int:
        return self.changes.filter(pl.col("change") != CLOSED).height

    @property
    def closed_gaps(self) -> int:
        return self.changes.filter(pl.col("change") == CLOSED).height

    def __str__(self) -> str:
        oldest = "" if self.is_a_week else ", the oldest report kept"
        return (
            f"since {self.since:%Y-%m-%d}{oldest}: {self.captures:+,} captures, {self.covered_cells:+,} covered cells,"
            f" {self.new_gaps:,} new and {self.closed_gaps:,} closed gaps"
        )


def take_snapshot(coverage: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame, *, now: datetime) -> Snapshot:
    """Frames as in `coverage.py`; `now` has a time zone."""
    cells = (
        land_cells()
        .drop("province")
        .join(crawled, on="cell_id", how="semi")
        .join(coverage.group_by("cell_id").agg(pl.col("captures").sum()), on="cell_id", how="left")
        .join(gaps.group_by("cell_id").agg(reasons=pl.col("reason").str.join(" + ")), on="cell_id", how="left")
        .with_columns(pl.col("captures").fill_null(0), pl.col("reasons").fill_null(""))
    )
    return Snapshot(
        made_at=now,
        captures_by_source=dict(coverage.group_by("source").agg(pl.col("captures").sum()).sort("source").iter_rows()),
        gaps_by_reason=dict(gaps["reason"].value_counts(sort=True).iter_rows()),
        cells=cells,
    )


def keep_snapshot(snapshot: Snapshot, history: Path, *, most: int = KEPT) -> Path:
    """Write the day's file, replacing one of the same day, and remove all but so many of the newest."""
    totals = {
        "made_at": snapshot.made_at.isoformat(),
        "captures_by_source": json.dumps(dict(snapshot.captures_by_source)),
        "gaps_by_reason": json.dumps(dict(snapshot.gaps_by_reason)),
    }
    path = write_frame(history / f"{snapshot.made_at.date().isoformat()}.parquet", snapshot.cells, totals)
    for old in [*_days(history).values()][:-most]:
        old.unlink()
    return path


def trend(snapshot: Snapshot, history: Path) -> Trend | None:
    """The difference to last week, else to the oldest snapshot of an earlier day; None where there is none."""
    before = _previous(history, snapshot.made_at)
    return _compare(snapshot, before) if before else None


def _previous(history: Path, now: datetime) -> Snapshot | None:
    """The newest that is a week old or more, else the oldest; those that are damaged are set aside."""
    oldest = None
    for path in reversed([path for day, path in _days(history).items() if day < now.date()]):
        try:
            oldest = _read(path)
        except DamagedFileError as error:
            _log.warning("%s: set aside as %s", error, set_aside(path))
            continue
        if now - oldest.made_at >= A_WEEK:
            break
    return oldest


def _days(history: Path) -> dict[date, Path]:
    """The snapshots there are, oldest first; a name that starts with a dot is half written."""
    days = {}
    for path in sorted(history.glob("????-??-??.parquet")):
        with suppress(ValueError):  # not one of ours
            days[date.fromisoformat(path.stem)] = path
    return days


def _read(path: Path) -> Snapshot:
    """Raises DamagedFileError."""
    totals, cells = read_metadata(path), read_frame(path)
    try:
        return Snapshot(
            made_at=datetime.fromisoformat(totals["made_at"]),
            captures_by_source=dict(json.loads(totals["captures_by_source"])),
            gaps_by_reason=dict(json.loads(totals["gaps_by_reason"])),
            cells=cells,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a snapshot: {error!r}") from error


def _compare(now: Snapshot, before: Snapshot) -> Trend:
    return Trend(
        since=before.made_at,
        is_a_week=now.made_at - before.made_at >= A_WEEK,
        captures_by_source=_difference(now.captures_by_source, before.captures_by_source),
        gaps_by_reason=_difference(now.gaps_by_reason, before.gaps_by_reason),
        covered_cells=now.covered_cells - before.covered_cells,
        gap_cells=now.gaps.height - before.gaps.height,
        gap_population=now.gap_population - before.gap_population,
        changes=_changes(now, before),
    )


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: now.get(name, 0) - before.get(name, 0) for name in sorted({*now, *before})}


def _changes(now: Snapshot, before: Snapshot) -> pl.DataFrame:
    appeared = now.gaps.join(before.gaps, on="cell_id", how="anti").with_columns(
        change=pl.when(pl.col("cell_id").is_in(before.cells["cell_id"].implode()))
        .then(pl.lit(NEW))
        .otherwise(pl.lit(FIRST_SEEN))
    )
    well = now.cells.filter(pl.col("reasons") == "")
    closed = before.gaps.join(well, on="cell_id", how="semi").with_columns(change=pl.lit(CLOSED))
    return (
        pl.concat([appeared, closed])
        .select("cell_id", "place", "population", "change", "reasons")
        .sort("population", "cell_id", descending=[True, False])
    )
