"""Complete answers from servers that cap them: a saturated box is divided in four until no part is.

Here: the recursion, the union by id, how an answer proves itself complete, and the account of what did not. Not here:
how a box is asked or understood, or answers in pages (`paging.py`).

A cap without paging makes a full answer the only sign that something is missing: such an answer proves
nothing and its box is asked again in quarters. Quarters share their edges, so servers with inclusive edges
return a record twice and none is lost. A box too small to divide stays incomplete: what it returned is kept
and the box is reported, never passed off as complete. A record may move from a quarter that is still to be asked
into one that was: a divided box is a list that shifts, believed like one in pages (`paging.py`).

Servers also lower their cap without a word, and then a "short" answer is a full one. So the number asked
for is not believed either: an answer is complete only if it is shorter than one that the server is known to
be able to give (`Capacity`).
"""

from collections.abc import Callable, Hashable, Iterator
from threading import Lock
from typing import TypeVar

from geopin_assets.grid import Bbox
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.fields import record_key

Record = TypeVar("Record")

SMALLEST_CAP = 10  # nobody caps an answer below it; shorter answers need no proof
PROBES = 3  # as one that fails would have every box of the run divided that is as full as any before


class Saturated(Exception):
    """Raised by `fetch` when a server refuses a box because it holds too much."""


class Capacity:
    """The longest answer a server is known to give, shared by everything asked of it in a run.

    `probe` asks for more than the server will give, such as everything in the whole country, and returns how much came
    (0: it failed); it is called when the first answer needs proof, at most PROBES times until it succeeds, and its
    requests count for the cell of that answer. Without it the longest answer so far counts.
    """

    def __init__(self, limit: int, probe: Callable[[CrawlReport], int] | None = None) -> None:
        self._limit, self._probe = limit, probe
        self._probes = PROBES
        self._lock = Lock()
        self._longest = 0

    def lower(self, limit: int) -> None:
        """From now on at most so many are asked for."""
        with self._lock:
            self._limit, self._longest = min(self._limit, limit), min(self._longest, limit)

    def is_proven_by(self, count: int, report: CrawlReport) -> bool:
        """Whether an answer of `count` records is complete. `report`: of the cell that was asked for."""
        if count >= self._limit:
            return False
        if count < SMALLEST_CAP:
            return True
        with self._lock:
            if count >= self._longest and self._probe is not None and self._probes:
                shown = self._probe(report)
                self._probes = 0 if shown else self._probes - 1
                self._longest = max(self._longest, shown)
            is_proven = count < self._longest
            self._longest = max(self._longest, count)
            return is_proven


class Checked(Capacity):
    """For answers that were compared with the server's own count, or come with their verdict: nothing to prove."""

    def __init__(self) -> None:
        super().__init__(limit=0)

    def is_proven_by(self, count: int, report: CrawlReport) -> bool:
        return True


def fetch_complete(
    box: Bbox,
    fetch: Callable[[Bbox], list[Record]],
    *,
    capacity: Capacity,
    min_side_deg: float,
    report: CrawlReport,
    key: Callable[[Record], Hashable] = record_key,
    at_floor: Callable[[Bbox], list[Record]] | None = None,
) -> Iterator[Record]:
    """Every record in a box once, by `key`. `fetch(box)` may raise Saturated.

    A box whose quarters would have a side below `min_side_deg` is not divided: if it is saturated, `at_floor`
    answers for it another way, or it goes to `report.incomplete`. Adds splits and duplicates to the report.
    Other errors pass through. L unsaturated leaves cost (4 L - 1) / 3 requests, the least this division allows.
    """
    seen: set[Hashable] = set()

    def crawl(part: Bbox) -> Iterator[Record]:
        try:
            records = fetch(part)
            is_complete = capacity.is_proven_by(len(records), report)
        except Saturated:
            records, is_complete = [], False
        if not is_complete and _is_divisible(part, min_side_deg):
            report.splits += 1
            first = (report.requests + report.reading) % 2  # two copies that answer in turns change places
            for quarter in (*part.quarters()[first:], *part.quarters()[:first]):
                yield from crawl(quarter)
            yield from (record for record in records if _is_new(key(record), seen))  # lost by a leaf at the floor
            return
        if not is_complete:
            if at_floor is None:
                report.miss(part)
            else:
                records = [*records, *at_floor(part)]
        for record in records:
            if _is_new(key(record), seen):
                yield record
            else:
                report.duplicates += 1

    return crawl(box)


def _is_divisible(box: Bbox, min_side_deg: float) -> bool:
    return min(box.east - box.west, box.north - box.south) / 2 >= min_side_deg


def _is_new(key: Hashable, seen: set[Hashable]) -> bool:
    if key in seen:
        return False
    seen.add(key)
    return True
