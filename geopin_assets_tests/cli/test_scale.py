"""What so many captures would take: every part says how many it is built for, and what comes then."""

from pathlib import Path
from typing import Any

import pytest

from geopin_assets.cli.scale import EMBED_PLAN_S, MERGE_S, PUBLISH_PLAN_S, count, scale_plan
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings
from geopin_assets_tests.benchmarks.scale import amount
from geopin_assets_tests.benchmarks.tools import figures
from geopin_assets_tests.cli.typed import command_in, complaint
from geopin_assets_tests.docs.benchmarks import KEPT

LIVE = Settings.from_env({"GEOPIN_PROFILE": "live", "GEOPIN_CONTACT": "mailto:a@b.example"})


def parts(captures: float, pano_share: float = 0.1) -> dict[str, Any]:
    return {part["part"]: part for part in scale_plan(LIVE, int(captures), pano_share)["parts"]}


def test_39_million_are_what_it_is_built_for() -> None:
    found = parts(39e6)
    assert all(part["suffices"] for part in found.values())
    assert "6 indexes" in found["vectors"]["takes"] and "3 databases" in found["rows"]["takes"]
    assert "260,832 objects at most" in found["files"]["takes"]


@pytest.mark.parametrize("name", [name for name, part in parts(1).items() if part["up_to_captures"]])
def test_a_part_suffices_up_to_what_it_says_and_no_further_and_says_what_comes_then(name: str) -> None:
    part = parts(39e6)[name]
    most = part["up_to_captures"]
    assert parts(most)[name]["suffices"] and not parts(most * 1.02)[name]["suffices"]
    assert part["because"] and part["then"]


def test_two_billion_are_beyond_most_parts_but_not_beyond_the_catalogs_writer() -> None:
    beyond = {name for name, part in parts(2e9).items() if not part["suffices"]}
    assert beyond == {"crawl", "files", "reports", "embedding", "rows", "vectors"}
    assert "conflicts" in parts(2e9)["catalog"]["then"]


@pytest.mark.parametrize(
    ("step", "reckoned_s"),
    [("merge", MERGE_S), ("embed plan", EMBED_PLAN_S), ("publish plan", PUBLISH_PLAN_S)],
)
def test_what_a_step_is_reckoned_to_take_is_what_was_measured_last(step: str, reckoned_s: float) -> None:
    """In docs/benchmarks.json, of cells as full as those of a country of 40 million captures."""
    what = f"{step} of {amount(200_000, 100)}"
    (measured_s,) = (
        record["value"] for record in figures.read(KEPT) if (record["benchmark"], record["what"]) == ("scale", what)
    )
    assert reckoned_s == pytest.approx(measured_s / 200_000, rel=0.3)


def test_panoramas_count_twelvefold_where_views_do() -> None:
    flat, round_ = parts(1e6, 0), parts(1e6, 1)
    assert "1,000,000 vectors" in flat["vectors"]["takes"] and "12,000,000 vectors" in round_["vectors"]["takes"]
    assert flat["catalog"] == round_["catalog"]


@pytest.mark.parametrize(("text", "number"), [("39e6", 39_000_000), ("2_000", 2000), ("5,000,000", 5_000_000)])
def test_a_number_may_be_written_as_people_write_large_ones(text: str, number: int) -> None:
    assert count(text) == number


@pytest.mark.parametrize("text", ["many", "nan", "inf", "-5", "0"])
def test_what_is_no_number_of_captures_is_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--captures"):
        count(text)


def test_planning_needs_neither_data_nor_weights(tmp_path: Path) -> None:
    geopin = command_in(tmp_path)
    shown = geopin("plan", "--captures", "2e9", GEOPIN_PROFILE="live", GEOPIN_CONTACT="mailto:a@b.example").stdout
    assert "2,000,000,000 captures, of which 200,000,000 are panoramas" in shown
    assert "not built for so many: crawl, files" in shown
    assert "captures" in complaint(geopin("plan", "--captures", "lots"))
