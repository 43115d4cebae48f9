"""What commands print, and what they stand on: the place of Dagster's history and, in the sandbox, the stand-ins.

Here: tables for people, JSON for programs, bars or lines for work that takes long, errors in words. Not here: commands
(`main.py`), what Dagster's steps print (`run.py`), or any work. Nothing here imports Dagster: commands that only look
something up answer at once. Dagster without DAGSTER_HOME would use a directory that it deletes at exit, and say so only
in its log.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table

from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.files.plain import is_utf_8
from geopin_assets.settings import Settings

if TYPE_CHECKING:
    from geopin_assets.defs.running.materialize import Advance

Facts = dict[str, Any]
"""What a command found out, by the names of `docs/cli.md`."""
console = Console(highlight=False, markup=False)
if not console.is_terminal:
    console = Console(highlight=False, markup=False, width=160)  # a log file has no width to fold to
_LINE_EVERY_S = 5.0


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; empty cells for None."""
    table = Table(*headers, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)


def print_json(facts: object) -> None:
    """One JSON document, not folded to any width; its fields are in `docs/cli.md`."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
    sys.stdout.write(orjson.dumps(facts, option=options).decode() + "\n")


def print_facts(facts: Any, is_json: bool, show: Callable[[Any], None]) -> None:
    """The same facts for a program, or shown to a person."""
    print_json(facts) if is_json else show(facts)


@cache
def terminal() -> Console | None:
    """The terminal of this process, if it has one, on a file descriptor of its own.

    Call it before a run: while a step runs, Dagster sends stdout into the step's log.
    """
    say_waits()
    if not sys.stdout.isatty():
        return None
    return Console(file=os.fdopen(os.dup(sys.stdout.fileno()), "w"), highlight=False)


@cache
def say_waits() -> None:
    """Say whom this process waits for, on what is its stderr now: while a step runs, Dagster has that too."""
    log = logging.getLogger("geopin_assets.files.lease")
    log.addHandler(logging.StreamHandler(os.fdopen(os.dup(2), "w", buffering=1)))
    log.setLevel(logging.INFO)


def progress_bar(label: str, total: int, unit: str = "cells") -> "AbstractContextManager[Advance]":
    """Follows work that is done elsewhere: a bar on a terminal, lines where there is none."""
    screen = terminal()
    return _bar(screen, label, total, unit) if screen else progress_lines(label, total, unit)


@contextmanager
def _bar(screen: Console, label: str, total: int, unit: str) -> "Iterator[Advance]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True) as bars:
        task = bars.add_task(label, total=total, text=unit)
        yield lambda text, units=1: bars.update(task, advance=units, text=f"{unit}, {text}")


@contextmanager
def progress_lines(label: str, total: int, unit: str) -> "Iterator[Advance]":
    """A line every few seconds."""
    from geopin_assets.defs.running.materialize import time_left

    done, said_s = 0, time.monotonic()
    start_s = said_s

    def advance(text: str, units: int = 1) -> None:
        nonlocal done, said_s
        done += units
        if time.monotonic() - said_s >= _LINE_EVERY_S:
            said_s = time.monotonic()
            console.print(f"  {label}: {done}/{total} {unit}, {text}, {time_left(said_s - start_s, done, total)}")

    yield advance


def find_dagster_home() -> None:
    """Set DAGSTER_HOME to the current directory if that is a checkout and nothing else was said.

    Raises ConfigurationError for a DAGSTER_HOME that Dagster would refuse.
    """
    if "DAGSTER_HOME" not in os.environ and Path("dagster.yaml").exists():
        os.environ["DAGSTER_HOME"] = str(Path.cwd())
    home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd())
    if not (home.is_absolute() and home.is_dir()):
        raise ConfigurationError(f"DAGSTER_HOME={str(home)!r}: not the absolute path of a directory")
    if b"?" in os.fsencode(home) or not is_utf_8(home):
        raise ConfigurationError(
            f"DAGSTER_HOME={str(home)!r}: Dagster keeps no history in a path with a ?, or no UTF-8"
        )


def dagster_home() -> Path:
    """The instance's directory. Raises ConfigurationError when nobody said where it is."""
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise ConfigurationError('run this in the checkout, or say where history is kept: export DAGSTER_HOME="$PWD"')
    return Path(home)


@contextmanager
def stand_ins(settings: Settings, *, asks_for_all: bool = False) -> Iterator[None]:
    """Serve the stand-ins of all APIs as long as a command lasts, or share a server that already does.

    Nothing with real sources. `asks_for_all`: the command will ask for every picture.
    """
    if not settings.is_sandbox:
        yield
        return
    from geopin_assets.sandbox.server import running

    with running(settings, is_apart=True, paints_ahead=asks_for_all):
        yield


def understood(error: Exception) -> GeoPinError | None:
    """The project's error for what ended a command, if the command itself is not wrong."""
    from sqlite3 import Error

    from geopin_assets.files import damage, sqlite

    cause = getattr(error, "orig", None) or error  # what SQLAlchemy was told
    if isinstance(cause, Error):
        return sqlite.meaning(Path(os.environ.get("DAGSTER_HOME", "")), cause)
    if isinstance(error, GeoPinError):
        return error
    return damage.of_disk(error, str(getattr(error, "filename", None) or "a file"))
