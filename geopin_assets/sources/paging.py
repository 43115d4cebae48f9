"""Lists in several answers that may shift while they are read: withdrawn records let others slip through between pages.

Here: what makes such a reading believable, and how many records a server lets itself be asked for at once. Not here:
how a provider pages, or how a box is divided (`splitting.py`).

A count says little: one record out of a page that was read and one into a later one leave it as it was, and the record
at the border is in neither page. But whatever makes a record slip through changes the list, so the next reading
differs: two readings that are the same have missed nothing. Each cuts the list elsewhere, so that a server that shows
two states in turns does not lose the same record again. The second is taken only where it matters: where a reading
lacks captures that earlier crawls found, which would be removed on its word. That holds for a single answer too: a
server whose index is just being made anew says that there is nothing. And quarters of a box are like pages: a record
whose position is corrected moves from one to another.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from operator import itemgetter
from threading import Lock
from typing import TypeVar

from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import GeoPinError, PermanentError, SourceUnavailable, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import How, NotFound
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.fields import record_key

Record = TypeVar("Record")
T = TypeVar("T")

READINGS = 3
_OF_LIMITS = (400, 413, 414, 422, 500, 501, 502, 503, 504)
_FEWEST = 10  # no server refuses so few
_CUT = 7  # a part of a page by which each further reading's are shorter


class Shifted(TransientError):
    """A list that changed between its pages."""


@contextmanager
def next_page() -> Iterator[None]:
    """Around asking for a page that is not the first of its list. Raises Shifted if it vanished."""
    try:
        yield
    except NotFound as error:
        raise Shifted(f"a page vanished while the list was read: {error}") from error


def page_size(most: int, report: CrawlReport) -> int:
    """Records to ask for at once: the most a page may have at the first reading, fewer at each that follows."""
    return most - report.reading * (most // _CUT)


class PageLimit:
    """The most records that one server is asked for at once: halved where it refuses them, for the rest of a run.

    A refusal may look like an outage (502 above 100 records), and an outage like a refusal. So fewer are asked for only
    after the usual attempts, once each, and not again before something was answered; until then one asks at a time, so
    that refusals of several threads do not add up to an outage. Thread-safe.
    """

    def __init__(self, most: int, lowered: Callable[[int], None]) -> None:
        """`lowered` is told of a limit that a server took instead."""
        self.most, self._lowered = most, lowered
        self._first, self._is_alive, self._is_dead = Lock(), False, False

    def ask(self, fetch: Callable[[int, How], T]) -> T:
        """What `fetch` returns, given how many to ask for and how. Raises what it raises where no limit is taken."""
        with nullcontext() if self._is_alive else self._first:
            answer = self._ask(fetch)
        self._is_alive, self._is_dead = True, False
        return answer

    def _ask(self, fetch: Callable[[int, How], T]) -> T:
        most, statuses = self.most, list[int]()
        try:
            return fetch(most, {"judge": lambda answer: statuses.append(answer.status)})
        except GeoPinError as error:
            is_refusal = statuses and statuses[-1] in _OF_LIMITS and not isinstance(error, Shifted | SourceUnavailable)
            if self._is_dead or not is_refusal:
                raise
            self._is_dead = True
            return self._ask_for_less(most, fetch, error)

    def _ask_for_less(self, most: int, fetch: Callable[[int, How], T], refusal: GeoPinError) -> T:
        while (most := most // 2) >= _FEWEST:
            try:
                answer = fetch(most, {"attempts": 1})
            except (PermanentError, TransientError):
                continue
            self.most = min(self.most, most)
            self._lowered(most)
            return answer
        raise refusal


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

    report.reading = 0
    records = list(fetch(box, report))
    found = seen = {id_of(record): record for record in records}
    known = report.known(box)
    for report.reading in range(1, READINGS):
        if known <= found.keys() or not report.is_complete:
            return records
        records, before = list(fetch(box, report)), found
        found = {id_of(record): record for record in records}
        if found.keys() == before.keys():
            return records
        seen = {**seen, **found}
    if known <= found.keys():
        return records
    report.miss(box, "the list changed whenever it was read")
    return list(seen.values())


def settle_captures(
    box: Bbox, read: Callable[[], Iterable[Capture | Rejected]], report: CrawlReport
) -> Iterator[Capture | Rejected]:
    """As `fetch_settled`, where several questions make up a reading that only its captures can tell from another."""

    def fetch(box: Bbox, report: CrawlReport) -> Iterable[tuple[str, Capture | Rejected]]:
        found: dict[str, Capture | Rejected] = {}
        for record in read():
            id_ = record.source_capture_id if isinstance(record, Capture) else f"~{record.reason} {record.record}"
            found[id_ if id_ and id_ not in found else f"~{len(found)}"] = record
        return found.items()

    for _, record in fetch_settled(box, fetch, report, id_of=itemgetter(0)):
        yield record
