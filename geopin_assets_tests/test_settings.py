"""Every variable of `Settings.from_env`, its default and the error that names it."""

from pathlib import Path

import pytest

from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import SANDBOX_PORT, Precision, Profile, Settings


def test_without_variables_everything_is_the_sandbox_beside_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({})
    assert settings.profile is Profile.SANDBOX
    assert settings.is_sandbox
    assert settings.data_dir == tmp_path / ".geopin" / "sandbox"
    assert settings.sandbox_url == f"http://127.0.0.1:{SANDBOX_PORT}"
    assert (settings.contact, settings.device, settings.weights) == ("", "", "")
    assert (settings.model, settings.precision, settings.is_compiled) == ("cosplace/ResNet50/512", "auto", False)
    assert settings.gpu_pool == "gpu"
    assert settings.trusted_hosts == frozenset()


@pytest.mark.parametrize("profile", Profile)
def test_each_profile_has_its_own_data_beside_the_dagster_instance(profile: Profile, tmp_path: Path) -> None:
    settings = Settings.from_env({"GEOPIN_PROFILE": profile, "DAGSTER_HOME": str(tmp_path)})
    assert settings.profile is profile
    assert settings.is_sandbox is (profile is Profile.SANDBOX)
    assert settings.data_dir == tmp_path / ".geopin" / profile


def test_a_data_directory_that_is_named_wins_and_becomes_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({"GEOPIN_DATA": "here", "DAGSTER_HOME": "/elsewhere"}).data_dir == tmp_path / "here"


def test_everything_stored_lies_under_the_data_directory_each_in_its_own_place(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    places = [
        settings.raw_dir,
        settings.embeddings_dir,
        settings.catalog_path,
        settings.index_dir,
        settings.ledger_path,
        settings.quality_dir,
    ]
    assert {place.parent for place in places} == {tmp_path}
    assert len(set(places)) == len(places)


def test_the_other_variables_are_read_as_they_are() -> None:
    settings = Settings.from_env(
        {
            "GEOPIN_CONTACT": "maps@example.org",
            "GEOPIN_SANDBOX_PORT": "9000",
            "GEOPIN_TRUSTED_HOSTS": "photos.example.org,10.0.0.7,",
            "GEOPIN_DEVICE": "cuda:1",
            "GEOPIN_MODEL": "eigenplaces/ResNet50/2048",
            "GEOPIN_WEIGHTS": "/models/cosplace.pth",
            "GEOPIN_PRECISION": "fp32",
            "GEOPIN_COMPILE": "1",
            "GEOPIN_GPU_POOL": "gpu_of_amsterdam",
        }
    )
    assert settings.contact == "maps@example.org"
    assert settings.sandbox_port == 9000
    assert settings.trusted_hosts == {"photos.example.org", "10.0.0.7"}
    assert settings.device == "cuda:1"
    assert settings.model == "eigenplaces/ResNet50/2048"
    assert settings.weights == "/models/cosplace.pth"
    assert settings.precision is Precision.FP32
    assert settings.is_compiled
    assert settings.gpu_pool == "gpu_of_amsterdam"


def test_coverage_expectations_have_defaults_that_fit_the_profile_and_can_be_set() -> None:
    live = Settings.from_env({"GEOPIN_PROFILE": "live"})
    assert (live.max_gap_share, live.coverage_max_age_years, live.captures_per_1000_inhabitants) == (0.5, 3, 10)
    assert Settings.from_env({}).max_gap_share == 1
    stated = Settings.from_env(
        {
            "GEOPIN_COVERAGE_MAX_GAP_SHARE": "0.2",
            "GEOPIN_COVERAGE_MAX_AGE_YEARS": "1.5",
            "GEOPIN_COVERAGE_CAPTURES_PER_1000": "40",
        }
    )
    assert (stated.max_gap_share, stated.coverage_max_age_years, stated.captures_per_1000_inhabitants) == (0.2, 1.5, 40)
    with pytest.raises(ConfigurationError, match="GEOPIN_COVERAGE_MAX_GAP_SHARE='50'"):
        Settings.from_env({"GEOPIN_COVERAGE_MAX_GAP_SHARE": "50"}).max_gap_share  # noqa: B018


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEOPIN_PROFILE", "production"),
        *(("GEOPIN_SANDBOX_PORT", port) for port in ("http", "-1", "0", "65536", "")),
        ("GEOPIN_PRECISION", "fp64"),
        ("GEOPIN_PRECISION", "BF16"),
        ("GEOPIN_COMPILE", "yes"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='{value}'"):
        Settings.from_env({name: value})


def test_the_error_about_a_profile_says_which_there_are() -> None:
    with pytest.raises(ConfigurationError, match="sandbox, live, cloud"):
        Settings.from_env({"GEOPIN_PROFILE": "Live"})


def test_variables_that_are_set_to_nothing_are_as_if_unset() -> None:
    names = ("GEOPIN_MODEL", "GEOPIN_DEVICE", "GEOPIN_PRECISION", "GEOPIN_COMPILE", "GEOPIN_GPU_POOL")
    settings, default = Settings.from_env(dict.fromkeys(names, " ")), Settings()
    assert (settings.model, settings.device, settings.precision) == (default.model, "", Precision.AUTO)
    assert (settings.is_compiled, settings.gpu_pool) == (False, "gpu")


def test_variables_of_sources_are_kept_and_those_of_others_are_not() -> None:
    settings = Settings.from_env({"GEOPIN_MAPILLARY_TOKEN": "s3cret", "AWS_SECRET_ACCESS_KEY": "0ther"})
    assert settings.variables == {"GEOPIN_MAPILLARY_TOKEN": "s3cret"}


def test_printing_settings_shows_no_secret() -> None:
    settings = Settings.from_env({"GEOPIN_MAPILLARY_TOKEN": "s3cret"})
    assert "s3cret" not in f"{settings!r} {settings}"
