"""Complete answers from servers that cap them: a saturated box is divided in four until no part is.

Here: the recursion, the union by id and the account of what stayed saturated. Not here: how a box
is asked or understood.

A cap without paging makes `len(answer) >= limit` the only sign that something is missing: such an
answer proves nothing and its box is asked again in quarters. Quarters share their edges, so servers
with inclusive edges return a record twice and none is lost. A box too small to divide stays
incomplete: what it returned is kept and the box is reported, never passed off as complete.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from geopin_assets.grid import Bbox
from geopin_assets.sources.base import CrawlReport

Record = TypeVar("Record")


def fetch_complete(
    box: Bbox,
    fetch: Callable[[Bbox], list[Record]],
    *,
    limit: int,
    min_side_deg: float,
    report: CrawlReport,
    key: Callable[[Record], Hashable],
) -> Iterator[Record]:
    """Every record in a box once, by `key`; `fetch(box)` returns at most about `limit` of them.

    A box whose quarters would have a side below `min_side_deg` is not divided: if it is saturated
    it goes to `report.incomplete`. Adds splits and duplicates to the report. Errors of `fetch` pass
    through. L unsaturated leaves cost (4 L - 1) / 3 requests, the least this division allows.
    """
    seen: set[Hashable] = set()

    def crawl(part: Bbox) -> Iterator[Record]:
        records = fetch(part)
        if len(records) >= limit and _is_divisible(part, min_side_deg):
            report.splits += 1
            for quarter in part.quarters():
                yield from crawl(quarter)
            yield from (record for record in records if _is_new(key(record), seen))  # lost by a leaf at the floor
            return
        if len(records) >= limit:
            report.incomplete.append(str(part))
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
