"""docs/sources.md says of every source what its class says, and the import rule knows every source."""

import re
import tomllib
from pathlib import Path

import pytest

from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.variables import PATTERNS, VARIABLES

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "sources.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE))

every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def amount(number: int) -> str:
    return f"{number // 1_000_000} million" if number >= 1_000_000 else f"{number:,}"


def pace(per_second: float) -> str:
    return f"{per_second:g} a second" if per_second >= 1 else f"{per_second * 60:g} a minute"


def test_every_source_has_a_section_and_a_row_in_the_order_of_the_registry() -> None:
    names = [source.name for source in SOURCES]
    assert [name for name in SECTIONS if name in names] == names
    assert [name for name in ROWS if name in names] == names
    assert all(f"[{name}](#{name})" in PAGE for name in names)


@every_source
def test_a_section_says_how_the_source_is_shown_and_what_it_needs(source: type[Source]) -> None:
    section = " ".join(SECTIONS[source.name].split())
    assert source.attribution in section
    assert (source.license or "license") in section.replace("License", "license")
    if source.key:
        assert source.key.variable in section and source.key.variable in ROWS[source.name]


@every_source
def test_a_row_has_the_pace_and_the_size_that_the_class_states(source: type[Source]) -> None:
    row = ROWS[source.name]
    if source.expected_captures:
        assert f"| {amount(source.expected_captures)} |" in row
    if source.asks_a_server and not source.quotas:
        assert pace(source.requests_per_second) in row
    assert all(f"{quota.per_day:,}" in row for quota in source.quotas.values() if quota.per_day)


def test_every_variable_that_the_page_names_exists() -> None:
    named = set(re.findall(r"GEOPIN_[A-Z0-9_<>]+", PAGE))
    of_one_source = {f"GEOPIN_{source.name.upper()}_REQUESTS_PER_SECOND" for source in SOURCES}
    of_tests = {name for name in named if name.startswith("GEOPIN_TEST_")}
    assert named - of_tests <= {*VARIABLES, *PATTERNS, *of_one_source}


def test_the_import_rule_that_keeps_sources_apart_names_every_one() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    (rule,) = (c for c in project["tool"]["importlinter"]["contracts"] if c["name"] == "sources do not know each other")
    assert set(rule["modules"]) == {f"geopin_assets.sources.{source.name}" for source in SOURCES}
