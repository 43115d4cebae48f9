"""What crawling some cells of a source will take: requests by kind, and hours at its rates and daily budgets.

Here: arithmetic on what a source states about itself (`Source.costs`) and on what earlier crawls of the same cells
took. Not here: where those are kept, or how an estimate is shown. A stated cost is a sum of two shares: requests
that an empty country would take, and requests that its captures add, spread over the cells as people are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil

from geopin_assets.cells import all_cells
from geopin_assets.http_client import Quota
from geopin_assets.sources.base import RequestCost, Source

_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class KindCost:
    """Requests of one kind ("" is the source's own rate), and how long they take at its quota."""

    kind: str
    requests: int
    hours: float
    quota: Quota


@dataclass(frozen=True, slots=True)
class CrawlCost:
    """One source over some cells. Kinds of requests do not wait for each other: the slowest one decides."""

    source: str
    cells: int
    measured_cells: int
    """Cells whose requests are known from an earlier crawl; the others are as the source states."""
    captures: int
    kinds: tuple[KindCost, ...]

    @property
    def requests(self) -> int:
        return sum(kind.requests for kind in self.kinds)

    @property
    def hours(self) -> float:
        return max((kind.hours for kind in self.kinds), default=0.0)


def estimate_crawl(
    source: type[Source], quotas: Mapping[str, Quota], cell_ids: Sequence[str], measured: Mapping[str, tuple[int, int]]
) -> CrawlCost:
    """Estimate a crawl. `measured`: cell_id -> (requests, captures) of its last crawl."""
    known = {cell_id: measured[cell_id] for cell_id in cell_ids if cell_id in measured}
    unknown = [cell_id for cell_id in cell_ids if cell_id not in known]
    captures = source.expected_captures * _share_of_people(unknown)
    kinds = []
    for number, cost in enumerate(source.costs):
        requests = stated_requests(cost, len(unknown), captures)
        if number == 0:
            requests += sum(taken for taken, _ in known.values())
        quota = quotas.get(cost.kind, quotas[""])
        kinds.append(KindCost(cost.kind, ceil(requests), hours_of(requests, quota), quota))
    known_captures = sum(count for _, count in known.values())
    return CrawlCost(source.name, len(cell_ids), len(known), round(captures) + known_captures, tuple(kinds))


def stated_requests(cost: RequestCost, cells: int, captures: float) -> float:
    """Requests of one kind for so many cells with so many captures in all."""
    return cells / cost.cells_per_request + captures / cost.captures_per_request


@cache
def _people() -> Mapping[str, int]:
    return {facts.cell.cell_id: facts.population for facts in all_cells()}


def _share_of_people(cell_ids: Sequence[str]) -> float:
    people = _people()
    return sum(map(people.__getitem__, cell_ids)) / sum(people.values())


def hours_of(requests: float, quota: Quota) -> float:
    """How long so many requests take at a rate and a daily budget; infinite where that is 0."""
    at_rate = requests / quota.per_second / _HOUR_S
    if quota.per_day is None or requests <= quota.per_day:
        return at_rate
    if quota.per_day == 0:
        return float("inf")
    return max(at_rate, requests / quota.per_day * 24)
