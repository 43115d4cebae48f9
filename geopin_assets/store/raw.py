"""What each source returned, one Parquet file per (source, cell), with the crawl's account in the file's metadata.

Here: writing a crawled cell, taking captures out of it, reading the accounts back, and notes of failed crawls. Not
here: crawling (`sources/crawl.py`), merging (`merge.py`), or what follows from failures (`quality/crawl_state.py`).

A failed cell is never written: what an earlier crawl stored stays, and until the cell is crawled well again a small
note beside it, `{source}/failed/{cell_id}.json`, says since when, how often, why, and how old the data is that
stayed. Dagster's log knows of failures too, but it is trimmed, and a report would have to read all of it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import orjson
import polars as pl

from geopin_assets.capture import Capture, Reason
from geopin_assets.errors import PayloadError
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore, Stored
from geopin_assets.store.schema import CAPTURE_SCHEMA, captures_frame, content_version

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


_ACCOUNT = "geopin_crawl"
_SUFFIX = ".parquet"
_UNREADABLE = (pl.exceptions.PolarsError, OSError, NoSuchObjectError)
_VOLATILE = ("image_url", "payload")
"""Left out of the data version: signed links and view counters change without the capture changing."""
CRAWLS_SCHEMA = pl.Schema(
    {
        "source": pl.String(),
        "cell_id": pl.String(),
        "crawled_at": pl.Datetime("us", "UTC"),
        "captures": pl.Int64(),
        "is_complete": pl.Boolean(),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlAccount:
    """What one crawl of one (source, cell) took and gave: a row of the catalog's `crawl_cells`."""

    source: str
    cell_id: str
    crawled_at: datetime
    captures: int
    requests: int
    splits: int
    duplicates: int
    rejected: Mapping[str, int]
    is_complete: bool
    duration_s: float
    data_version: str


class RawStore:
    """Raw captures in one object store: `{source}/{cell_id}.parquet`."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self._failed = FailedCrawls(objects)

    def key(self, source: str, cell_id: str) -> str:
        """The object of one crawl."""
        return f"{source}/{cell_id}{_SUFFIX}"

    def write(
        self,
        captures: Sequence[Capture],
        *,
        source: str,
        cell_id: str,
        crawled_at: datetime,
        requests: int,
        splits: int,
        duplicates: int,
        rejected: Mapping[str, int],
        is_complete: bool,
        duration_s: float,
    ) -> CrawlAccount:
        """Replace the cell's file with this crawl and return its account."""
        frame = captures_frame(captures)
        account = CrawlAccount(
            source=source,
            cell_id=cell_id,
            crawled_at=crawled_at,
            captures=frame.height,
            requests=requests,
            splits=splits,
            duplicates=duplicates,
            rejected=dict(sorted(rejected.items())),
            is_complete=is_complete,
            duration_s=round(duration_s, 3),
            data_version=_version(frame),
        )
        self._put(frame, account)
        return account

    def take_down(self, source: str, cell_id: str, capture_ids: Collection[str]) -> CrawlAccount:
        """Replace the cell's file with what the crawl would have stored without these captures; its new account.

        Raises PayloadError for a file that cannot be read.
        """
        account = self.account(source, cell_id)
        stored = self.captures(source, cell_id).select(CAPTURE_SCHEMA.names())
        kept = stored.filter(~pl.col("capture_id").is_in(list(capture_ids)))
        rejected = Counter(account.rejected) + Counter({str(Reason.TAKEN_DOWN): stored.height - kept.height})
        account = replace(
            account, captures=kept.height, rejected=dict(sorted(rejected.items())), data_version=_version(kept)
        )
        self._put(kept, account)
        return account

    def account(self, source: str, cell_id: str) -> CrawlAccount:
        """The account of the stored crawl. Raises PayloadError for a file that is not ours or is damaged."""
        try:
            with self.objects.as_file(self.key(source, cell_id)) as path:
                found = orjson.loads(pl.read_parquet_metadata(path)[_ACCOUNT])
            return CrawlAccount(**found | {"crawled_at": datetime.fromisoformat(found["crawled_at"])})
        except (*_UNREADABLE, KeyError, TypeError, ValueError) as error:
            raise PayloadError(f"raw file of {source} in {cell_id} cannot be read: {error}") from error

    def captures(self, source: str, cell_id: str) -> pl.DataFrame:
        """What the stored crawl found: CAPTURE_SCHEMA, and `cell_id`. Raises PayloadError as `account` does."""
        try:
            with self.objects.as_file(self.key(source, cell_id)) as path:
                return pl.read_parquet(path, glob=False)
        except _UNREADABLE as error:
            raise PayloadError(f"raw file of {source} in {cell_id} cannot be read: {error}") from error

    def note_failure(self, source: str, cell_id: str, error: str, *, now: datetime) -> None:
        """Remember that a crawl failed or was incomplete, until `forget_failure`. Call it before storing the latter."""
        self._failed.note(source, cell_id, error, now=now, good_at=self._crawled(source, cell_id)[0])

    def forget_failure(self, source: str, cell_id: str) -> None:
        """The cell was crawled well again."""
        self._failed.forget(source, cell_id)

    def failures(self) -> pl.DataFrame:
        """Cells whose last crawl failed, by source: FAILED_SCHEMA."""
        return self._failed.frame()

    def crawls(self) -> pl.DataFrame:
        """CRAWLS_SCHEMA of every stored crawl; all null but source and cell_id for a file that cannot be read.

        The catalog's `crawl_cells` are older where a crawl brought nothing new, as it is not merged then. Reads the
        end of every file: 43 us each, 9 s for 200,000.
        """
        cells = [cell for cell in map(_source_and_cell, self.objects.walk()) if cell]
        return pl.DataFrame([(*cell, *self._crawled(*cell)) for cell in cells], CRAWLS_SCHEMA, orient="row")

    def ids_of(self, source: str, cell_id: str) -> frozenset[str]:
        """Ids (source_capture_id) that the stored crawl found; one that nobody has for a file that cannot be read.

        Such a file may have held any: whatever a later crawl finds, something it held may be missing.
        """
        if not self.objects.has(self.key(source, cell_id)):
            return frozenset()
        try:
            with self.objects.as_file(self.key(source, cell_id)) as path:
                return frozenset(pl.read_parquet(path, columns=["source_capture_id"], glob=False)["source_capture_id"])
        except (*_UNREADABLE, PayloadError):
            return frozenset({""})

    def find_captures(self, source: str, capture_ids: Collection[str]) -> Iterator[tuple[str, str | None]]:
        """(cell_id, capture_id) wherever a file of the source has one of these captures, merged or not.

        None in place of the id for a file that cannot be read: it may have any. Reads every file, 1 ms each.
        """
        for stored in self.objects.look(source)[1]:
            _, cell_id = _source_and_cell(stored) or ("", "")
            try:
                with self.objects.as_file(stored.key) as path:
                    ids = pl.scan_parquet(path, glob=False).select("capture_id").collect()["capture_id"]
            except _UNREADABLE:
                yield cell_id, None
                continue
            yield from ((cell_id, capture_id) for capture_id in ids.filter(ids.is_in(list(capture_ids))))

    def sources_of(self, cell_ids: Iterable[str]) -> list[tuple[str, str]]:
        """(source, cell_id) of every stored file among these cells."""
        sources, _ = self.objects.look()
        return [(s, c) for c in cell_ids for s in sources if self.objects.has(self.key(s, c))]

    def _crawled(self, source: str, cell_id: str) -> tuple[datetime | None, int | None, bool | None]:
        try:
            account = self.account(source, cell_id)
        except PayloadError:
            return None, None, None
        return account.crawled_at, account.captures, account.is_complete

    def _put(self, frame: pl.DataFrame, account: CrawlAccount) -> None:
        metadata = {_ACCOUNT: orjson.dumps(asdict(account)).decode()}
        with self.objects.replacing(self.key(account.source, account.cell_id)) as path:
            in_cell = frame.with_columns(cell_id=pl.lit(account.cell_id))
            in_cell.write_parquet(path, compression="zstd", metadata=metadata)


def _source_and_cell(stored: Stored) -> tuple[str, str] | None:
    """Of a raw file; None for anything else."""
    match stored.key.removesuffix(_SUFFIX).split("/"):
        case [source, cell_id] if stored.key.endswith(_SUFFIX):
            return source, cell_id
    return None


def _version(frame: pl.DataFrame) -> str:
    return content_version(frame.drop(_VOLATILE))
