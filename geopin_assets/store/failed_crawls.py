"""Crawls that failed, remembered beside the raw files until the cell is crawled well again.

Here: one small note per (source, cell), `{source}/failed/{cell_id}.json`: since when, how often, why, and how
old the data is that stayed. Dagster's log knows of failures too, but it is trimmed, and a report would have to read
all of it. Not here: raw files (`raw.py`), or what follows from failures (`quality/crawl_state.py`).
"""

from dataclasses import asdict, dataclass
from datetime import datetime

import orjson
import polars as pl

from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore

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
    """The notes in a store of raw files."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def note(self, source: str, cell_id: str, error: str, *, now: datetime, good_at: datetime | None) -> None:
        """Count a failed attempt. `good_at` is when the stored crawl was; it matters for the first failure only."""
        before = self._read(key := _key(source, cell_id))
        failed = FailedCrawl(
            source=source,
            cell_id=cell_id,
            first_failed_at=before.first_failed_at if before else now,
            last_failed_at=now,
            attempts=before.attempts + 1 if before else 1,
            error=error[:_LONGEST_ERROR],
            good_at=before.good_at if before else good_at,
        )
        self._objects.put(key, orjson.dumps(asdict(failed)))

    def forget(self, source: str, cell_id: str) -> None:
        """The cell was crawled well."""
        self._objects.delete([_key(source, cell_id)])

    def frame(self) -> pl.DataFrame:
        """Every note, FAILED_SCHEMA. A damaged one is left out: the next attempt replaces it, good or bad."""
        sources, _ = self._objects.look()
        found = (stored.key for source in sources for stored in self._objects.look(f"{source}/{_FOLDER}")[1])
        notes = (self._read(key) for key in found)
        return pl.DataFrame([asdict(note) for note in notes if note], FAILED_SCHEMA, orient="row")

    def _read(self, key: str) -> FailedCrawl | None:
        try:
            found = orjson.loads(self._objects.get(key))
            times = {name: found[name] and datetime.fromisoformat(found[name]) for name in _TIMES}
            return FailedCrawl(**found | times)
        except (NoSuchObjectError, KeyError, TypeError, ValueError):
            return None


def _key(source: str, cell_id: str) -> str:
    return f"{source}/{_FOLDER}/{cell_id}.json"
