"""What work costs, and tables of it. Not here: any work.

CPU seconds are the figure to trust: neighbors on the same cores change the clock, and alternating rounds change
both sides alike.
"""

import os
import re
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

_WIDEST = 300
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of CPU: of all threads, and of child processes that have ended."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> "Cost":
        own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
        return cls(time.perf_counter(), cpu_s)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def __truediv__(self, other: "Cost") -> "Cost":
        """Ratios of both."""
        return Cost(self.wall_s / other.wall_s, self.cpu_s / other.cpu_s)


def cost_of(work: Callable[[], object], elsewhere_s: Callable[[], float] = lambda: 0.0) -> Cost:
    """`elsewhere_s`: CPU seconds so far of processes that work for us and live on."""
    before_s, started = elsewhere_s(), Cost.now()
    work()
    cost = Cost.now() - started
    return Cost(cost.wall_s, cost.cpu_s + elsewhere_s() - before_s)


def alternating(
    works: Mapping[str, Callable[[], object]], rounds: int, elsewhere_s: Callable[[], float] = lambda: 0.0
) -> dict[str, list[Cost]]:
    """The costs of each work, all of them in turn, so many times."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            costs[name].append(cost_of(work, elsewhere_s))
    return costs


def typical(costs: Sequence[Cost]) -> Cost:
    """The median round."""
    return Cost(median(cost.wall_s for cost in costs), median(cost.cpu_s for cost in costs))


def typical_ratio(costs: Sequence[Cost], base: Sequence[Cost]) -> Cost:
    """The median of the ratios of each round: who was disturbed, was disturbed in both."""
    return typical([cost / of for cost, of in zip(costs, base, strict=True)])


def peak_mb(*, anew: bool = False) -> float:
    """The most memory that this process held, this program's alone, or since it was last counted `anew`; nought where
    the system does not tell."""
    if anew and _FORGET.exists():
        _FORGET.write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first column to the left, figures to the right."""
    table = Table(box=None, pad_edge=False, header_style="")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=_WIDEST, highlight=False, soft_wrap=True).print(table)


def machine() -> str:
    """Cores, and how busy they are with this and everything else."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
