"""`geopin` as people type it, in this process: words, variables and a folder in; exit code and printed lines out.

A new interpreter for each command would take 2 to 4 s, most of it importing Dagster. That `python -m geopin_assets.cli`
and the installed script say the same is shown once, in `test_packaging.py`.
"""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

from geopin_assets.cli.main import main
from geopin_assets_tests.instances import kept_storage


@dataclass(frozen=True)
class Ended:
    """How a command ended, as `subprocess.CompletedProcess` would say it."""

    returncode: int
    stdout: str
    stderr: str


Geopin = Callable[..., Ended]


@dataclass(frozen=True)
class Place:
    """A folder with data, a history of runs, and an empty folder where commands are typed."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("home", "here"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.home / "dagster.yaml").write_text(json.dumps(kept_storage(self.home)))

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def copy(self, folder: Path) -> "Place":
        """The same, to do as one likes with."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Place(folder)

    def geopin(self, *words: str, **variables: str | None) -> Ended:
        """Run the command here, with only the GEOPIN_* variables that are given. None takes one away."""
        asked = {"GEOPIN_DATA": str(self.data), "DAGSTER_HOME": str(self.home)} | variables
        environ = {name: value for name, value in asked.items() if value is not None}
        return typed(words, self.folder / "here", environ)


def command_in(folder: Path) -> Geopin:
    """Runs the command in an empty folder."""
    return Place(folder).geopin


def typed(words: tuple[str, ...], here: Path, environ: dict[str, str]) -> Ended:
    """A command in a folder. Its environment is this one's without GEOPIN_* and DAGSTER_*, and what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEOPIN_", "DAGSTER_"))}
    said, complained, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, kept | environ, clear=True),
        mock.patch("sys.argv", ["geopin", *words]),
        contextlib.chdir(here),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Ended(code, said.getvalue(), complained.getvalue())


def complaint(ended: Ended) -> str:
    """The one line in which a command says why it did nothing."""
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("geopin: ")
    return line


def with_sandbox(place: Place, port: int) -> Geopin:
    """The command in a place, over a sandbox that runs."""
    return partial(place.geopin, GEOPIN_SANDBOX_PORT=str(port))
