"""What each source shows, one Parquet file per (source, cell), with the newest crawl's account in the file's metadata.

Here: adding a crawl to a cell's file, taking captures out of it, and reading files and accounts back. Not here: what an
account says (`accounts.py`), crawling (`sources/crawl.py`), merging (`merge.py`), notes of failed crawls
(`failed_crawls.py`).

A file is the sum of its cell's crawls, and all that a catalog needs to be made anew: a complete crawl replaces what is
there, an incomplete one adds to it and takes nothing away, a failed one writes nothing. Crawls are ordered by number,
never by a clock: one count per source, in `{source}/crawls.json`, and always higher than what the file holds.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import polars as pl

from geopin_assets.capture import Capture, Reason
from geopin_assets.cells import is_id
from geopin_assets.errors import DamagedFileError, GeoPinError
from geopin_assets.files import parquet
from geopin_assets.files.compacted import KEY, compacted
from geopin_assets.files.object_store import ConflictError, NoSuchObjectError, ObjectStore, Stored
from geopin_assets.store.accounts import AHEAD, CRAWLS_SCHEMA, CrawlAccount, crawl_row
from geopin_assets.store.failed_crawls import FailedCrawl, FailedCrawls, failed_frame
from geopin_assets.store.numbers import next_number
from geopin_assets.store.schema import CAPTURE_SCHEMA, RAW_SCHEMA, captures_frame, conformed, content_version

_ACCOUNT = "geopin_crawl"
_ACCOUNTS = pl.Schema({_ACCOUNT: pl.String()})
_SUFFIX = ".parquet"
_MANY = 1_000
"""Files whose accounts are found by a list of all rather than one by one."""
_CONFLICTS = 100
_VOLATILE = ("image_url", "payload")
"""Left out of the data version: signed links and view counters change without the capture changing."""


class RawStore:
    """Raw captures in one object store: `{source}/{cell_id}.parquet`. Safe to use from many threads and processes."""

    def __init__(self, objects: ObjectStore, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.objects = objects
        self._clock = clock
        self._failed = FailedCrawls(objects)

    def key(self, source: str, cell_id: str) -> str:
        """The object of one (source, cell)."""
        return f"{source}/{cell_id}{_SUFFIX}"

    def write(
        self,
        captures: Sequence[Capture] | pl.DataFrame,
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
        """Add this crawl to the cell's file and return the account. `captures` may be a frame of CAPTURE_SCHEMA.

        What an incomplete crawl did not show stays. A damaged file is set aside.
        """
        found = captures if isinstance(captures, pl.DataFrame) else captures_frame(captures)

        def with_crawl() -> tuple[CrawlAccount, pl.DataFrame]:
            before, older = self._read_or_set_aside(source, cell_id)
            number = self._next_number(source, before.number if before else 0)
            held = _with_older(_seen(found, cell_id, number, crawled_at), None if is_complete else older)
            account = CrawlAccount(
                source=source,
                cell_id=cell_id,
                number=number,
                complete_number=number if is_complete else before.complete_number if before else None,
                crawled_at=crawled_at,
                complete_at=crawled_at if is_complete else before.complete_at if before else None,
                captures=held.height,
                requests=requests,
                splits=splits,
                duplicates=duplicates,
                rejected=dict(sorted(rejected.items())),
                is_complete=is_complete,
                duration_s=round(duration_s, 3),
                data_version=_version(held),
            )
            return account, held

        return self._change(source, cell_id, with_crawl)

    def take_down(self, source: str, cell_id: str, capture_ids: Collection[str]) -> CrawlAccount:
        """Replace the cell's file with what the crawls would have stored without these captures; its new account.

        Raises DamagedFileError for a file that cannot be read.
        """

        def without() -> tuple[CrawlAccount, pl.DataFrame]:
            account, stored = self.read(source, cell_id)
            kept = stored.filter(~pl.col("capture_id").is_in(list(capture_ids)))
            rejected = Counter(account.rejected) + Counter({str(Reason.TAKEN_DOWN): stored.height - kept.height})
            account = replace(
                account, captures=kept.height, rejected=dict(sorted(rejected.items())), data_version=_version(kept)
            )
            return account, kept

        return self._change(source, cell_id, without)

    def account(self, source: str, cell_id: str) -> CrawlAccount:
        """The account of the stored crawl. Raises DamagedFileError for a file that is not ours or is damaged."""
        try:
            text = parquet.metadata_of(self.objects, self.key(source, cell_id)).get(_ACCOUNT, "")
            return CrawlAccount.told(text, source, cell_id, self._clock())
        except (DamagedFileError, NoSuchObjectError, FileNotFoundError) as error:
            raise _damaged(source, cell_id, error) from error

    def read(
        self, source: str, cell_id: str, schema: Mapping[str, pl.DataType] = RAW_SCHEMA
    ) -> tuple[CrawlAccount, pl.DataFrame]:
        """The account, and what the cell holds: RAW_SCHEMA, or some columns of it. Raises as `account` does."""
        try:
            with self.objects.as_file(self.key(source, cell_id)) as path:
                stored, about = parquet.read_whole(path, list(schema))
            account = CrawlAccount.told(about.get(_ACCOUNT, ""), source, cell_id, self._clock())
            if "seen_in" not in stored.columns and "seen_in" in schema:
                stored = stored.with_columns(seen_in=pl.lit(account.number), seen_at=pl.lit(account.crawled_at))
            held = conformed(stored, schema)
            if "seen_at" in schema:
                held = held.with_columns(seen_at=pl.when(pl.col("seen_at") <= self._clock() + AHEAD).then("seen_at"))
            return account, held
        except (DamagedFileError, NoSuchObjectError, FileNotFoundError) as error:
            raise _damaged(source, cell_id, error) from error

    def captures(self, source: str, cell_id: str) -> pl.DataFrame:
        """What the cell holds: RAW_SCHEMA. Raises DamagedFileError as `account` does."""
        return self.read(source, cell_id)[1]

    def note_failure(self, source: str, cell_id: str, error: str, *, now: datetime) -> None:
        """Remember that a crawl failed or was incomplete, until `forget_failure`. Call it before storing the latter."""
        account = self._account_or_none(source, cell_id)
        good_at, good_number = (account.complete_at, account.complete_number) if account else (None, None)
        self._failed.note(source, cell_id, error, now=now, good_at=good_at, good_number=good_number or 0)

    def forget_failure(self, source: str, cell_id: str) -> None:
        """The cell was crawled well again."""
        self._failed.forget(source, cell_id)

    def failures(self, source: str = "") -> pl.DataFrame:
        """Cells whose last crawl failed, of one source or all: FAILED_SCHEMA. What a good crawl overtook is none.

        Of what failed at a time that has not come yet nobody knows when it did.
        """

        def is_standing(note: FailedCrawl) -> bool:
            account = self._account_or_none(note.source, note.cell_id)
            return account is None or (account.complete_number or 0) <= note.good_number

        notes = self._failed.all(source)
        with ThreadPoolExecutor(self.objects.readers) as pool:
            standing = [note for note, is_so in zip(notes, pool.map(is_standing, notes), strict=True) if is_so]
        now = self._clock()
        return failed_frame(standing).with_columns(
            *(pl.when(pl.col(name) <= now + AHEAD).then(name).alias(name) for name in ("last_failed_at", "good_at")),
            first_failed_at=pl.col("first_failed_at").clip(upper_bound=now),
        )

    def crawls(self, source: str = "") -> pl.DataFrame:
        """CRAWLS_SCHEMA of every stored crawl, or of those of one source.

        All is null but source, cell_id and `unknown` for one that is unreadable.
        The catalog's `crawl_cells` are older where a crawl brought nothing new, as it is not merged then. Lists all
        files, and reads the ends of those that changed since somebody last did.
        """
        rows = [crawl_row(*cell, account) for cell, account in self.accounts(source).items()]
        return pl.DataFrame(rows, CRAWLS_SCHEMA, orient="row")

    def accounts(self, source: str = "") -> dict[tuple[str, str], CrawlAccount | None]:
        """The account of every stored file, or of those of one source, by (source, cell_id); None: unreadable."""
        found: dict[tuple[str, str], CrawlAccount | None] = {}
        for one in [source] if source else self.objects.look()[0]:
            stored = {cell: file for file in self.objects.look(one)[1] if (cell := _source_and_cell(file))}
            known = compacted(self.objects, one, stored.values(), self._text, _ACCOUNTS)
            texts = dict(row for rows in known for row in rows.select(KEY, _ACCOUNT).iter_rows())
            found |= {cell: self._understood(texts.get(file.key), *cell) for cell, file in stored.items()}
        return found

    def some_accounts(self, cell_ids: Sequence[str]) -> dict[tuple[str, str], CrawlAccount | GeoPinError]:
        """The same of every stored file of these cells, cell by cell, or why it cannot be read."""
        cells = self.sources_of(cell_ids)
        if len(cells) > _MANY and not self.objects.is_near:
            everything = self.accounts()
            told = {cell: everything[cell] for cell in cells if cell in everything}
            return {cell: account or _damaged(*cell, "no account") for cell, account in told.items()}
        with ThreadPoolExecutor(self.objects.readers) as pool:
            return dict(zip(cells, pool.map(lambda cell: self._account_or_error(*cell), cells), strict=True))

    def lost(self, source: str) -> set[str]:
        """Cells that were crawled and have no file any more, as it was damaged and set aside."""
        aside = (key.split("/") for key in self.objects.aside(source) if _SUFFIX in key)
        cells = {parts[1].partition(_SUFFIX)[0] for parts in aside if len(parts) == 2}
        return {cell_id for cell_id in cells if is_id(cell_id) and not self.objects.has(self.key(source, cell_id))}

    def ids_of(self, source: str, cell_id: str) -> frozenset[str]:
        """Ids (source_capture_id) that the stored crawl found; one that nobody has for a file that cannot be read.

        Such a file may have held any: whatever a later crawl finds, something it held may be missing.
        """
        if not self.objects.has(self.key(source, cell_id)):
            return frozenset()
        try:
            schema = {"source_capture_id": RAW_SCHEMA["source_capture_id"]}
            return frozenset(self.read(source, cell_id, schema)[1]["source_capture_id"])
        except DamagedFileError:
            return frozenset({""})

    def find_captures(self, source: str, capture_ids: Collection[str]) -> Iterator[tuple[str, str | None]]:
        """(cell_id, capture_id) wherever a file of the source has one of these captures, merged or not.

        None in place of the id for a file that cannot be read: it may have any. Reads every file, 1 ms each, and copies
        of them too that others made.
        """
        wanted = list(capture_ids)

        def look(stored: Stored) -> list[str] | None:
            try:
                ids = parquet.read_columns(self.objects, stored.key, ["capture_id"])["capture_id"]
            except (GeoPinError, FileNotFoundError, pl.exceptions.PolarsError):
                return None
            return ids.filter(ids.is_in(wanted)).to_list()

        files = [stored for stored in self.objects.look(source)[1] if stored.key.endswith(_SUFFIX)]
        with ThreadPoolExecutor(self.objects.readers) as pool:
            for stored, ids in zip(files, pool.map(look, files), strict=True):
                cell_id = PurePosixPath(stored.key).stem
                yield from ((cell_id, capture_id) for capture_id in ([None] if ids is None else ids))

    def sources_of(self, cell_ids: Iterable[str]) -> list[tuple[str, str]]:
        """(source, cell_id) of every stored file among these cells."""
        sources, cells = self.objects.look()[0], list(cell_ids)
        there = self.objects.there(self.key(source, cell_id) for source in sources for cell_id in cells)
        return [(source, cell_id) for cell_id in cells for source in sources if self.key(source, cell_id) in there]

    def _text(self, key: str) -> pl.DataFrame:
        """What a file says of its crawl, _ACCOUNTS; nothing if it cannot be read."""
        try:
            return pl.DataFrame({_ACCOUNT: [parquet.metadata_of(self.objects, key)[_ACCOUNT]]})
        except (DamagedFileError, NoSuchObjectError, FileNotFoundError, KeyError):
            return _ACCOUNTS.to_frame()

    def _understood(self, text: str | None, source: str, cell_id: str) -> CrawlAccount | None:
        try:
            return CrawlAccount.told(text or "", source, cell_id, self._clock())
        except DamagedFileError:
            return None

    def _account_or_none(self, source: str, cell_id: str) -> CrawlAccount | None:
        try:
            return self.account(source, cell_id)
        except DamagedFileError:
            return None

    def _account_or_error(self, source: str, cell_id: str) -> CrawlAccount | GeoPinError:
        try:
            return self.account(source, cell_id)
        except GeoPinError as error:
            return error

    def _change(
        self, source: str, cell_id: str, change: Callable[[], tuple[CrawlAccount, pl.DataFrame]]
    ) -> CrawlAccount:
        """Replace the file by what `change` makes of it, made anew if another process has written it meanwhile."""
        key = self.key(source, cell_id)
        for _ in range(_CONFLICTS):
            stored = self.objects.find(key)
            account, frame = change()
            content = parquet.frame_bytes(frame, {_ACCOUNT: account.text()})
            if self._put(key, content, stored):
                return account
        raise ConflictError(f"{self.objects.address(key)}: other processes kept writing it")

    def _read_or_set_aside(self, source: str, cell_id: str) -> tuple[CrawlAccount | None, pl.DataFrame | None]:
        if not self.objects.has(key := self.key(source, cell_id)):
            return None, None
        try:
            return self.read(source, cell_id)
        except DamagedFileError:
            self.objects.set_aside(key)
            return None, None

    def _next_number(self, source: str, above: int) -> int:
        """Where the count is lost, it goes on from what the files say."""

        def last_known() -> int:
            return max((account.number for account in self.accounts(source).values() if account), default=0)

        return next_number(self.objects, source, above, last_known)

    def _put(self, key: str, content: bytes, before: Stored | None) -> bool:
        """False, with nothing written, if it is not as it was `before`."""
        try:
            self.objects.put(key, content, if_absent=before is None, if_version=before.version if before else None)
        except ConflictError:
            return False
        return True


def _source_and_cell(stored: Stored) -> tuple[str, str] | None:
    """Of a raw file; None for anything else, as a copy that whoever synchronizes the folder made of one."""
    match stored.key.removesuffix(_SUFFIX).split("/"):
        case [source, cell_id] if stored.key.endswith(_SUFFIX) and is_id(cell_id):
            return source, cell_id
    return None


def _seen(found: pl.DataFrame, cell_id: str, number: int, at: datetime) -> pl.DataFrame:
    """The rows of one crawl, RAW_SCHEMA."""
    columns = {"cell_id": cell_id, "seen_in": number, "seen_at": at}
    return found.with_columns(pl.lit(value, RAW_SCHEMA[name]).alias(name) for name, value in columns.items())


def _with_older(found: pl.DataFrame, older: pl.DataFrame | None) -> pl.DataFrame:
    """And what was there before, of the captures that were not found."""
    if older is None:
        return found
    return pl.concat([found, older.join(found, on="capture_id", how="anti")]).sort("capture_id", maintain_order=True)


def _version(frame: pl.DataFrame) -> str:
    return content_version(frame.select(CAPTURE_SCHEMA.names()).drop(_VOLATILE))


def _damaged(source: str, cell_id: str, error: Exception | str) -> DamagedFileError:
    return DamagedFileError(f"raw file of {source} in {cell_id} cannot be read: {error}")
