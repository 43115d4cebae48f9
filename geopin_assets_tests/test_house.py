"""The README and the docstrings are kept honest: what they name exists, and what exists is named."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from geopin_assets.cli.main import app
from geopin_assets.definitions import defs
from geopin_assets.environment import TEST_PREFIX
from geopin_assets.sources import SOURCES
from geopin_assets.variables import PER_SOURCE, VARIABLES

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")])
MODULES = sorted((CHECKOUT / "geopin_assets").rglob("*.py"))
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
TARGETS = re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)
LONGEST_MODULE = 400
VARIABLE = re.compile(r"GEOPIN_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_{])")  # not the start of a longer, computed name


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def variables(text: str) -> set[str]:
    return set(VARIABLE.findall(text))


def test_every_module_says_what_lives_there() -> None:
    said = {name(module): ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) for module in MODULES}
    assert [module for module, text in said.items() if len(text or "") < 20] == []


def test_no_module_is_longer_than_one_idea() -> None:
    lines = {name(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {module: count for module, count in lines.items() if count > LONGEST_MODULE} == {}


def test_the_readme_has_a_row_for_every_source_and_no_other() -> None:
    table = README.partition("## Sources")[2].partition("\n## ")[0].partition("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [source.name for source in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_readme_shows_how_a_source_is_attributed_and_where_people_contribute(source) -> None:
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `{source.name}` |"))
    assert f"| `{source.attribution}` |" in row
    assert f"<{source.contribute_url}>" in row
    assert source.license is None or source.license in row


def test_every_variable_that_is_named_exists() -> None:
    named = {name(text): variables(text.read_text(encoding="utf-8")) - set(VARIABLES) for text in [*MODULES, *PAGES]}
    strangers = {v for found in named.values() for v in found if not v.startswith(TEST_PREFIX)}
    assert {v for v in strangers if not PER_SOURCE.fullmatch(v)} == set(), named


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_on_commands_shows_every_one(command: str) -> None:
    assert re.search(rf"\bgeopin {command}\b", (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:bin/|`)geopin ([a-z]+)", text)) <= set(COMMANDS)
    assert set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE)) <= set(TARGETS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_points_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pointed = {path for path in re.findall(r"`(geopin_assets[\w./]*)[^`]*`", text) if "<" not in path}
    assert [path for path in sorted(pointed) if not (CHECKOUT / path).exists()] == []


def test_the_readme_explains_every_asset() -> None:
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    rows = set(re.findall(r"^\| `(\w+/[\w<>]+)` \|", README, re.MULTILINE))
    assert rows == {"raw/<source>", *(key for key in keys if not key.startswith("raw/"))}
