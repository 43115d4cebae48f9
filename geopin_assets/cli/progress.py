"""What the steps of a run in this process print: how far each is, its account, its failures and its checks.

Not here: the terminal and tables (`console.py`), or the run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
from rich.table import Table

from geopin_assets.cli.console import console, progress_bar, progress_lines
from geopin_assets.defs.running.local_run import LayerResult
from geopin_assets.defs.running.progress import Advance, Progress

_FAILURES_SHOWN = 5


class ConsoleProgress(Progress):
    """Progress of the steps of this process on its terminal, or as lines where there is none.

    Lines too without `has_bars`: several processes have one terminal, and it has room for one live display.
    """

    has_bars: bool = True

    @contextmanager
    def task(self, context: dg.AssetExecutionContext, total: int, unit: str = "cells") -> Iterator[Advance]:
        label = context.asset_key.to_user_string()
        follow = progress_bar if self.has_bars else progress_lines
        with follow(label, total, unit) as advance:
            yield advance


def print_layer(result: LayerResult) -> None:
    """One line for a finished layer, and one for each of its first failures."""
    shown = ("partition_row_count", *sorted(set(result.totals) - {"partition_row_count"}))
    totals = ", ".join(f"{result.totals[name]} {_word(name)}" for name in shown if result.totals[name])
    cells = f"{result.cells} cells" if result.cells else "nothing to show" if not totals else ""
    failed = f", {result.failed_count} FAILED" if result.failed_count else ""
    console.print(f"{result.asset:22} {', '.join(filter(None, (cells, totals)))}{failed}")
    for where, error in list(result.failed.items())[:_FAILURES_SHOWN]:
        console.print(f"  failed {where}: {error}")


def print_checks(results: Sequence[LayerResult]) -> None:
    """Every check with its verdict and what it found."""
    table = Table("check", "on", "verdict", "found", box=None, pad_edge=False)
    for check in (check for result in results for check in result.checks):
        verdict = "passed" if check.passed else check.severity.value.lower()
        table.add_row(check.check_name, check.asset_key.to_user_string(), verdict, check.description or "")
    console.print(table)


def _word(name: str) -> str:
    return {"partition_row_count": "rows"}.get(name, name.replace("_", " "))
