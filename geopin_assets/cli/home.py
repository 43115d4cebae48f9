"""What a command stands on: the place of Dagster's history, and in the sandbox profile the stand-ins of all APIs.

Dagster without DAGSTER_HOME would use a directory that it deletes at exit, and say so only in its log.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings


def find_dagster_home() -> None:
    """Set DAGSTER_HOME to the current directory if that is a checkout and nothing else was said.

    Raises ConfigurationError for a DAGSTER_HOME that Dagster would refuse.
    """
    if "DAGSTER_HOME" not in os.environ and Path("dagster.yaml").exists():
        os.environ["DAGSTER_HOME"] = str(Path.cwd())
    home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd())
    if not (home.is_absolute() and home.is_dir()):
        raise ConfigurationError(f"DAGSTER_HOME={str(home)!r}: not the absolute path of a directory")


def dagster_home() -> Path:
    """The instance's directory. Raises ConfigurationError when nobody said where it is."""
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise ConfigurationError('run this in the checkout, or say where history is kept: export DAGSTER_HOME="$PWD"')
    return Path(home)


@contextmanager
def stand_ins(settings: Settings) -> Iterator[None]:
    """Serve the stand-ins of all APIs as long as a command lasts, or share a server that already does.

    Nothing with real sources.
    """
    if not settings.is_sandbox:
        yield
        return
    from geopin_assets.sandbox.server import running

    with running(settings):
        yield
