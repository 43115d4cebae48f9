from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.sources.wikimedia_commons.text import moment, plain

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Artist Name", "Artist Name"),
        ('<a href="//commons.wikimedia.org/wiki/User:PtrQs" title="User:PtrQs">PtrQs</a>', "PtrQs"),
        ('<a class="external" href="https://x.org/1@N07">Jeff &amp; Brian</a> from Epe', "Jeff & Brian from Epe"),
        ('<div class="fn value">\nJona Lendering</div>', "Jona Lendering"),
        ('Unknown author<span style="display: none;">Unknown author</span>', "Unknown author"),
        ('1891<div style="display:none"><b>date</b> QS:P,+1891<br></div> about', "1891 about"),
        ("one<br>two<p>three</p><ul><li>four</li></ul>", "one two three four"),
        ("J<b>an</b> <i>de</i> Vr<sup>ies</sup>", "Jan de Vries"),
        ("<script>alert(1)</script>me", "me"),
        ("<a href='x'>unclosed", "unclosed"),
        ("a &#x202e;&lt;b&gt; &nbsp; c", "a <b> c"),
        (1.5, "1.5"),
        ("", None),
        ("<br>", None),
        ("<![weird[", None),
        (None, None),
        (True, None),
        (["x"], None),
    ],
)  # fmt: skip
def test_html_becomes_what_a_reader_sees(html: Any, text: str | None):
    assert plain(html) == text


def test_text_is_bounded_however_long_it_was():
    assert len(plain("<b>x</b>" * 100_000) or "") == 500


@given(st.text(alphabet=st.sampled_from("<>/!&;ab \"'=[-#x:0")))
def test_no_html_breaks_it(html: str):
    assert isinstance(plain(html), str | None)


@pytest.mark.parametrize(
    ("said", "utc"),
    [
        ("2012-09-25 16:23:02", "2012-09-25T14:23:02"),
        ("2012-12-25 16:23", "2012-12-25T15:23:00"),
        ("2012:09:25 16:23:02", "2012-09-25T14:23:02"),
        ("2012-09-25T16:23:02Z", "2012-09-25T16:23:02"),
        ("2012-09-25 16:23:02 (UTC)", "2012-09-25T16:23:02"),
        ("2012-09-25T16:23:02.5+05:30", "2012-09-25T10:53:02"),
        ("2012-09-25", "2012-09-25T10:00:00"),
        ("25 September 2012", "2012-09-25T10:00:00"),
        ("25 september 2012, 16:23:02", "2012-09-25T14:23:02"),
        ("Taken on 3 mei 2015 om 09:05", "2015-05-03T07:05:00"),
        ("25 September 2012 (according to <a href='x'>Exif</a> data)", "2012-09-25T10:00:00"),
        ('<time class="dtstart" datetime="2012-09-25">25 September 2012</time>', "2012-09-25T10:00:00"),
        ("25 September 2012<i style='display: none;'>QS:P571,+2012-09-26T00:00:00Z</i>", "2012-09-25T10:00:00"),
        ("1965-06-01", "1965-06-01T11:00:00"),
    ],
)  # fmt: skip
def test_a_date_of_one_day_is_read_in_dutch_time(said: str, utc: str):
    assert moment(said, NOW) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        *("1891", "September 2012", "circa 1905", "ca. 2012-09-25", "before 2012-09-25", "voor 2012-09-25", "unknown"),
        *("2012-09-25 / 2012-09-30", "between 1 May 2010 and 3 May 2010", "2008-03-04 (original upload date)"),
        *("0000-00-00 00:00:00", "2012-13-45", "2012-02-30", "2012-09-25 25:61", "1980-01-01 00:00:00", "2000-01-01"),
        *("2098-01-01 00:00:00", "1790-05-05", "123-456-789", "", "<br>", None, 20120925, {"a": 1}),
    ],
)
def test_what_is_no_day_of_the_shutter_is_no_date(said: Any):
    assert moment(said, NOW) is None


def test_the_first_of_january_is_a_day_once_there_are_platforms():
    assert moment("2015-01-01", NOW) == datetime(2015, 1, 1, 11, tzinfo=UTC)


AUGUST_31 = datetime(2019, 8, 31, 10, tzinfo=UTC)
AT_14_05 = datetime(2019, 8, 31, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        *("31-8-2019", "31-08-2019", "31.08.2019", "31.8.2019", "31. 8. 2019", "31/8/2019", "8/31/2019", "08-31-2019"),
        *("2019-8-31", "2019/08/31", "2019.08.31", "31 August 2019", "31. August 2019", "31st of August, 2019"),
        *("August 31, 2019", "Aug 31 2019", "Aug. 31st, 2019", "Saturday, August 31, 2019", "31-Aug-2019"),
        *(
            "2019 August 31",
            "31 augustus 2019",
            "31 août 2019",
            "31 agosto 2019",
            "31 de agosto de 2019",
            "31.08.2019.",
        ),
        *("31 August 2019 (31-8-2019)", "zaterdag 31 augustus 2019", "Taken on 31/08/2019"),
    ],
)
def test_a_day_is_read_as_it_is_written_in_many_countries(said: str):
    assert moment(said, NOW) == AUGUST_31


@pytest.mark.parametrize("said", ["05/06/2019", "5-6-2019", "05-06-2019 14:05", "12/11/2019"])
def test_where_day_and_month_may_be_either_there_is_no_date(said: str):
    assert moment(said, NOW) is None


@pytest.mark.parametrize(("said", "day"), [("05.06.2019", (6, 5)), ("5-5-2019", (5, 5)), ("13/05/2019", (5, 13))])
def test_points_and_equal_numbers_leave_no_doubt(said: str, day: tuple[int, int]):
    assert moment(said, NOW) == datetime(2019, *day, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        *("2019-08-31 2:05 PM", "31-8-2019 2:05 pm", "August 31, 2019 at 2:05:00 p.m.", "2:05 PM, 31 August 2019"),
        *("31 augustus 2019 om 14.05 uur", "31.08.2019 14:05 Uhr", "31 août 2019, 14h05", "2019-08-31 14:05 PM"),
        *("2019-08-31 14:05 CEST", "2019-08-31 13:05 (CET)", "2019-08-31 12:05 UTC", "2019-08-31 14:05 UTC+2"),
        *(
            "2019-08-31 14:05 GMT+0200",
            "2019-08-31T14:05:00+02",
            "2019-08-31 17:35 +5:30",
            "2019-08-31 12:05Z",
            "14:05, 31 August 2019",
        ),
    ],
)
def test_a_time_of_day_is_read_in_twelve_and_twenty_four_hours_and_in_its_zone(said: str):
    assert moment(said, NOW) == AT_14_05


@pytest.mark.parametrize(("said", "utc"), [("12:05 AM", (30, 22, 5)), ("12:05 PM", (31, 10, 5)), ("2 PM", (31, 12, 0))])
def test_noon_and_midnight_are_twelve(said: str, utc: tuple[int, int, int]):
    assert moment(f"31 August 2019 {said}", NOW) == datetime(2019, 8, *utc, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        *(
            "10:00-12:00",
            "10:00 - 12:00",
            "from 10:00 to 12:00",
            "13:05 AM",
            "14:05 EST",
            "14:05 PDT",
            "14.05",
            "f/8.05",
        ),
        "14:05 XYZ+2",
    ],
)
def test_a_time_of_day_that_is_not_understood_leaves_the_day(said: str):
    assert moment(f"31 August 2019 {said}", NOW) == AUGUST_31


@pytest.mark.parametrize(
    "said",
    [
        *(
            "3-5 May 2010",
            "3 - 5 May 2010",
            "3 en 5 mei 2010",
            "3 t/m 5 mei 2010",
            "May 3-5, 2010",
            "May 3 and 5, 2010",
        ),
        *(
            "1 May 2010 - 3 May 2010",
            "31.06.2019",
            "32-8-2019",
            "31-8-19",
            "8-2019",
            "31 Augustine 2019",
            "vor 31.08.2019",
        ),
        *("31-8-2019-1", "1.31.8.2019", "geüpload 31-8-2019"),
    ],
)
def test_several_days_and_what_is_none_are_no_date(said: str):
    assert moment(said, NOW) is None


@given(st.text(alphabet=st.sampled_from("0123456789-/.: ,+ZapmAugustmei()UTC")))
def test_whatever_is_written_is_a_time_or_none(said: str):
    assert isinstance(moment(said, NOW), datetime | None)
    assert isinstance(moment(f"31 August 2019 {said}", NOW), datetime | None)
