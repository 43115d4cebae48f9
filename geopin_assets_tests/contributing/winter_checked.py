"""The test that comes with the check."""

import dagster as dg

from geopin_assets.defs.assets.diversity import winter_check


def test_a_place_shown_in_winter_passes() -> None:
    assert winter_check(0.25).passed


def test_a_place_shown_in_summer_only_is_a_warning_that_says_how_little() -> None:
    found = winter_check(0.02)
    assert not found.passed and found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == "2% of the captures were taken in winter"
