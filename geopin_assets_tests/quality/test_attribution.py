"""Who made the captures: counts, a notice that names them, and where each platform takes more."""

import csv
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.cells import cell_facts
from geopin_assets.quality.attribution import (
    ATTRIBUTION_SCHEMA,
    CREATORS_NAMED,
    LONGEST_NAME,
    by_license,
    clean,
    contribute,
    render_notice,
    write_attribution,
)
from geopin_assets_tests.quality.factories import CITY, FARM, LAKE, NOW


@dataclass(frozen=True)
class Facts:
    name: str
    title: str
    homepage: str = "https://home.example"
    contribute_url: str = "https://add.example"
    attribution: str = "Photo by {creator}"


FACTS = [Facts("panoramax", "Panoramax"), Facts("flickr", "Flickr", contribute_url="https://up.example")]
CRAWLS = pl.Schema({"source": pl.String(), "cell_id": pl.String(), "captures": pl.Int64()})


def counts(*rows: tuple[str, str, str | None, int]) -> pl.DataFrame:
    """Rows of (source, license, creator, captures)."""
    shown = [(*row, f"{row[2]}, shown") for row in rows]
    return pl.DataFrame(shown, schema=ATTRIBUTION_SCHEMA, orient="row")


def notice(*rows: tuple[str, str, str | None, int]) -> str:
    return render_notice(counts(*rows), FACTS, now=NOW)


def section(text: str, title: str) -> str:
    return text.partition(f"\n{title}\n---")[2].partition("\n\n\n")[0]


def test_a_notice_says_of_each_source_what_its_license_asks_for() -> None:
    text = section(
        notice(("panoramax", "CC-BY-SA-4.0", "Anna", 1200), ("panoramax", "CC0-1.0", "Bo", 3)), "Panoramax (panoramax)"
    )
    assert "https://home.example" in text and "To be shown with each capture: Photo by {creator}" in text
    assert "Captures: 1,203" in text and "CC-BY-SA-4.0: 1,200 captures" in text
    assert "https://creativecommons.org/licenses/by-sa/4.0/" in text
    assert "share adaptations under the same" in text and "For example: Anna, shown" in text


def test_creators_are_named_where_the_license_asks_for_it_and_only_there() -> None:
    text = notice(
        ("panoramax", "CC-BY-4.0", "Anna", 7), ("panoramax", "CC0-1.0", "Bo", 3), ("flickr", "PDM-1.0", "Cy", 1)
    )
    assert "Creators (captures): Anna (7)" in text and text.count("Creators (captures)") == 1


def test_captures_without_a_creator_are_counted() -> None:
    text = notice(("panoramax", "CC-BY-4.0", None, 1500), ("panoramax", "CC-BY-4.0", "Anna", 1))
    assert "Captures without a creator: 1,500" in text


def test_a_long_list_of_creators_is_cut_and_says_where_the_rest_is() -> None:
    names = [("flickr", "CC-BY-2.0", f"maker_{i:04d}", 1) for i in range(CREATORS_NAMED + 1500)]
    text = " ".join(notice(*names).split())
    assert f"maker_{CREATORS_NAMED - 1:04d} (1); and 1,500 more, all of them in creators.csv" in text
    assert f"maker_{CREATORS_NAMED:04d}" not in text


def test_a_source_that_is_no_longer_registered_and_an_unknown_license_are_not_kept_silent() -> None:
    text = section(notice(("gone", "CC-BY-NC-4.0", "Anna", 2)), "gone")
    assert "CC-BY-NC-4.0: 2 captures" in text and "do not publish these" in text and "Anna (2)" in text


def test_a_notice_says_where_every_platform_takes_imagery_also_those_without_captures() -> None:
    text = section(notice(("panoramax", "CC0-1.0", None, 1)), "How to contribute")
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["Panoramax", "https://add.example"],
        ["Flickr", "https://up.example"],
    ]
    assert "Flickr (flickr)" not in notice(("panoramax", "CC0-1.0", None, 1))


def test_nothing_captured_is_a_notice_too(tmp_path: Path) -> None:
    report = write_attribution(counts(), pl.DataFrame(schema=CRAWLS), FACTS, tmp_path, now=NOW)
    assert (report.captures, report.creators, report.unnamed, report.rows) == (0, 0, 0, 0)
    assert "0 captures of 0 sources" in report.notice.read_text(encoding="utf-8")
    assert report.contribute["empty"].to_list() == [0, 0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Anna de Vries", "Anna de Vries"),
        ("Zoë 🚲", "Zoë 🚲"),
        ("a\nLicense: CC0-1.0", "a License: CC0-1.0"),
        ("a\r\n\t\u2028\u00a0b", "a b"),
        ("\x1b[2Jx\x00", "\\u001b[2Jx\\u0000"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("n" * 500, "n" * (LONGEST_NAME - 1) + "…"),
    ],
)
def test_untrusted_names_stay_one_visible_line(name: str, shown: str) -> None:
    assert clean(name) == shown


@given(st.text())
def test_no_name_brings_a_line_break_or_anything_invisible(name: str) -> None:
    line = clean(name)
    assert line.isprintable() and len(line) <= LONGEST_NAME


def test_a_hostile_creator_forges_no_section_of_the_notice() -> None:
    hostile = "x\n\n\nFlickr (flickr)\n---------------\nCaptures: 9"
    text = notice(("panoramax", "CC-BY-4.0", hostile, 1))
    assert section(text, "Flickr (flickr)") == "" and "Flickr (flickr)" in " ".join(text.split())


def test_the_report_counts_and_writes_every_creator(tmp_path: Path) -> None:
    rows = counts(
        ("panoramax", "CC-BY-4.0", "=cmd()", 5),
        ("panoramax", "CC-BY-SA-4.0", "=cmd()", 4),
        ("flickr", "CC-BY-4.0", 'An"na,\n', 3),
        ("flickr", "CC-BY-4.0", None, 2),
        ("flickr", "CC0-1.0", None, 1),
    )
    report = write_attribution(rows, pl.DataFrame(schema=CRAWLS), FACTS, tmp_path, now=NOW)
    assert (report.captures, report.sources, report.licenses, report.creators, report.unnamed) == (15, 2, 3, 2, 2)
    assert pl.read_parquet(report.parquet).equals(rows)
    with report.creators_csv.open(encoding="utf-8", newline="") as lines:
        assert list(csv.reader(lines)) == [
            ["source", "license", "creator", "captures"],
            ["panoramax", "CC-BY-4.0", "'=cmd()", "5"],
            ["panoramax", "CC-BY-SA-4.0", "'=cmd()", "4"],
            ["flickr", "CC-BY-4.0", 'An"na,', "3"],
        ]
    assert report.top_creators["creator"].to_list() == ["=cmd()", "=cmd()", 'An"na,']


@pytest.mark.parametrize(
    ("creator", "cell"),
    [
        *(
            (name, f"'{name}")
            for name in ("=1+1", "＝1+1", "﹦1", "⁼1", "+1", "＋1", "-1", "−1", "－1", "@SUM(1)", "＠x", "%0")
        ),
        *(("\t=1", "'=1"), ("  =1", "'=1"), ("\r\n=1", "'=1"), ("\u200b=1", "'\\u200b=1"), ("\ufeff=1", "'\\ufeff=1")),
        *(("Anna;=1", "Anna;'=1"), ("Anna, =1", "Anna,' =1"), ("Anna|@x", "Anna|'@x"), ("Anna\t=1", "Anna =1")),
        *((name, name) for name in ("Anna", "Ömer, B.", "123", "(unknown)", "Łukasz; José", "a=b", "Jan-Willem", "張")),
    ],
)
def test_no_creator_is_a_formula_in_a_spreadsheet(creator: str, cell: str, tmp_path: Path) -> None:
    facts = counts(("panoramax", "CC-BY-4.0", creator, 1))
    report = write_attribution(facts, pl.DataFrame(schema=CRAWLS), FACTS, tmp_path, now=NOW)
    with report.creators_csv.open(encoding="utf-8", newline="") as lines:
        assert list(csv.reader(lines))[1] == ["panoramax", "CC-BY-4.0", cell, "1"]


def test_licenses_are_counted_per_source_with_what_they_ask() -> None:
    frame = by_license(counts(("a", "CC0-1.0", "Anna", 1), ("a", "CC0-1.0", "Bo", 2), ("b", "CC-BY-NC-4.0", None, 9)))
    assert frame.rows() == [
        ("b", "CC-BY-NC-4.0", "not one of ours: do not publish", 9, 0),
        ("a", "CC0-1.0", "nothing", 3, 2),
    ]


def test_what_is_missing_on_a_platform_are_the_land_cells_it_was_asked_for_and_showed_nothing() -> None:
    crawls = pl.DataFrame(
        [
            ("panoramax", CITY, 3),
            ("panoramax", FARM, 0),
            ("panoramax", LAKE, 0),
            ("flickr", CITY, 0),
            ("flickr", FARM, 0),
        ],
        schema=CRAWLS,
        orient="row",
    )
    city, farm = cell_facts(CITY).population, cell_facts(FARM).population
    assert contribute(counts(("panoramax", "CC0-1.0", None, 3)), crawls, FACTS).rows() == [
        ("panoramax", "https://add.example", 3, 2, 1, farm, "Assen"),
        ("flickr", "https://up.example", 0, 2, 2, city + farm, "Amsterdam"),
    ]
