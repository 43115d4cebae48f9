"""Areas of several cells that are fetched once and shared by the cells in them.

Here: which area a cell belongs to, fetching each once per run, and handing every cell its part. Not here:
how an area is asked. For sources where one request can cover far more than a cell, this is what keeps a
national crawl within their limits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

from cachetools import LRUCache, cached

from geopin_assets.errors import PayloadError
from geopin_assets.grid import Bbox, bounds, rows_columns
from geopin_assets.sources.base import CrawlReport, Missed
from geopin_assets.sources.fields import record_key
from geopin_assets.sources.paging import fetch_settled

Record = TypeVar("Record")

BLOCKS_KEPT = 64


_FEWEST_TO_JUDGE = 3  # single broken records exist everywhere


@dataclass(frozen=True, slots=True)
class _Block(Generic[Record]):
    """`placed`: records with their position, or None. `lost`: how many could lie in any cell of the block."""

    placed: list[tuple[tuple[float, float] | None, Record]]
    lost: int
    incomplete: list[str]
    is_doubtful: bool

    @property
    def is_mostly_lost(self) -> bool:
        return 2 * self.lost > len(self.placed)


class Blocks(Generic[Record]):
    """Blocks of `rows` x `columns` cells, aligned to the grid; safe to use from many threads.

    `fetch(box, report)` returns everything in a box. `place(record)` is its (lon, lat), or None for a record
    without a usable position: it is handed to the cell that happened to fetch the block, so that it is counted once.
    A block of which most records are lost (`is_lost`, by default those without a position) would look empty to its
    other cells: that is a PayloadError, or a doubt if there are only a few records.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[Bbox, CrawlReport], list[Record]],
        place: Callable[[Record], tuple[float, float] | None],
        *,
        rows: int = 4,
        columns: int = 4,
        is_lost: Callable[[Record], bool] | None = None,
        id_of: Callable[[Record], str] = record_key,
    ) -> None:
        self._name, self._fetch, self._place, self._rows, self._columns = name, fetch, place, rows, columns
        self._is_lost = is_lost or (lambda record: place(record) is None)
        self._id_of = id_of
        self._block = cached(LRUCache(BLOCKS_KEPT), key=lambda box, report: box, condition=Condition())(self._ask)

    def records(self, cell: Bbox, report: CrawlReport) -> list[Record]:
        """The records of one cell. What fetching the block took is on the report of the cell that fetched it."""
        requests = report.requests
        area = self.around(cell)
        block = self._block(area, report)
        has_fetched = report.requests > requests
        if block.is_mostly_lost and block.lost >= _FEWEST_TO_JUDGE:
            raise PayloadError(
                f"{self._name}: {block.lost} of {len(block.placed)} records in {area} without a position"
            )
        report.is_doubtful |= block.is_doubtful or block.is_mostly_lost
        elsewhere = [m for m in block.incomplete if isinstance(m, Missed) and not m.box.intersects(cell)]
        report.incomplete += [missed for missed in block.incomplete if missed not in elsewhere]
        return [record for place, record in block.placed if (cell.contains(*place) if place else has_fetched)]

    def around(self, cell: Bbox) -> Bbox:
        """The block that holds a cell (or the smallest row of blocks that holds a larger box)."""
        places = list(rows_columns(cell))
        if not places:
            return cell  # outside the grid
        south = min(row for row, _ in places) // self._rows * self._rows
        west = min(column for _, column in places) // self._columns * self._columns
        north = max(row for row, _ in places) // self._rows * self._rows + self._rows - 1
        east = max(column for _, column in places) // self._columns * self._columns + self._columns - 1
        low, high = bounds(south, west), bounds(north, east)
        return Bbox(low.west, low.south, high.east, high.north)

    def _ask(self, box: Bbox, report: CrawlReport) -> _Block[Record]:
        inner = CrawlReport(known=report.known)
        try:
            records = fetch_settled(box, self._fetch, inner, id_of=self._id_of)
            placed = [(self._place(record), record) for record in records]
            return _Block(placed, sum(map(self._is_lost, records)), inner.incomplete, inner.is_doubtful)
        finally:
            report.requests += inner.requests
            report.splits += inner.splits
            report.duplicates += inner.duplicates
