"""Every variable of `Settings.from_env`, its default and the error that names it."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from geopin_assets.environment import allowed, bare, is_secret, keys_in, shown, without_keys
from geopin_assets.errors import ConfigurationError
from geopin_assets.index.publish import MASS_REMOVAL
from geopin_assets.settings import Precision, Profile, Settings
from geopin_assets.sources.mapillary import Limits
from geopin_assets.sources.mapillary.ask import MAX_RESULTS
from geopin_assets.sources.panoramax import DEFAULT_LIMIT
from geopin_assets.variables import SANDBOX_PORT, VARIABLES
from geopin_assets_tests.docs.settings import PAGE, page

SECRETS = {
    *("mapillary_token", "wikimedia_commons_token", "flickr_api_key", "europeana_api_key", "stac_token"),
    *("amsterdam_api_key", "cloudflare_api_token", "alert_webhook", "ui_token"),
}


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
    places = [settings.catalog_path, settings.index_dir, settings.ledger_path]
    assert {place.parent for place in places} == {tmp_path} and len(set(places)) == len(places)
    assert settings.store == str(tmp_path)


def test_the_store_is_another_folder_or_a_bucket(tmp_path: Path) -> None:
    elsewhere = Settings.from_env({"GEOPIN_DATA": str(tmp_path / "own"), "GEOPIN_STORE": str(tmp_path / "shared")})
    assert elsewhere.folders == [tmp_path / "own", tmp_path / "shared"] and not elsewhere.is_over_s3
    bucket = Settings.from_env({"GEOPIN_DATA": str(tmp_path), "GEOPIN_STORE": "s3://bucket/prefix/"})
    assert (bucket.store, bucket.folders, bucket.is_over_s3) == ("s3://bucket/prefix", [tmp_path], True)


def test_a_store_with_a_key_in_its_address_is_refused_before_any_page_shows_it() -> None:
    with pytest.raises(ConfigurationError, match="without a key") as told:
        Settings.from_env({"GEOPIN_STORE": "s3://KEY:SECRET@bucket/x"})
    assert "SECRET" not in str(told.value)


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
    assert (live.coverage_max_gap_share, live.coverage_max_age_years, live.coverage_captures_per_1000) == (0.5, 3, 10)
    assert Settings.from_env({}).coverage_max_gap_share == 0.2
    stated = Settings.from_env(
        {
            "GEOPIN_COVERAGE_MAX_GAP_SHARE": "0.2",
            "GEOPIN_COVERAGE_MAX_AGE_YEARS": "1.5",
            "GEOPIN_COVERAGE_CAPTURES_PER_1000": "40",
        }
    )
    shown = (stated.coverage_max_gap_share, stated.coverage_max_age_years, stated.coverage_captures_per_1000)
    assert shown == (0.2, 1.5, 40)
    with pytest.raises(ConfigurationError, match="GEOPIN_COVERAGE_MAX_GAP_SHARE='50'"):
        Settings.from_env({"GEOPIN_COVERAGE_MAX_GAP_SHARE": "50"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEOPIN_PROFILE", "production"),
        *(("GEOPIN_SANDBOX_PORT", port) for port in ("http", "-1", "0", "65536", "8_791", "٣")),
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


@pytest.mark.parametrize("blank", ["", " ", "\n", '""', "''", ' " " '])
def test_variables_that_are_set_to_nothing_are_as_if_unset(blank: str) -> None:
    assert Settings.from_env(dict.fromkeys(VARIABLES, blank)).model_dump() == Settings.from_env({}).model_dump()


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("live", "live"),
        (' "live"\n', "live"),
        ("'live'", "live"),
        ('"A" and "B"', '"A" and "B"'),
        ('"', '"'),
        ("it's", "it's"),
    ],
)
def test_what_files_of_variables_leave_around_a_value_does_not_belong_to_it(given: str, value: str) -> None:
    assert bare(given) == value


@pytest.mark.parametrize(
    ("given", "is_on"), [("1", True), ("true", True), ("True", True), ("0", False), ("FALSE", False)]
)
def test_a_switch_understands_what_yaml_makes_of_it(given: str, is_on: bool) -> None:
    assert Settings.from_env({"GEOPIN_COMPILE": given}).is_compiled is is_on


def test_lists_lose_their_blanks_and_names_of_hosts_their_case() -> None:
    settings = Settings.from_env(
        {"GEOPIN_TRUSTED_HOSTS": " Photos.Example.ORG , ,10.0.0.7\n", "GEOPIN_STAC_COLLECTIONS": "A, b,,A , 'c'"}
    )
    assert settings.trusted_hosts == {"photos.example.org", "10.0.0.7"}
    assert settings.stac_collections == ("A", "b", "c")
    assert Settings.from_env({"GEOPIN_TRUSTED_HOSTS": " , "}).trusted_hosts == frozenset()


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("GEOPIN_MAPILLARY_TOKN", "GEOPIN_MAPILLARY_TOKEN"),
        ("GEOPIN_DATA_DIR", "GEOPIN_DATA"),
        ("GEOPIN_PANORAMAX_REQUEST_PER_SECOND", "GEOPIN_<SOURCE>_REQUESTS_PER_SECOND"),
        ("GEOPIN_", "GEOPIN_"),
    ],
)
def test_a_variable_that_nothing_knows_is_refused_with_the_nearest_that_exists(unknown: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"nothing knows {unknown}: .*{meant}") as refused:
        Settings.from_env({unknown: "s3cret"})
    assert "s3cret" not in str(refused.value)


def test_variables_of_tests_are_nobodys_business() -> None:
    assert Settings.from_env({"GEOPIN_TEST_WORKERD": "0"}) == Settings.from_env({"GEOPIN_TEST_WORKERD": "0"})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"GEOPIN_PROFILE='x'.*GEOPIN_D1_SHARDS='0': choose .* from 1 to 100"):
        Settings.from_env({"GEOPIN_PROFILE": "x", "GEOPIN_D1_SHARDS": "0"})


def test_a_wrong_value_of_a_source_is_kept_for_that_source() -> None:
    settings = Settings.from_env({"GEOPIN_KARTAVIEW_AREA": "round", "GEOPIN_MAPILLARY_SPLIT_AT": "3"})
    assert set(settings.wrong) == {"GEOPIN_KARTAVIEW_AREA", "GEOPIN_MAPILLARY_SPLIT_AT"}
    assert settings.wrong["GEOPIN_KARTAVIEW_AREA"] == "GEOPIN_KARTAVIEW_AREA='round': choose box or circle"
    assert (settings.kartaview_area, settings.mapillary_split_at) == ("box", 1000)


def test_what_is_right_without_settings_is_what_settings_say() -> None:
    assert Limits.from_settings(Settings()) == Limits()
    assert Settings(profile=Profile.LIVE).panoramax_limit == DEFAULT_LIMIT
    assert Settings().mapillary_split_at < MAX_RESULTS
    assert Settings().mass_removal == MASS_REMOVAL


@pytest.mark.parametrize("field", [VARIABLES[variable] for variable in VARIABLES])
def test_every_number_has_bounds_and_every_value_says_what_is_allowed(field: str) -> None:
    assert allowed(Settings.model_fields[field])


def test_what_sounds_secret_is_secret_and_nothing_else() -> None:
    fields = {name: field for name, field in Settings.model_fields.items() if not field.exclude}
    assert {name for name, field in fields.items() if is_secret(field)} == SECRETS
    assert {name for name in fields if re.search("token|key|secret|passw|webhook", name)} == SECRETS


def test_secrets_are_known_to_whoever_must_not_repeat_them() -> None:
    settings = Settings.from_env({"GEOPIN_FLICKR_API_KEY": "1", "GEOPIN_STAC_TOKEN": " 2 ", "GEOPIN_CONTACT": "me"})
    assert set(settings.secrets) == {"1", "2"}


@pytest.mark.parametrize(
    ("address", "keys", "to_show"),
    [
        ("https://me:pa%2Fss@host/api", ("pa%2Fss",), "https://***@host/api"),
        ("https://t0ken-only@host", ("t0ken-only",), "https://***@host"),
        ("https://host/a?f=json&api_key=k3y&X-Sig=s1g#access_token=t0k", ("k3y", "s1g", "t0k"), None),
        ("https://host/a@b?x=1", (), "https://host/a@b?x=1"),
        ("me@example.org", (), "me@example.org"),
        ("mailto:me@example.org", (), "mailto:me@example.org"),
        ("me:pa55@host/api", ("pa55",), "me:***@host/api"),
        ("https://host/a;key=k3y?x=1", ("k3y",), "https://host/a;key=***?x=1"),
        ("postgresql://me:pa/5#5?x@db/geopin", ("pa/5#5?x",), "postgresql://***@db/geopin"),
        ("postgresql://me:pa 55@db/x?sslpassword=k3y", ("pa 55", "k3y"), "postgresql://***@db/x?sslpassword=***"),
        ("https://host:8080/a@b", (), "https://host:8080/a@b"),
        ("host=db password='pa 55' user='me'", ("pa 55",), "host=db password='***' user='me'"),
        ("host=db user=me password=pa55 dbname=x", ("pa55",), "host=db user=me password=*** dbname=x"),
    ],
)
def test_keys_inside_addresses_are_secrets(address: str, keys: tuple[str, ...], to_show: str | None) -> None:
    assert keys_in(address) == keys
    assert without_keys(address) == (to_show or "https://host/a?f=json&api_key=***&X-Sig=***#access_token=***")
    settings = Settings.from_env({"GEOPIN_STAC_URLS": f"https://first/,{address}", "GEOPIN_PANORAMAX_URLS": address})
    assert {*keys, *map(unquote, keys)} == set(settings.secrets)
    said = f"{settings!r} {settings} {shown(settings.stac_urls)} {shown(settings.panoramax_urls)}"
    assert not [key for key in keys if key in said]


def test_the_page_about_settings_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m geopin_assets_tests.docs.settings"
    assert sorted(re.findall(r"^\| `(GEOPIN_[A-Z0-9_]+)`", page(), re.MULTILINE)) == sorted(VARIABLES)


def test_variables_of_sources_are_kept_and_those_of_others_are_not() -> None:
    settings = Settings.from_env({"GEOPIN_MAPILLARY_TOKEN": "s3cret", "AWS_SECRET_ACCESS_KEY": "0ther"})
    assert settings.variables == {"GEOPIN_MAPILLARY_TOKEN": "s3cret"}


def test_printing_settings_shows_no_secret() -> None:
    settings = Settings.from_env({"GEOPIN_MAPILLARY_TOKEN": "s3cret"})
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()}"
