"""Crawling cells: run a source's generator, hold it to the contract, many cells at once.

Here: what every source must satisfy, and concurrency. Not here: any source, storage or Dagster.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import GeoPinError, PayloadError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, Source

Known = Callable[[Bbox], AbstractSet[str]]

_STRUCTURAL = (Reason.MALFORMED, Reason.BAD_ID, Reason.BAD_COORDINATES, Reason.NO_IMAGE)
_DRIFT_RECORDS = 3  # single broken records exist everywhere
_DRIFT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class CellCrawl:
    """All captures of one cell, in order of id, and what getting them took."""

    captures: list[Capture]
    report: CrawlReport
    duration_s: float


def crawl_cell(
    source: Source, cell: Cell, *, known: Known = lambda box: frozenset(), clock: Callable[[], float] = time.monotonic
) -> CellCrawl:
    """Crawl one cell. Raises the source's TransientError or PermanentError; then nothing of the cell counts.

    Also raises PayloadError when most records cannot be read, or an answer holds what no code thought of.
    """
    started, report = clock(), CrawlReport(known=known)
    captures: dict[str, Capture] = {}
    for record in _records(source, cell, report):
        if isinstance(record, Rejected):
            report.reject(record.counted_as, record.record)
        elif reason := violation(record, source.name, cell):
            report.reject(reason, record.source_capture_id)
        elif record.capture_id in captures:
            report.duplicates += 1
        else:
            captures[record.capture_id] = record
    _judge_readability(source, cell, report, len(captures))
    return CellCrawl([captures[id_] for id_ in sorted(captures)], report, clock() - started)


def _records(source: Source, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
    """What a source yields. Outside its records (`fields.rejecting`) a foreign type costs the cell, and no other."""
    try:
        yield from source.captures(cell, report)
    except fields.FOREIGN as error:
        raise PayloadError(f"{source.name}: {cell.cell_id}: {type(error).__name__}: {error}") from error


def _judge_readability(source: Source, cell: Cell, report: CrawlReport, captures: int) -> None:
    """Raise PayloadError if a server's records have become unreadable, or note the doubt if there are only a few.

    A format that changed makes every record unreadable; stored as an empty cell it would remove all captures.
    A folder of photos, which no server vouches for, is as mixed as its owner keeps it.
    """
    records = captures + sum(report.rejected.values())
    unreadable = sum(report.rejected[reason] for reason in _STRUCTURAL)
    if not source.asks_a_server or unreadable <= _DRIFT_SHARE * records:
        return
    if unreadable < _DRIFT_RECORDS:
        report.is_doubtful = True
        return
    raise PayloadError(
        f"{source.name}: {cell.cell_id}: {unreadable} of {records} records cannot be read"
        f" ({dict(report.rejected)}): has the format changed?"
    )


def violation(capture: Capture, source: str, cell: Cell) -> Reason | None:
    """The first rule of the contract that a capture breaks, or None."""
    time, heading_deg = capture.captured_at, capture.heading_deg
    rules = (
        (fields.source_id(capture.source_capture_id) is not None, Reason.BAD_ID),
        (fields.position(capture.lon, capture.lat) is not None, Reason.BAD_COORDINATES),
        (cell.bbox.contains(capture.lon, capture.lat), Reason.OUTSIDE_CELL),
        (capture.license in OPEN_LICENSES, Reason.LICENSE_NOT_OPEN),
        (bool(capture.image_url), Reason.NO_IMAGE),
        (capture.source == source, Reason.MALFORMED),
        (bool(capture.attribution and capture.page_url), Reason.MALFORMED),
        (heading_deg is None or 0 <= heading_deg < 360, Reason.MALFORMED),
        (time is None or time.utcoffset() == timedelta(0), Reason.MALFORMED),
    )
    return next((reason for holds, reason in rules if not holds), None)


def crawl_cells(
    source: Source,
    cells: Iterable[Cell],
    *,
    concurrency: int | None = None,
    known: Known = lambda box: frozenset(),
) -> Iterator[tuple[Cell, CellCrawl | GeoPinError]]:
    """Crawl cells in threads (default: the source's `concurrency`), yielding each as it finishes, in any order.

    A cell that fails yields its error and stops no other; once a source's circuit breaker is open the
    remaining cells fail without a request. At most twice `concurrency` cells are under way or waiting to be
    taken; leaving the loop early drops the rest. `known` as in `CrawlReport`.
    """

    def crawl(cell: Cell) -> CellCrawl:
        return crawl_cell(source, cell, known=known)

    workers = concurrency or source.concurrency
    waiting = iter(cells)
    pool = ThreadPoolExecutor(workers, thread_name_prefix=f"crawl-{source.name}")
    try:
        running = {pool.submit(crawl, cell): cell for cell in islice(waiting, 2 * workers)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                cell = running.pop(future)
                running |= {pool.submit(crawl, later): later for later in islice(waiting, 1)}
                yield cell, _outcome(source, cell, future)
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(source: Source, cell: Cell, future: "Future[CellCrawl]") -> CellCrawl | GeoPinError:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, GeoPinError):
        return error
    if not isinstance(error, Exception):
        raise error  # an interrupt, not a failure
    wrapped = GeoPinError(f"{source.name}: {cell.cell_id}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
