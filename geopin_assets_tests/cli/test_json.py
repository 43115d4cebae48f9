"""What commands print with `--json`: the fields that docs/cli.md names, and no others."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from geopin_assets.cli.main import app
from geopin_assets.locate.confidence import Calibration, Weights
from geopin_assets.locate.opening import write_calibration
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES
from geopin_assets_tests.cli.typed import Ended, Geopin, Place, command_in, with_sandbox
from geopin_assets_tests.platform import CELLS

HERE, _ = CELLS
PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `geopin ([a-z -]+) --json`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SLOW = ("dagster", "torch", "matplotlib", "lancedb", "aiohttp", "boto3", "uvicorn", "httpx", "numpy", "pyarrow")
ALONE = f"""
import json, sys, time
sys.modules["pandas"] = None  # DuckDB loads it where it is: here, for tests, and not where the product is installed
from geopin_assets.cli.main import app
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
    print(json.dumps([[name for name in {SLOW} if name in sys.modules], time.process_time()]), file=sys.stderr)
"""
"""Commands in an interpreter of their own; after each, what should not be loaded yet, and the CPU so far."""
BY_KEY = ("sources[].left_out", "withheld", "changes")
"""Objects whose keys are data."""
BESIDE = ("publishing.",)
"""The fields of another command."""
WORKS = {"reconcile", "doctor", "locate", "export"}
"""No listings: what they print is what they did."""
MORE = {
    "cells": ("--region", HERE),
    "plan": ("--region", HERE),
    "plan --captures": ("39e6",),
    "takedown --list": (),
    "export": ("--region", HERE),
    "locate": ("queries/photo.jpg", "--verify", "0"),
}
ANY_ANSWER = Calibration(
    "thumbnail-512-p2", Weights(0.0, (0.0, 0.0, 0.0, 0.0)), None, (0.0, 1.0), (500.0, 5.0), 0.9, 0.1, False, {}
)
"""By which every answer and every alternative is as likely as not."""


def documented(command: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", SECTIONS[command], re.MULTILINE))


def fields(found: Any, path: str = "") -> set[str]:
    """The path of everything in a document."""
    here = {path} if path and not path.endswith("[]") else set()
    if isinstance(found, list):
        return here.union(*(fields(item, f"{path}[]") for item in found))
    if isinstance(found, dict) and path not in BY_KEY:
        return here.union(*(fields(value, f"{path}.{name}".lstrip(".")) for name, value in found.items()))
    return here


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_cell: tuple[Place, Ended], sandbox_port: int) -> Place:
    """Where one cell was run, and a capture was taken down."""
    place = one_cell[0].copy(tmp_path_factory.mktemp("json"))
    geopin = with_sandbox(place, sandbox_port)
    assert geopin("takedown", "panoramax:gone", "--note", "asked").returncode == 0
    write_calibration(Settings(data_dir=place.data), ANY_ANSWER)
    photo = min((place.data / "queries").glob("*.jpg"))
    MORE["locate"] = (str(photo), *MORE["locate"][1:])
    return place


@pytest.fixture(scope="module")
def told(place: Place, sandbox_port: int) -> dict[str, Any]:
    """What every listing says there."""
    geopin, said = with_sandbox(place, sandbox_port), {}
    for command in SECTIONS:
        ended = geopin(*command.split(), *MORE.get(command, ()), "--json")
        assert (ended.returncode, ended.stderr) == (0, ""), command
        said[command] = json.loads(ended.stdout)
    return said


@pytest.mark.parametrize("command", SECTIONS)
def test_a_listing_has_the_fields_that_the_page_names_and_no_others(command: str, told: dict[str, Any]) -> None:
    found = {field for field in fields(told[command]) if not field.startswith(BESIDE)}
    assert found == documented(command)


def test_every_command_that_takes_json_is_on_the_page() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = {**commands, **{f"index {name}": command for name, command in commands["index"].commands.items()}}
    takes = {name for name, command in named.items() if any("--json" in option.opts for option in command.params)}
    assert takes == {command.partition(" --")[0] for command in SECTIONS}
    assert {"sources", "cells", "status", "plan", "settings", "index list", "index plan", "takedown"} <= takes


def test_a_listing_needs_neither_dagster_nor_anything_else_that_is_slow_to_import(place: Place) -> None:
    """At most a second of CPU each; what they take together is shown, and only what makes them slow is asserted."""
    home = {"DAGSTER_HOME": str(place.home), "GEOPIN_DATA": str(place.data)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GEOPIN_", "DAGSTER_"))}
    commands = sorted(SECTIONS.keys() - WORKS)
    words = json.dumps([[*command.split(), *MORE.get(command, ())] for command in commands])
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, words], cwd=place.home, env=clean | home, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    for command, line in zip(commands, ended.stderr.splitlines(), strict=True):
        loaded, cpu_s = json.loads(line)
        print(f"up to geopin {command}: {cpu_s:.2f} s of CPU")
        assert loaded == [], command


def test_json_says_what_the_tables_say(told: dict[str, Any]) -> None:
    assert [source["source"] for source in told["sources"]] == [source.name for source in SOURCES]
    assert [cell["cell_id"] for cell in told["cells"]] == [HERE]
    assert [source["source"] for source in told["status"]["sources"]] == ["panoramax"]
    assert told["status"]["index"]["captures"] == told["status"]["sources"][0]["captures"] > 0
    assert told["status"]["sources"][0]["crawled_at"].endswith("Z")
    assert told["plan"]["publishing"] == told["index plan"]
    assert [version["state"] for version in told["index list"]] == ["serving"]
    assert told["index list"][0]["vectors"] == told["status"]["index"]["vectors"]
    assert [(down["capture_id"], down["note"]) for down in told["takedown --list"]] == [("panoramax:gone", "asked")]


def test_before_anything_was_done_there_is_little_to_say(tmp_path: Path) -> None:
    geopin: Geopin = command_in(tmp_path)
    status = json.loads(geopin("status", "--json").stdout)
    assert (status["sources"], status["index"]) == ([], None)
    assert json.loads(geopin("index", "list", "--json").stdout) == []
    assert json.loads(geopin("takedown", "--list", "--json").stdout) == []
    assert json.loads(geopin("plan", "--json").stdout)["publishing"] is None


def test_settings_say_where_each_value_comes_from_and_hide_what_is_secret(tmp_path: Path) -> None:
    given = {
        "GEOPIN_PROFILE": "live",
        "GEOPIN_MAPILLARY_TOKEN": "s3cret",
        "GEOPIN_KARTAVIEW_AREA": "round",
        "GEOPIN_S3_ENDPOINT_URL": "https://key:s3cret@r2.example",
        "GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": "5",
    }
    ended = command_in(tmp_path)("settings", "--json", **given)
    assert "s3cret" not in ended.stdout + command_in(tmp_path)("settings", **given).stdout
    rows = {row["variable"]: row for row in json.loads(ended.stdout)}
    told = {variable: (row["value"], row["origin"]) for variable, row in rows.items()}
    assert told["GEOPIN_PROFILE"] == ("live", "environment")
    assert told["GEOPIN_MAPILLARY_TOKEN"] == ("***", "environment")
    assert told["GEOPIN_FLICKR_API_KEY"] == ("", "default")
    assert told["GEOPIN_COVERAGE_MAX_GAP_SHARE"] == ("0.5", "profile")
    assert told["GEOPIN_GPU_POOL"] == ("gpu", "default")
    assert told["GEOPIN_DATA"] == (str(tmp_path / "data"), "environment")
    assert told["GEOPIN_S3_ENDPOINT_URL"] == ("https://***@r2.example", "environment")
    assert told["GEOPIN_PANORAMAX_REQUESTS_PER_SECOND"] == ("5", "environment")
    assert "choose box or circle" in rows["GEOPIN_KARTAVIEW_AREA"]["wrong"]


def test_a_variable_that_nothing_knows_is_one_line_also_where_sources_are_needed_to_know(tmp_path: Path) -> None:
    geopin = command_in(tmp_path)
    for wrong, meant in (("GEOPIN_PROFIL", "GEOPIN_PROFILE"), ("GEOPIN_FLICKER_REQUESTS_PER_SECOND", "GEOPIN_FLICKR_")):
        ended = geopin("settings", **{wrong: "1"})
        assert (ended.returncode, ended.stdout) == (1, "")
        assert wrong in ended.stderr and meant in ended.stderr
