"""Crawls that failed, remembered beside the raw files until the cell is crawled well again.

Here: one small note per (source, cell), `{root}/{source}/failed/{cell_id}.json`: since when, how often, why, and how
old the data is that stayed. Dagster's log knows of failures too, but it is trimmed, and a report would have to read
all of it. Not here: raw files (`raw.py`), or what follows from failures (`quality/crawl_state.py`).
"""

import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import orjson
import polars as pl

FAILED_SCHEMA = pl.Schema(
    {
        "source": pl.String(),
        "cell_id": pl.String(),
        "first_failed_at": pl.Datetime("us", "UTC"),
        "last_failed_at": pl.Datetime("us", "UTC"),
        "attempts": pl.Int64(),
        "error": pl.String(),
        "good_at": pl.Datetime("us", "UTC"),
    }
)
_FOLDER = "failed"
_LONGEST_ERROR = 500
_TIMES = ("first_failed_at", "last_failed_at", "good_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCrawl:
    """A cell that a source could not be crawled in, at the last attempt and since when."""

    source: str
    cell_id: str
    first_failed_at: datetime
    last_failed_at: datetime
    attempts: int
    error: str
    """Of the last attempt, without secrets: whoever raised it left them out."""
    good_at: datetime | None
    """Of the last good crawl, whose captures stayed; None if there was none."""


class FailedCrawls:
    """The notes under one directory of raw files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def note(self, source: str, cell_id: str, error: str, *, now: datetime, good_at: datetime | None) -> None:
        """Count a failed attempt. `good_at` is when the stored crawl was; it matters for the first failure only."""
        path = self._root / source / _FOLDER / f"{cell_id}.json"
        before = _read(path)
        failed = FailedCrawl(
            source=source,
            cell_id=cell_id,
            first_failed_at=before.first_failed_at if before else now,
            last_failed_at=now,
            attempts=before.attempts + 1 if before else 1,
            error=error[:_LONGEST_ERROR],
            good_at=before.good_at if before else good_at,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(orjson.dumps(asdict(failed)))
        partial.replace(path)

    def forget(self, source: str, cell_id: str) -> None:
        """The cell was crawled well."""
        (self._root / source / _FOLDER / f"{cell_id}.json").unlink(missing_ok=True)

    def frame(self) -> pl.DataFrame:
        """Every note, FAILED_SCHEMA. A damaged one is left out: the next attempt replaces it, good or bad."""
        notes = (_read(path) for path in sorted(self._root.glob(f"*/{_FOLDER}/*.json")))
        return pl.DataFrame([asdict(note) for note in notes if note], FAILED_SCHEMA, orient="row")


def _read(path: Path) -> FailedCrawl | None:
    try:
        found = orjson.loads(path.read_bytes())
        times = {name: found[name] and datetime.fromisoformat(found[name]) for name in _TIMES}
        return FailedCrawl(**found | times)
    except (OSError, KeyError, TypeError, ValueError):
        return None
