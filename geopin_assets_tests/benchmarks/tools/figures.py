"""Figures of a run of benchmarks: what was measured, beside what, and how it must be; kept as JSON, and compared.

A figure is known by its benchmark and what it says. A run of some benchmarks replaces their figures and leaves the
others, each of which keeps its own machine and day.
"""

import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from geopin_assets.files import atomic
from geopin_assets_tests.benchmarks.tools.measure import machine, print_table

CHECKOUT = Path(__file__).parents[3]
LIBRARIES = ("dagster", "duckdb", "polars", "pyarrow", "torch", "lancedb", "aiohttp")
WORSE = 1.1
"""Times the older figure, from which on a comparison says so; the clock of a shared machine is not truer than that."""


@dataclass(frozen=True)
class Figure:
    """A number. A ratio has no unit, and says what it is a ratio to."""

    what: str
    value: float
    unit: str = ""
    beside: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}" if self.at_least else ""

    @property
    def holds(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


Record = Mapping[str, Any]
"""A figure as it is kept: its fields, `benchmark`, `at`, `machine`, `commit` and `versions`."""


def surroundings() -> dict[str, Any]:
    """Where and with what a figure was measured."""
    asked = ["git", "-C", str(CHECKOUT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": f"{machine()}, {_processor()}",
        "commit": commit,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def records_of(benchmark: str, figures: Iterable[Figure]) -> list[Record]:
    around = surroundings()
    return [{"benchmark": benchmark, **asdict(figure), "holds": figure.holds, **around} for figure in figures]


def read(file: Path) -> list[Record]:
    kept: list[Record] = orjson.loads(file.read_bytes()) if file.exists() else []
    return kept


def keep(file: Path, benchmark: str, records: Iterable[Record]) -> None:
    """Put the figures of one benchmark in the place of its older ones. Raises ValueError where two have one name."""
    records = list(records)
    if twice := [what for what, times in Counter(record["what"] for record in records).items() if times > 1]:
        raise ValueError(f"{benchmark} has two figures of one name, of which a comparison would know one: {twice}")
    others = [record for record in read(file) if record["benchmark"] != benchmark]
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(file, orjson.dumps([*others, *records], option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


def show(records: Iterable[Record], old: Iterable[Record] = ()) -> None:
    """One table; with older figures, each beside its own."""
    before = {(record["benchmark"], record["what"]): record for record in old}
    rows = [(*_line(record), *_compared(record, before)) for record in records]
    print_table(("benchmark", "what", "figure", "beside", "bound", "") + (("before", "") if before else ()), rows)
    sys.stdout.flush()


def markdown(records: Iterable[Record]) -> str:
    """The same as a table of `docs/benchmarks.md`, with the day of each."""
    lines = ["| benchmark | what | figure | beside | bound | measured |", "|---|---|---|---|---|---|"]
    for record in records:
        *cells, missed = _line(record)
        cells[-1] += f" ({missed.lower()})" if missed else ""
        lines.append(f"| {' | '.join(cells)} | {record['at'][:10]} |")
    return "\n".join(lines) + "\n"


def _line(record: Record) -> tuple[str, ...]:
    figure = Figure(**{name: record[name] for name in Figure.__dataclass_fields__})
    amount = f"{figure.value:.3g} {figure.unit or '×'}"
    return record["benchmark"], figure.what, amount, figure.beside, figure.bound, "" if figure.holds else "MISSED"


def _compared(record: Record, before: Mapping[tuple[str, str], Record]) -> tuple[str, ...]:
    if not before:
        return ()
    older = before.get((record["benchmark"], record["what"]))
    if older is None:
        return ("", "new")
    more_is_better = record["at_least"] is not None
    times = (older["value"] or 1e-9) / (record["value"] or 1e-9)
    worse = times if more_is_better else 1 / times
    return (f"{older['value']:.3g}", "WORSE" if worse > WORSE else "better" if worse < 1 / WORSE else "as before")
