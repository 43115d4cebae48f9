"""Which spellings are open licenses, and that each one can be linked and explained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.licenses import OPEN_LICENSES, license_of_url, open_license


@pytest.mark.parametrize("license_id", OPEN_LICENSES)
def test_a_license_is_found_in_any_case_and_with_spaces_around(license_id: str) -> None:
    for spelling in (license_id, license_id.lower(), license_id.upper(), f" {license_id}\n"):
        assert open_license(spelling) == license_id


@pytest.mark.parametrize(
    "spelling",
    ["CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-4.0", "proprietary", "all rights reserved", "CC-BY", "", None],
)
def test_what_is_not_open_or_not_exact_is_no_license(spelling: str | None) -> None:
    assert open_license(spelling) is None


@given(st.text(max_size=30))
def test_any_text_is_an_open_license_or_none(spelling: str) -> None:
    assert open_license(spelling) in {None, *OPEN_LICENSES}


@pytest.mark.parametrize("license_id", OPEN_LICENSES)
def test_each_license_says_where_it_is_and_what_it_asks(license_id: str) -> None:
    license = OPEN_LICENSES[license_id]
    assert license.id == license_id
    assert license.url.startswith("https://")
    assert license.asks
    version = next(part for part in license_id.split("-") if part[0].isdigit())
    assert version in license.url


@pytest.mark.parametrize("license_id", OPEN_LICENSES)
def test_share_alike_and_naming_follow_from_the_id(license_id: str) -> None:
    asks = OPEN_LICENSES[license_id].asks
    assert ("same license" in asks) is ("-SA-" in license_id)
    assert ("creator" in asks) is license_id.startswith("CC-BY")


@pytest.mark.parametrize("license_id", [id_ for id_ in OPEN_LICENSES if id_ != "etalab-2.0"])
@pytest.mark.parametrize(
    "change", [str, str.upper, lambda url: url.replace("https:", "http:"), lambda url: url.rstrip("/")]
)
def test_a_license_is_known_by_its_address(license_id: str, change) -> None:
    assert license_of_url(change(OPEN_LICENSES[license_id].url)) == license_id


@pytest.mark.parametrize(
    ("url", "license_id"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0/deed.nl", "CC-BY-SA-4.0"),
        ("//creativecommons.org/licenses/by/2.0/legalcode", "CC-BY-2.0"),
        ("https://www.creativecommons.org/publicdomain/mark/1.0/", "PDM-1.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", None),
        ("https://creativecommons.org/licenses/by-nd/4.0/", None),
        ("https://creativecommons.org/licenses/by/4.0/../../by-nc/4.0/", None),
        ("https://creativecommons.org.evil.example/licenses/by/4.0/", None),
        ("http://rightsstatements.org/vocab/InC/1.0/", None),
        ("https://creativecommons.org/licenses/by/9.0/", None),
        ("", None),
        (None, None),
    ],
)
def test_only_the_addresses_of_open_licenses_are_taken(url: str | None, license_id: str | None) -> None:
    assert license_of_url(url) == license_id


@given(st.text(max_size=60))
def test_any_address_is_an_open_license_or_none(url: str) -> None:
    assert license_of_url(url) in {None, *OPEN_LICENSES}
