"""What commands print: progress bars on a terminal, plain lines elsewhere, and the summary of a run.

Not here: commands (`main.py`) or any work.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import dagster as dg
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from geopin_assets.defs.running.local_run import LayerResult
from geopin_assets.defs.running.progress import Advance, Progress, time_left

console = Console(highlight=False, markup=False)
if not console.is_terminal:
    console = Console(highlight=False, markup=False, width=160)  # a log file has no width to fold to
_LINE_EVERY_S = 5.0


@cache
def terminal() -> Console | None:
    """The terminal of this process, if it has one, on a file descriptor of its own.

    Call it before a run: while a step runs, Dagster sends stdout into the step's log.
    """
    if not sys.stdout.isatty():
        return None
    return Console(file=os.fdopen(os.dup(sys.stdout.fileno()), "w"), highlight=False)


class ConsoleProgress(Progress):
    """Progress of the steps of this process on its terminal, or as lines where there is none.

    Lines too without `has_bars`: several processes have one terminal, and it has room for one live display.
    """

    has_bars: bool = True

    @contextmanager
    def task(self, context: dg.AssetExecutionContext, total: int, unit: str = "cells") -> Iterator[Advance]:
        label = context.asset_key.to_user_string()
        with progress_bar(label, total, unit) if self.has_bars else _lines(label, total, unit) as advance:
            yield advance


def progress_bar(label: str, total: int, unit: str = "cells") -> AbstractContextManager[Advance]:
    """Follows work that is done elsewhere: a bar on a terminal, lines where there is none."""
    screen = terminal()
    return _bar(screen, label, total, unit) if screen else _lines(label, total, unit)


@contextmanager
def _bar(screen: Console, label: str, total: int, unit: str) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Bars(*columns, TimeRemainingColumn(), console=screen, transient=True) as bars:
        task = bars.add_task(label, total=total, text=unit)
        yield lambda text, units=1: bars.update(task, advance=units, text=f"{unit}, {text}")


@contextmanager
def _lines(label: str, total: int, unit: str) -> Iterator[Advance]:
    done, said_s = 0, time.monotonic()
    start_s = said_s

    def advance(text: str, units: int = 1) -> None:
        nonlocal done, said_s
        done += units
        if time.monotonic() - said_s >= _LINE_EVERY_S:
            said_s = time.monotonic()
            console.print(f"  {label}: {done}/{total} {unit}, {text}, {time_left(said_s - start_s, done, total)}")

    yield advance


def print_json(facts: object) -> None:
    """For other programs: one document, not folded to any width."""
    sys.stdout.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_layer(result: LayerResult) -> None:
    """One line for a finished layer, and one for each of its first failures."""
    shown = ("partition_row_count", *sorted(set(result.totals) - {"partition_row_count"}))
    totals = ", ".join(f"{result.totals[name]} {_word(name)}" for name in shown if result.totals[name])
    cells = f"{result.cells} cells" if result.cells else "nothing to show" if not totals else ""
    failed = f", {result.failed_count} FAILED" if result.failed_count else ""
    console.print(f"{result.asset:22} {', '.join(filter(None, (cells, totals)))}{failed}")
    for where, error in list(result.failed.items())[:5]:
        console.print(f"  failed {where}: {error}")


def print_checks(results: Sequence[LayerResult]) -> None:
    """Every check with its verdict and what it found."""
    table = Table("check", "on", "verdict", "found", box=None, pad_edge=False)
    for check in (check for result in results for check in result.checks):
        verdict = "passed" if check.passed else check.severity.value.lower()
        table.add_row(check.check_name, check.asset_key.to_user_string(), verdict, check.description or "")
    console.print(table)


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; empty cells for None."""
    table = Table(*headers, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)


def _word(name: str) -> str:
    return {"partition_row_count": "rows"}.get(name, name.replace("_", " "))
