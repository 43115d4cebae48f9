"""How fast a source is asked, and who may say so."""

from pathlib import Path

import pytest

from geopin_assets.cells import cell, cell_ids
from geopin_assets.errors import BudgetSpent, ConfigurationError
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import (
    SANDBOX_REQUESTS_PER_SECOND,
    SOURCES,
    cells_at_once,
    open_source,
    quotas_of,
    rate_per_s,
    source_named,
)
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import crawl_cells
from geopin_assets_tests.sandbox.transport import AsgiTransport

every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def live(source: type[Source], rate: str) -> Settings:
    variables = {f"GEOPIN_{source.name.upper()}_REQUESTS_PER_SECOND": rate, "GEOPIN_ENABLE_MAPILIO": "1"}
    return Settings(profile=Profile.LIVE, variables=variables)


@every_source
def test_real_sources_are_asked_at_their_own_rate_and_stand_ins_faster(source: type[Source]):
    assert rate_per_s(source, Settings(profile=Profile.LIVE)) == source.requests_per_second
    assert rate_per_s(source, live(source, "")) == source.requests_per_second
    assert rate_per_s(source, Settings()) == SANDBOX_REQUESTS_PER_SECOND


@every_source
def test_an_operator_states_another_rate_for_one_source_only(source: type[Source]):
    settings = live(source, "12.5")
    assert {other.name: rate_per_s(other, settings) for other in SOURCES} == {
        other.name: 12.5 if other is source else other.requests_per_second for other in SOURCES
    }


@every_source
@pytest.mark.parametrize("wrong", ["0", "-1", "fast", "nan", "inf", "1000.1"])
def test_a_wrong_rate_is_refused_before_anything_is_asked(source: type[Source], wrong: str):
    with pytest.raises(ConfigurationError, match=f"GEOPIN_{source.name.upper()}_REQUESTS_PER_SECOND"):
        rate_per_s(source, live(source, wrong))
    with (
        pytest.raises(ConfigurationError, match="REQUESTS_PER_SECOND"),
        open_source(source.name, Settings(variables=live(source, wrong).variables)),
    ):
        pass


def test_daily_budgets_are_the_sources_own_and_settings_change_them():
    live = Settings(profile=Profile.LIVE, variables={"GEOPIN_MAPILLARY_TILES_PER_DAY": "12"})
    quotas = quotas_of(source_named("mapillary"), live)
    assert (quotas["tiles"].per_day, quotas["search"].per_day) == (12, 200_000)
    assert quotas["tiles"].per_second == pytest.approx(40 / 60)
    assert quotas_of(source_named("mapillary"), Settings(profile=Profile.LIVE))["tiles"].per_day == 1750


@pytest.mark.parametrize("wrong", ["-1", "many", "1.5", "100000001"])
def test_a_wrong_budget_is_refused(wrong: str):
    live = Settings(profile=Profile.LIVE, variables={"GEOPIN_MAPILLARY_TILES_PER_DAY": wrong})
    with pytest.raises(ConfigurationError, match="GEOPIN_MAPILLARY_TILES_PER_DAY"):
        quotas_of(source_named("mapillary"), live)


@pytest.mark.parametrize(
    ("stranger", "meant"),
    [
        ("GEOPIN_PANORMAX_REQUESTS_PER_SECOND", "GEOPIN_PANORAMAX_REQUESTS_PER_SECOND"),
        ("GEOPIN_MAPILLARY_TILE_PER_DAY", "GEOPIN_MAPILLARY_TILES_PER_DAY"),
    ],
)
def test_a_rate_or_budget_of_what_does_not_exist_is_refused_with_the_nearest_that_does(stranger: str, meant: str):
    with pytest.raises(ConfigurationError, match=f"{stranger}.*{meant}"):
        quotas_of(source_named("amsterdam"), Settings.from_env({stranger: "7"}))


def test_a_spent_budget_fails_the_cells_of_later_runs_too_until_midnight(tmp_path: Path):
    """Each opening is a run of its own; the account lies in the data directory."""
    settings = Settings(data_dir=tmp_path, variables={"GEOPIN_MAPILLARY_SEARCH_PER_DAY": "3"})
    transport = AsgiTransport(create_app(build_world(), settings.sandbox_url))
    cells = [cell(cell_id) for cell_id in cell_ids()[:5]]
    outcomes = []
    for where in cells:
        with open_source("mapillary", settings, transport=transport) as source:
            ((_, outcome),) = crawl_cells(source, [where])
            outcomes.append(outcome)
    assert [isinstance(outcome, BudgetSpent) for outcome in outcomes] == [False, False, False, True, True]
    assert "today's budget of 3 requests for search is spent" in str(outcomes[-1])


@pytest.mark.parametrize(("rate", "cells"), [("0.1", 1), ("0.4", 2), ("0.7", 4), ("1000", 4)])
def test_no_more_cells_are_under_way_than_the_rate_keeps_busy(rate: str, cells: int) -> None:
    settings = Settings.from_env({"GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": rate})
    assert cells_at_once(source_named("panoramax"), settings) == cells
