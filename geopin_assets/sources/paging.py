"""Lists in several pages that may shift while they are read: withdrawn records let others slip through between pages.

Here: what makes such a reading believable. Not here: how a provider pages, or how a box is divided (`splitting.py`).

A count says little: one record out of a page that was read and one into a later one leave it as it was, and the record
at the border is in neither page. But whatever makes a record slip through changes the list, so the next reading
differs: two readings that are the same have missed nothing. Each cuts the list elsewhere, so that a server that shows
two states in turns does not lose the same record again. The second is taken only where it matters: where a reading in
pages lacks captures that earlier crawls found, which would be removed on its word.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from geopin_assets.errors import TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import NotFound
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.fields import record_key

Record = TypeVar("Record")
T = TypeVar("T")

READINGS = 3
_CUT = 7  # a part of a page by which each further reading's are shorter


class Shifted(TransientError):
    """A list that changed between its pages."""


@contextmanager
def next_page(report: CrawlReport) -> Iterator[None]:
    """Around asking for a page that is not the first of its list. Raises Shifted if it vanished."""
    report.is_paged = True
    try:
        yield
    except NotFound as error:
        raise Shifted(f"a page vanished while the list was read: {error}") from error


def page_size(most: int, report: CrawlReport) -> int:
    """Records to ask for at once: the most a page may have at the first reading, fewer at each that follows."""
    return most - report.reading * (most // _CUT)


def read_again(read: Callable[[], T]) -> T:
    """Read a list, and once more if it is seen to shift."""
    try:
        return read()
    except Shifted:
        return read()


def fetch_counted(
    box: Bbox,
    fetch: Callable[[Bbox, CrawlReport], tuple[list[Record], int]],
    *,
    key: Callable[[Record], str] = record_key,
    report: CrawlReport,
    who: str,
    what: str,
) -> list[Record]:
    """Every record in a box once, by `key`; `fetch` reads all pages, and the server's own count.

    Asked twice. Raises TransientError (saying `who` and `what`) if records and count do not add up even then. Adds
    duplicates to the report.
    """

    def read() -> list[Record]:
        records, count = fetch(box, report)
        unique = {key(record): record for record in records}
        if len(unique) != count:
            raise Shifted(f"{who}: {len(unique)} {what} where the total says {count}, in {box}")
        report.duplicates += len(records) - count
        return list(unique.values())

    return read_again(read)


def fetch_settled(
    box: Bbox,
    fetch: Callable[[Bbox, CrawlReport], Iterable[Record]],
    report: CrawlReport,
    *,
    id_of: Callable[[Record], str] = record_key,
) -> list[Record]:
    """What `fetch` finds in a box, found again until nothing known is missing or two readings in a row are the same.

    `id_of` gives the source_capture_id of a record. Where no two readings agree, all that was seen is kept and the box
    is incomplete.
    """

    report.is_paged, report.reading = False, 0
    records = list(fetch(box, report))
    if not report.is_paged:
        return records
    found = seen = {id_of(record): record for record in records}
    known = report.known(box)
    for report.reading in range(1, READINGS):
        if known <= found.keys() or not report.is_complete:
            return list(found.values())
        before, found = found, {id_of(record): record for record in fetch(box, report)}
        if found.keys() == before.keys():
            return list(found.values())
        seen = {**seen, **found}
    if not known <= found.keys():
        report.miss(box, "the list changed whenever it was read")
        found = seen
    return list(found.values())
