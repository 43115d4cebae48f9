"""Reading a publication and its feed as a stranger's: all of it is checked before any of it is used.

Here: which steps lead from a copy to what is published now, and the checks: hashes and columns (`files.py`), values
(`items.py`), and that vectors are those of the captures beside them. Not here: what is made of it (`copies.py` for a
folder, `adopting.py` for an installation).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.cells import cell_ids as every_cell
from geopin_assets.errors import ConfigurationError, EvidenceError, PayloadError
from geopin_assets.exchange.files import (
    CAPTURES,
    CRAWLS,
    REMOVALS,
    TAKEDOWNS,
    CheckedFile,
    checked,
    frames_of,
    vectors_of,
)
from geopin_assets.exchange.items import check_items, check_vectors
from geopin_assets.exchange.manifest import (
    Entry,
    Manifest,
    ModelFacts,
    notice_of,
    read_entry,
    read_manifest,
)
from geopin_assets.exchange.parts import Hashes
from geopin_assets.files.memory import within_memory
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore

_LONGEST_ID = 300
_MEMORY_BYTES = 2 * 1024**3
"""What reading may take: a row group of vectors with 1,536 dimensions is 100 MB, and is there three times."""
Most = Callable[[int], int]
"""Of so many captures, how many may be removed or taken down at once without somebody having said so."""


@dataclass(frozen=True, slots=True)
class Step:
    """An entry that follows, and the head of the feed after it."""

    entry: Entry
    head: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The files of an entry, checked."""

    captures: CheckedFile
    vectors: CheckedFile
    removals: pl.DataFrame
    takedowns: pl.DataFrame
    crawls: pl.DataFrame

    def cells(self) -> set[str]:
        """Where captures changed."""
        return {*self.captures.cells, *self.removals["cell_id"]}


def steps(of: ObjectStore, feed_id: str, sequence: int, head: str) -> list[Step]:
    """The entries after `sequence`, oldest first, each of them what the one after it says it is.

    Raises PayloadError for a gap, or another feed; ConfigurationError where the next entry is not kept any more.
    """
    now = read_manifest(of)
    if now.feed_id != feed_id:
        raise PayloadError(f"{of.address()} is another feed now: take it anew")
    if sequence > now.sequence or (sequence == now.sequence and head != now.head):
        raise PayloadError(
            f"{of.address()} is older than what was taken of it, or was put back from a copy: take it anew"
        )
    if sequence < now.sequence and sequence + 1 < now.oldest:
        raise ConfigurationError(f"{of.address()}: entry {sequence + 1} of its feed is not kept any more: take it anew")
    found: list[Step] = []
    for number, stamp in enumerate(now.feed, now.oldest):
        if number <= sequence:
            continue
        entry, after = _entry(of, number, stamp)
        if (entry.feed_id, entry.sequence, entry.previous) != (feed_id, number, head):
            raise PayloadError(
                f"{of.address()}: entry {number} of its feed does not follow the one before: take it anew"
            )
        found.append(Step(entry, after))
        head = after
    if head != now.head:
        raise PayloadError(f"{of.address()}: its feed does not end where its manifest says")
    return found


def _entry(of: ObjectStore, number: int, stamp: str) -> tuple[Entry, str]:
    try:
        return read_entry(of, stamp)
    except NoSuchObjectError as error:
        raise PayloadError(f"{of.address()}: entry {number} of its feed is missing") from error


@contextmanager
def opened(of: ObjectStore, entry: Entry, most: Most) -> Iterator[Opened]:
    """The files of an entry. Raises PayloadError for what no publish writes, EvidenceError for too many removals."""
    with ExitStack() as stack:
        with within_memory(_MEMORY_BYTES, f"{of.address()}: entry {entry.sequence} of its feed"):
            captures = stack.enter_context(checked(of, entry.captures, CAPTURES))
            vectors = stack.enter_context(checked(of, entry.vectors, vectors_of(entry.model.dim)))
            _check_once(_check_pair(captures, vectors, entry.model, is_whole=False), captures.what)
            with checked(of, entry.removals, frames_of(REMOVALS)) as file:
                _check_ids(removals := file.all(), file.what)
            takedowns, crawls = takedowns_of(of, entry), crawls_of(of, entry)
            notice_of(of, entry)
        lost = removals.filter(pl.col("reason") != "moved").height
        refuse_losses(max(lost, takedowns.filter(~pl.col("is_undone")).height), entry, of, most)
        yield Opened(captures, vectors, removals, takedowns, crawls)


def refuse_losses(lost: int, of_what: Entry | Manifest, of: ObjectStore, most: Most) -> None:
    """Raise EvidenceError where so many captures less are more than anyone expects."""
    if lost > (allowed := most(of_what.summary.counts.get("captures", 0) + lost)):
        raise EvidenceError(
            f"{of.address()}: publish {of_what.sequence} removes {lost:,} captures, {allowed:,} are let go unasked. "
            f"If that is right, say --max-removals {lost}"
        )


def takedowns_of(of: ObjectStore, document: Entry | Manifest) -> pl.DataFrame:
    """TAKEDOWNS. Raises PayloadError."""
    with checked(of, document.takedowns, frames_of(TAKEDOWNS)) as file:
        _check_ids(listed := file.all(), file.what, with_cells=False)
    return listed


def crawls_of(of: ObjectStore, document: Entry | Manifest) -> pl.DataFrame:
    """CRAWLS. Raises PayloadError."""
    with checked(of, document.crawls, frames_of(CRAWLS)) as file:
        crawls = file.all()
    names = pl.col("source").str.contains("^[a-z_]{1,64}$").fill_null(False)
    known = pl.col("cell_id").is_in(pl.Series(every_cell()).implode()).fill_null(False)
    if not crawls.select((names & known & pl.col("is_complete").is_not_null()).all()).item():
        raise PayloadError(f"{file.what}: a crawl that there cannot be")
    return crawls


@contextmanager
def part_files(of: ObjectStore, manifest: Manifest, name: str) -> Iterator[tuple[CheckedFile, CheckedFile]]:
    """Captures and vectors of a province."""
    part, kind = manifest.parts[name], vectors_of(manifest.model.dim)
    with checked(of, part.captures, CAPTURES) as captures, checked(of, part.vectors, kind) as vectors:
        yield captures, vectors


def verify(of: ObjectStore, manifest: Manifest, *, memory_bytes: int = _MEMORY_BYTES) -> None:
    """Read all of a publication, in so much memory. Raises PayloadError for what no publish writes.

    What could be read once can be read again: by its hash it is the same.
    """
    with within_memory(memory_bytes, of.address()):
        _verify(of, manifest)


def _verify(of: ObjectStore, manifest: Manifest) -> None:
    ids: list[NDArray[np.uint64]] = []
    for name in manifest.parts:
        with part_files(of, manifest, name) as (captures, vectors):
            if others := [cell_id for cell_id in captures.cells if cell_id.partition("-")[0] != name]:
                raise PayloadError(f"{captures.what}: {others[0]!r:.60} is not in it")
            ids += _check_pair(captures, vectors, manifest.model, is_whole=True)
    _check_once(ids, of.address())
    takedowns_of(of, manifest)
    crawls_of(of, manifest)
    notice_of(of, manifest)


def _check_once(ids: list[NDArray[np.uint64]], what: str) -> None:
    """Raise PayloadError for a capture in two cells. By hashes: 39 million ids are 2 GB, and 40 in a million of such
    publications would be refused wrongly.
    """
    every = np.sort(np.concatenate([np.empty(0, np.uint64), *ids]))
    if (every[1:] == every[:-1]).any():
        raise PayloadError(f"{what}: a capture is in it twice")


def _check_pair(
    captures: CheckedFile, vectors: CheckedFile, model: ModelFacts, *, is_whole: bool
) -> list[NDArray[np.uint64]]:
    """Items as they should be, and vectors that are theirs; not whole: those of some items stayed as they were.

    Hashes of the captures' ids.
    """
    ids: list[NDArray[np.uint64]] = []
    if strange := vectors.cells.keys() - captures.cells.keys():
        raise PayloadError(f"{vectors.what}: vectors in {min(strange)!r:.60}, where no capture is")
    for cell_id in captures.cells:
        check_items(items := captures.all_of(cell_id), captures.what)
        ids.append(items["capture_id"].hash().to_numpy())
        hashes = Hashes(model)
        for rows in vectors.of(cell_id):
            check_vectors(rows, vectors.what)
            hashes.add(rows)
        found = hashes.found()
        stated = dict(zip(items["capture_id"], items.select("vectors", "vectors_hash").iter_rows(), strict=True))
        wrong = [id_ for id_, said in found.items() if stated.get(id_) != said]
        if is_whole:
            wrong += [id_ for id_, said in stated.items() if found.get(id_, (0, "")) != said]
        if wrong:
            raise PayloadError(f"{vectors.what}: the vectors of {wrong[0]!r:.100} are not those that its item states")
    return ids


def _check_ids(rows: pl.DataFrame, what: str, *, with_cells: bool = True) -> None:
    ids = pl.col("capture_id").str.contains("^[a-z_]{1,64}:.") & (pl.col("capture_id").str.len_chars() <= _LONGEST_ID)
    known = pl.col("cell_id").is_in(pl.Series(every_cell()).implode()) if with_cells else pl.lit(True)
    filled = ~pl.any_horizontal(pl.all().is_null())
    if not rows.select((ids.fill_null(False) & known.fill_null(False) & filled).all()).item():
        raise PayloadError(f"{what}: a capture that there cannot be")
