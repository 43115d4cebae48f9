"""Which spellings are open licenses, and that each one can be linked and explained."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.licenses import OPEN_LICENSES, is_restricted, license_of_url, newest, open_license

PAGE = (Path(__file__).parents[1] / "docs" / "sources.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("change", [str, str.lower, str.upper, lambda license_id: f" {license_id}\n"])
def test_a_license_is_found_in_any_case_and_with_spaces_around(change: Callable[[str], str]) -> None:
    for license_id in OPEN_LICENSES:
        assert open_license(change(license_id)) == license_id


@pytest.mark.parametrize(
    "spelling",
    ["CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-4.0", "proprietary", "all rights reserved", "CC-BY", "", None],
)
def test_what_is_not_open_or_not_exact_is_no_license(spelling: str | None) -> None:
    assert open_license(spelling) is None


@given(st.text(max_size=30))
def test_any_text_is_an_open_license_or_none(spelling: str) -> None:
    assert open_license(spelling) in {None, *OPEN_LICENSES}


def test_each_license_says_where_it_is_and_what_it_asks() -> None:
    for license_id, license in OPEN_LICENSES.items():
        assert license.id == license_id
        assert license.url.startswith("https://")
        assert license.asks
        version = next(part for part in license_id.split("-") if part[0].isdigit())
        assert version in license.url or not license_id.startswith(("CC", "PDM", "etalab-2"))


def test_share_alike_and_naming_follow_from_the_id() -> None:
    for license_id, license in OPEN_LICENSES.items():
        asks = license.asks
        assert ("same license" in asks) is ("-SA-" in license_id or license_id.startswith(("LAL", "ODbL")))
        assert ("creator" in asks) is license_id.startswith(("CC-BY", "LAL"))
        assert (asks == "nothing") is (license_id in {"CC0-1.0", "PDM-1.0", "DL-DE-ZERO-2.0"})


@pytest.mark.parametrize(
    "change", [str, str.upper, lambda url: url.replace("https:", "http:"), lambda url: url.rstrip("/")]
)
def test_a_license_is_known_by_its_address(change: Callable[[str], str]) -> None:
    for license_id, license in OPEN_LICENSES.items():
        assert license_of_url(change(license.url)) == license_id


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


SPELLINGS = {
    "CC-BY-SA-4.0": [
        *("CC BY-SA 4.0", "cc_by_sa 4", "CC-BY-SA-4-0", "CC BY\u2011SA\u00a04.0", "by-sa 4.0", "CC-BY-SA-4.0-all"),
        *("CC BY-SA 4.0-3.0-2.5-2.0-1.0", "cc-by-sa-4.0,3.0,2.5,2.0,1.0", "cc-by-sa-all", "cc-by-sa-1.0+"),
        *("CC BY-SA 3.0 or any later version", "CC BY-SA 3.0, CC BY-SA 4.0", "CC BY 3.0 or CC BY-SA 4.0"),
        "Creative Commons Attribution-Share Alike 4.0 International (CC BY-SA 4.0)",
        "Creative Commons Attribution-Share Alike 4.0 International, 3.0 Unported, 2.5 Generic and 1.0 Generic",
        "Creative Commons Naamsvermelding-GelijkDelen 4.0 Internationaal".replace("Internationaal", "International"),
        "Namensnennung - Weitergabe unter gleichen Bedingungen 4.0 International",
        *("CC BY-SA 4.0 Deed", "ccbysa 4.0", "CC-BY-SA4.0", "CC BY-SA v4.0"),
    ],
    "CC-BY-SA-3.0": ["CC BY-SA 3.0-2.5-2.0-1.0", "cc-by-sa-3.0-migrated", "cc-by-sa-3.0-heirs", "GFDL or CC BY-SA 3.0"],
    "CC-BY-SA-2.5": ["CC BY-SA 2.5-2.0-1.0", "cc-by-sa-2.5,2.0,1.0"],
    "CC-BY-2.0": ["cc-by-2.0-stma", "Attribution 2.0 Generic (CC BY 2.0)"],
    "CC-BY-SA-2.1-JP": ["CC BY-SA 2.1 jp", "CC Attribution-Share Alike 2.1 Japan"],
    "CC-BY-3.0-NZ": ["Creative Commons Attribution 3.0 New Zealand", "CC BY 3.0 (NZ)"],
    "CC-BY-SA-2.0-UK": ["CC BY-SA 2.0 England & Wales".replace("& ", ""), "cc-by-sa-2.0-uk"],
    "CC0-1.0": ["CC0", "cc-zero", "CC 0", "CC0 1.0 Universal", "Public Domain Dedication (CC0)"],
    "PDM-1.0": ["PDM", "CC-PDM-1.0", "Public Domain Mark 1.0"],
    "OGL-UK-3.0": [
        "OGL 3",
        "OGLv3",
        "OGL v3.0",
        "Open Government Licence 3.0 (OGL)",
        "Open Government Licence v3.0",
        "UK Open Government Licence 3.0",
    ],
    "OGL-UK-1.0": ["OGL v1.0", "Open Government License 1.0 (United Kingdom)"],
    "OGL-Canada-2.0": ["Open Government Licence – Canada (version 2.0)"],
    "DL-DE-BY-2.0": [
        "dl-de/by-2-0",
        "dl-by-de/2.0",
        "Datenlizenz Deutschland Namensnennung 2.0 (dl-de/by-2-0)",
        "Datenlizenz Deutschland – Namensnennung – Version 2.0",
    ],
    "DL-DE-ZERO-2.0": ["dl-de/zero-2-0", "Datenlizenz Deutschland – Zero – Version 2.0"],
    "etalab-2.0": ["Etalab 2.0", "Licence Ouverte 2.0", "Licence Ouverte / Open Licence version 2.0", "lov2"],
    "etalab-1.0": ["fr-lo", "Licence Ouverte / Open Licence 1.0 (Etalab)"],
    "ODbL-1.0": ["ODbL", "odc-odbl", "Open Data Commons Open Database License (ODbL) v1.0"],
    "LAL-1.3": ["FAL", "FAL 1.3", "Free Art License", "Licence Art Libre 1.3"],
}


@pytest.mark.parametrize(
    ("license_id", "spelling"), [(id_, text) for id_, texts in SPELLINGS.items() for text in texts]
)
def test_a_license_is_found_in_the_spellings_of_platforms(license_id: str, spelling: str) -> None:
    for text in (spelling, spelling.upper(), f"  {spelling.lower()}\n"):
        assert open_license(text) == license_id


@pytest.mark.parametrize(
    "spelling",
    [
        *(
            "CC BY-NC 4.0",
            "cc-by-nd-2.0-de",
            "CC BY NC 4.0",
            "CC_BY_NC_SA_4.0",
            "CC BY\u2011NC 4.0",
            "CC BY-N\u200bC 4.0",
        ),
        *("\uff23\uff23 \uff22\uff39-\uff2e\uff23 4.0", "CC BY 4.0 NC", "CC-BY-4.0 OR CC-BY-NC-4.0", "by-nd-nc 1.0"),
        *("Attribution-NonCommercial 4.0", "Attribution-NoDerivs 2.0", "CC BY 4.0, no derivatives"),
        *("Namensnennung - Keine Bearbeitung 4.0", "Naamsvermelding-NietCommercieel 4.0", "dl-de/by-nc-1-0"),
        *("Attribution - Pas de Modification 4.0", "CC BY 4.0 (non commercial)", "CC BY-SA 4.0 (uso no comercial)"),
        *("https://creativecommons.org/licenses/by-nc/3.0/pl", "https://creativecommons.org/licenses/by-nd-nc/1.0/"),
        *("https://spdx.org/licenses/CC-BY-NC-4.0.html", "http://www.govdata.de/dl-de/by-nc-1-0"),
    ],
)
def test_nc_and_nd_never_pass_whatever_the_spelling(spelling: str) -> None:
    assert is_restricted(spelling)
    assert open_license(spelling) is None and license_of_url(spelling) is None


@pytest.mark.parametrize(
    "spelling",
    [
        *("CC BY-SA", "OGL", "Licence Ouverte", "Etalab", "CC BY 5.0", "CC BY 2.1", "CC BY 3.0 xx", "CC BY 4.0 nl"),
        *(
            "GFDL",
            "GFDL 1.2",
            "cc-sa-1.0",
            "Public Domain Dedication",
            "Open Licence 2.0",
            "OGL ODbL 1.0",
            "All rights reserved",
            "CC BY 4.0 AND CC BY-SA 4.0",
            "not CC BY 4.0",
        ),
        *(
            "CC BY 4.0 except the sky",
            "CC BY 4.0 or ask us",
            "\u0441\u0441 by 4.0",
            "all",
            "by",
            "4.0",
            "CC BY 3.0 nl de",
        ),
        *("https://creativecommons.org/", "https://creativecommons.org/licenses/by/3.0/xx/", "CC BY 4.0 " + "x" * 600),
        *("https://creativecommons.org/licenses/by/4.0/nl/", "https://creativecommons.org/licenses/publicdomain/"),
    ],
)
def test_a_name_in_doubt_is_no_license(spelling: str) -> None:
    assert open_license(spelling) is None


@pytest.mark.parametrize(
    ("url", "license_id"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0-3.0-2.5-2.0-1.0", "CC-BY-SA-4.0"),
        ("creativecommons.org/licenses/by/2.5/scotland/deed.gd", "CC-BY-2.5-SCOTLAND"),
        ("http://creativecommons.org/licenses/by-sa/2.1/jp/en/", "CC-BY-SA-2.1-JP"),
        ("https://creativecommons.org/licenses/by/4.0/?ref=chooser-v1", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by/2.0/ca/deed.fr_CA", "CC-BY-2.0-CA"),
        ("http://www.nationalarchives.gov.uk/doc/open-government-licence/version/2", "OGL-UK-2.0"),
        ("http://dcat-ap.de/def/licenses/dl-zero-de/2.0", "DL-DE-ZERO-2.0"),
        ("https://www.etalab.gouv.fr/licence-ouverte-open-licence/", "etalab-2.0"),
        ("https://spdx.org/licenses/CC-BY-SA-3.0-AT.html", "CC-BY-SA-3.0-AT"),
        ("http://artlibre.org/licence/lal/de/", "LAL-1.3"),
        ("https://artlibre.org/licence/en/", None),
        ("https://alliance.numerique.gouv.fr/licence-ouverte-open-licence/", "etalab-2.0"),
        ("CC BY 4.0", None),
    ],
)
def test_an_address_is_known_with_what_platforms_add_to_it(url: str, license_id: str | None) -> None:
    assert license_of_url(url) == license_id


def test_of_several_the_newest_is_taken_and_of_one_age_the_one_that_asks_less() -> None:
    assert newest(["CC-BY-SA-3.0", None, "CC-BY-SA-4.0", "CC-BY-SA-2.5"]) == "CC-BY-SA-4.0"
    assert newest(["CC-BY-SA-4.0", "CC-BY-4.0"]) == "CC-BY-4.0"
    assert newest([]) is None


_WORDS = st.sampled_from(
    [
        *("cc", "CC", "by", "BY", "sa", "nl", "Creative Commons", "Attribution", "ShareAlike", "4.0", "3.0", "2", "+"),
        *(
            "or",
            "and",
            "OGL",
            "dl-de",
            "zero",
            "etalab",
            "ODbL",
            "FAL",
            "Netherlands",
            "International",
            "https://",
            "é",
        ),
        *("(", "0", "creativecommons.org/licenses/", "publicdomain/zero", "deed.nl", "all", "or later", "license"),
        *("\u200b", "\u2011"),
    ]
)
_CLOSED = st.sampled_from(
    ["nc", "NC", "Nd", "NonCommercial", "no derivatives", "nicht-kommerziell", "NoDerivs", "\uff4e\uff43"]
)
_BETWEEN = st.sampled_from([" ", "-", "_", "/", ", ", "\u00a0", "\u2013", " - "])


@given(st.lists(st.tuples(_WORDS, _BETWEEN), max_size=8), st.text(max_size=5))
def test_any_words_are_an_open_license_or_none(words: list[tuple[str, str]], rest: str) -> None:
    text = "".join(map("".join, words)) + rest
    assert {open_license(text), license_of_url(text)} <= {None, *OPEN_LICENSES}


@given(st.lists(st.tuples(_WORDS, _BETWEEN), max_size=6), _CLOSED, st.lists(st.tuples(_BETWEEN, _WORDS), max_size=6))
def test_no_words_around_nc_or_nd_open_it(
    before: list[tuple[str, str]], closed: str, after: list[tuple[str, str]]
) -> None:
    text = "".join(map("".join, before)) + closed + "".join(map("".join, after))
    assert open_license(text) is None and license_of_url(text) is None


@given(
    st.sampled_from(sorted(OPEN_LICENSES)), st.sampled_from("-_/ "), st.sampled_from([str.upper, str.lower, str.title])
)
def test_an_id_is_read_whatever_stands_between_its_parts(
    license_id: str, between: str, case: Callable[[str], str]
) -> None:
    assert open_license(case(license_id.replace("-", between))) == license_id


def test_the_table_of_licenses_is_what_the_code_has() -> None:
    section = PAGE.partition("\n## Licenses\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"][
        2:
    ]
    ids = {
        license_id for cells in rows for pattern in re.findall(r"`([^`]+)`", cells[0]) for license_id in _named(pattern)
    }
    assert ids == set(OPEN_LICENSES)
    for pattern, asks in ((re.findall(r"`([^`]+)`", cells[0])[0], cells[1]) for cells in rows):
        assert asks == OPEN_LICENSES[_named(pattern)[0]].asks


def _named(pattern: str) -> list[str]:
    """The ids that `CC-BY-*` stands for."""
    exact = re.compile(re.escape(pattern).replace(r"\*", r"\d\.\d(-[A-Z]+)?"))
    return [license_id for license_id in OPEN_LICENSES if exact.fullmatch(license_id)]
