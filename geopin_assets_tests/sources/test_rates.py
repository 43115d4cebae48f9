"""How fast a source is asked, and who may say so."""

import pytest

from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import SANDBOX_REQUESTS_PER_SECOND, SOURCES, open_source, rate_per_s
from geopin_assets.sources.base import Source

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
