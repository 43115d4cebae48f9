"""Notes of crawls that failed or were incomplete, beside the raw files: `{source}/failed/{cell_id}.json`.

Here: one small note per cell until it is crawled well again: since when, how often, why, and how old the data is that
stayed. Dagster's log knows of failures too, but it is trimmed, and a report would have to read all of it. Not here:
what follows from failures (`quality/crawl_state.py`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson
import polars as pl

from geopin_assets.errors import DamagedFileError
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
        "good_number": pl.Int64(),
    }
)
_FOLDER = "failed"
_LONGEST_ERROR = 500
_TIMES = ("first_failed_at", "last_failed_at", "good_at")
_FORM = {"first_failed_at": datetime, "last_failed_at": datetime, "attempts": int, "error": str, "good_number": int}
_MOST = 1_000_000_000


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
    """Of the last complete crawl, whose captures stayed; None if there was none, or nobody knows."""
    good_number: int = 0
    """Its crawl number: a complete crawl of a higher one makes the note obsolete."""


class FailedCrawls:
    """The notes in a store of raw files."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def note(
        self, source: str, cell_id: str, error: str, *, now: datetime, good_at: datetime | None, good_number: int
    ) -> None:
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
            good_number=good_number,
        )
        self._objects.put(key, orjson.dumps(asdict(failed)))

    def forget(self, source: str, cell_id: str) -> None:
        """The cell was crawled well."""
        self._objects.delete([_key(source, cell_id)])

    def all(self, source: str = "") -> list[FailedCrawl]:
        """Every note, or those of one source. A damaged one is left out: the next attempt replaces it, good or bad."""
        sources = [source] if source else self._objects.look()[0]
        found = [stored.key for one in sources for stored in self._objects.look(f"{one}/{_FOLDER}")[1]]
        with ThreadPoolExecutor(self._objects.readers) as pool:
            return [note for note in pool.map(self._read, found) if note]

    def _read(self, key: str) -> FailedCrawl | None:
        """None too for a note that says something else than its name, or in another form than FAILED_SCHEMA."""
        try:
            found = orjson.loads(self._objects.get(key))
            times = {name: found[name] and datetime.fromisoformat(found[name]) for name in _TIMES}
            note = FailedCrawl(**found | times)
            is_sound = all(isinstance(getattr(note, name), form) for name, form in _FORM.items())
            return note if is_sound and _key(note.source, note.cell_id) == key and note.attempts < _MOST else None
        except (NoSuchObjectError, DamagedFileError, KeyError, TypeError, ValueError):
            return None


def failed_frame(notes: list[FailedCrawl]) -> pl.DataFrame:
    """Notes as a frame of FAILED_SCHEMA."""
    return pl.DataFrame([asdict(note) for note in notes], FAILED_SCHEMA, orient="row")


def _key(source: str, cell_id: str) -> str:
    return f"{source}/{_FOLDER}/{cell_id}.json"
