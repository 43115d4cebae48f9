"""Where Dagster keeps the history of runs: DAGSTER_HOME, or the checkout when the command is typed there.

Dagster itself would use a directory that it deletes at exit, and say so only in its log.
"""

import os
from pathlib import Path

from geopin_assets.errors import ConfigurationError


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
