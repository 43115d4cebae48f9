"""`positions.csv` in the forms that people deliver: read rightly, or refused aloud with file, line and column."""

import csv
from datetime import UTC, datetime
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.geo import distance_m
from geopin_assets.sources.own_photos import values
from geopin_assets.sources.own_photos.stated import Position, Row
from geopin_assets.sources.own_photos.table import read_table
from geopin_assets_tests.sources.recordings.own_photos import NOW

PLACE = (4.9, 52.365)
TIME = datetime(2020, 1, 1, 12, tzinfo=UTC)


def read(text: str | bytes, crs: str = "") -> tuple[list[Row], list[Rejected]]:
    return read_table(text if isinstance(text, bytes) else text.encode(), "positions.csv", crs=crs, now=NOW)


def only(text: str | bytes, crs: str = "") -> Position:
    rows, said = read(text, crs)
    assert [row.file for row in rows] == ["a.jpg"], said
    assert rows[0].position, said
    return rows[0].position


@pytest.mark.parametrize(
    "text",
    [
        "file,lat,lon\na.jpg,52.365,4.9\n",
        "file, lat, lon\r\n a.jpg , 52.365 , 4.9 \r\n",
        "FILE;Lat;Lon\ra.jpg;52,365;4,9\r",
        "File\tLAT\tLNG\na.jpg\t52,365\t4,9\n",
        "sep=;\nfile;lat;lon\na.jpg;52.365;4.9\n",
        "\n\nfile|latitude|longitude\na.jpg|52.365|4.9\n",
        '"file","lat","lon"\n"a.jpg","52,365","4,9"\n',
        "lon,lat,file\n4.9,52.365,a.jpg\n",
        "Bestandsnaam;Breedtegraad;Lengtegraad\na.jpg;52,365;4,9\n",
        "naam;breedte;lengte\na.jpg;52,365;4,9\n",
        "photo,y,x\na.jpg,52.365,4.9\n",
        "image,GPSLatitude,GPSLongitude\na.jpg,52.365,4.9\n",
        "SourceFile,GPSLatitude,GPSLongitude\na.jpg,52 deg 21' 54.00\" N,4 deg 54' 0.00\" E\n",
        "photo name;Latitude (WGS84) [°];Longitude (WGS84) [°]\na.jpg;52.365°;4.9°\n",
        "file,lat,lon\na.jpg,52°21'54\"N,4°54'0\"O\n",
        "file,lat,lon\na.jpg,N 52 21.9,E 4 54\n",
        "file,lat,lon\na.jpg,52.365,4.9,,,\n",
        "file,lat,lon\n\n , , \na.jpg,52.365,4.9",
        "file,lat,lon\na.jpg,\u00a052.365,+4.9\n",
        "file,lat_wgs84,lon_wgs84\na.jpg,5.2365e1,4.9\n",
    ],
)
def test_a_place_is_read_whatever_the_separator_the_names_and_the_form_of_numbers(text: str) -> None:
    place = only(text).place
    assert place is not None and distance_m(*place, *PLACE) < 0.01


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_a_table_is_read_in_the_encodings_of_spreadsheets(encoding: str) -> None:
    rows, said = read("file;lat;lon\nstraße é.jpg;52,365;4,9\n".encode(encoding))
    assert ([(row.file, row.position and row.position.place) for row in rows], said) == ([("straße é.jpg", PLACE)], [])


KADASTER = [  # RD x, y and ETRS89 lat, lon as the Kadaster publishes them for RDNAPTRANS
    (155_000.0, 463_000.0, 52.155172897, 5.387203657),
    (117_380.12, 575_040.34, 53.160753042, 4.824761912),
    (247_380.56, 604_580.78, 53.419482050, 6.776726674),
    (182_260.45, 311_480.67, 50.792584916, 5.773795548),
    (16_460.91, 377_380.23, 51.368607152, 3.397588595),
]


@pytest.mark.parametrize(("x", "y", "lat", "lon"), KADASTER)
def test_rd_new_is_where_the_kadaster_says(x: float, y: float, lat: float, lon: float) -> None:
    place = values.on_earth(x, y, "EPSG:28992")
    assert place is not None and distance_m(*place, lon, lat) < 0.5


@pytest.mark.parametrize(
    ("text", "crs"),
    [
        ("file,x_rd,y_rd\na.jpg,155000,463000\n", ""),
        ("file;X (RD);Y (RD)\na.jpg;155.000,00;463.000,00\n", ""),
        ("file;rdx;rdy\na.jpg;155 000,0;463 000,0\n", ""),
        ("file,x,y,crs\na.jpg,155000,463000,EPSG:28992\n", ""),
        ("file,lat,lon,stelsel,epsg\na.jpg,463000,155000,x,28992\n", ""),
        ("file,x,y\na.jpg,155000,463000\n", "EPSG:28992"),
        ("file,lat,lon\na.jpg,463000,155000\n", "EPSG:28992"),
        ("file,easting,northing,crs\na.jpg,599700.77,6828231.48,EPSG:3857\n", ""),
    ],
)
def test_coordinates_of_a_stated_system_are_transformed(text: str, crs: str) -> None:
    place = only(text, crs).place
    assert place is not None and distance_m(*place, 5.387203657, 52.155172897) < 0.5


def test_rd_new_that_is_known_by_its_size_is_said_once() -> None:
    rows, said = read("file,x,y\na.jpg,155000,463000\nb.jpg,155001,463000\n")
    assert all(row.position and row.position.place for row in rows)
    assert said == [
        Rejected(Reason.ASSUMED_CRS, "positions.csv line 2 column 'x': is read as RD New (EPSG:28992) by its size")
    ]


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ("file,lat,lon|a.jpg,91,4.9", "'lat'"),
        ("file,lat,lon|a.jpg,52.365,", "'lon'"),
        ("file,lat,lon|a.jpg,52.365", "'lon'"),
        ("file,lat,lon|a.jpg,0,0", "'lat'"),
        ("file,lat,lon|a.jpg,n/a,4.9", "'lat'"),
        ("file,lat,lon|a.jpg,nan,4.9", "'lat'"),
        ("file,lat,lon|a.jpg,5_2,4.9", "'lat'"),
        ("file,lat,lon|a.jpg,52.365 N,4.9 N", "'lon'"),
        ("file,lat,lon|a.jpg,52 75 0,4.9", "'lat'"),
        ("file,lat,lon|a.jpg,52.365 4.9,4.9", "'lat'"),
        ("file;lat;lon|a.jpg;52,365 4,9;4,9", "'lat'"),
        ("file,lat,lon|a.jpg,486400.0,121700.0", "'lat'"),  # RD New, or 48.64 and 12.17 without their points
        ("file,lat,lon|a.jpg,121700.0,486400.0", "'lat'"),
        ("file;lat;lon|a.jpg;52.365.123;4.895.123", "'lat'"),  # what a Dutch spreadsheet makes of points
        ("file,x,y|a.jpg,486400,121700", "'x'"),
        ("file,x,y|a.jpg,663333.9,5781008.6", "'x'"),  # UTM, unstated
        ("file,x_rd,y_rd|a.jpg,4.9,52.365", "'x_rd'"),
        ("file,x,y,crs|a.jpg,155000,463000,local grid", "'crs'"),
        ("file,x,y,crs|a.jpg,155000,463000,EPSG:999999", "'x'"),
    ],
)
def test_a_row_whose_place_is_not_understood_is_refused_with_its_line_and_column(cells: str, column: str) -> None:
    (row,), said = read(cells.replace("|", "\n") + "\n")
    assert row.position is None
    (refusal,) = said
    assert refusal.reason is Reason.BAD_COORDINATES
    assert refusal.record.startswith(f"positions.csv line 2 column {column}: ") and "a.jpg" in refusal.record


def test_unquoted_decimal_commas_never_make_a_place() -> None:
    (row, other), said = read("file,lat,lon\na.jpg,52,365,4,9\nb.jpg,52.365,4.9\n")
    assert row.position is None and other.position and other.position.place == PLACE
    assert [(r.reason, r.record) for r in said] == [
        (Reason.MALFORMED, "positions.csv line 2: 5 cells below 3 names ('a.jpg')")
    ]


@pytest.mark.parametrize(
    ("header", "cell", "time"),
    [
        ("captured_at", "2020-01-01T12:00:00Z", TIME),
        ("captured_at", "2020-01-01 13:00", TIME),
        ("captured_at", "2020:01:01 13:00:00", TIME),
        ("captured_at", "2020:01:01 14:00:00+02:00", TIME),
        ("DateTimeOriginal", "2020:01:01 13:00:00.25", TIME.replace(microsecond=250_000)),
        ("timestamp", "1577880000", TIME),
        ("timestamp", "1577880000123", TIME.replace(microsecond=123_000)),
        ("timestamp", "43831,5416666667", TIME),
        ("timestamp", "20200101T120000Z", TIME),
        ("timestamp", "20200101130000", TIME),
        ("tijdstip", "1-1-2020 13:00", TIME),
        ("datum/tijd", "01.01.2020 13:00:00", TIME),
        ("time (UTC)", "2020-01-01 12:00:00", TIME),
        ("captured_at_utc", "1-1-2020 12:00", TIME),
        ("date", "2019-12-31T24:00:00+00:00", datetime(2020, 1, 1, tzinfo=UTC)),
        ("date", "2020-01-01", datetime(2020, 1, 1, 11, tzinfo=UTC)),
        ("captured_at", "1/1/2020 1:00:00 PM", None),  # first of January either way, and still nobody told
        ("captured_at", "2020-01-01 12:00 XYZ", None),
        ("captured_at", "2020-01-01 12:00+99:00", None),
        ("captured_at", "13:00:00", None),
        ("captured_at", "2099-01-01 12:00", None),
        ("captured_at", "1970-01-01 00:00", None),
        ("captured_at", "yesterday", None),
    ],
)
def test_a_time_is_understood_or_costs_the_time(header: str, cell: str, time: datetime | None) -> None:
    rows, said = read(f'file,lat,lon,{header}\na.jpg,52.365,4.9,"{cell}"\n')
    position = rows[0].position
    assert position and (position.place, position.captured_at) == (PLACE, time)
    assert [refusal.reason for refusal in said] == ([] if time else [Reason.MALFORMED])
    assert all(refusal.record.startswith(f"positions.csv line 2 column {header!a}") for refusal in said)


def test_day_and_time_of_day_may_stand_in_columns_of_their_own() -> None:
    position = only("file;lat;lon;datum;tijd\na.jpg;52,365;4,9;1-6-2024;10:00:00\n")
    assert position.captured_at == datetime(2024, 6, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("separator", "dates", "first"),
    [
        (",", ("3/4/2024 10:00", "13/4/2024 10:00"), datetime(2024, 4, 3, 8, tzinfo=UTC)),
        (",", ("3/4/2024 10:00", "4/13/2024 10:00"), datetime(2024, 3, 4, 9, tzinfo=UTC)),
        (";", ("3/4/2024 10:00", "5/4/2024 10:00"), datetime(2024, 4, 3, 8, tzinfo=UTC)),
        (",", ("3/4/2024 10:00", "5/4/2024 10:00"), None),
        (",", ("13/4/2024 10:00", "4/13/2024 10:00"), None),
    ],
)
def test_the_order_of_day_and_month_is_that_of_the_dates_that_tell(
    separator: str, dates: tuple[str, str], first: datetime | None
) -> None:
    lines = (("file", "lat", "lon", "date"), *((f"{n}.jpg", "52.365", "4.9", date) for n, date in enumerate(dates)))
    rows, said = read("\n".join(separator.join(line) for line in lines))
    assert rows[0].position and rows[0].position.captured_at == first
    assert len(said) == (0 if first else 2)


@pytest.mark.parametrize(
    ("cell", "heading_deg"),
    [("90", 90), ("90,5", 90.5), ("-90", 270), ("360", 0), ("450", 90), ("90°", 90), (" 0 ", 0)]
    + [(bad, None) for bad in ("n/a", "-1", "-200", "999", "north", "inf", "1e9", "--")],
)  # fmt: skip
@pytest.mark.parametrize("header", ["heading_deg", "Kijkrichting", "yaw", "Bearing [deg]", "GPSImgDirection"])
def test_a_direction_is_understood_or_costs_the_direction(header: str, cell: str, heading_deg: float | None) -> None:
    rows, said = read(f"file;lat;lon;{header}\na.jpg;52.365;4.9;{cell}\n")
    position = rows[0].position
    assert position and (position.place, position.heading_deg, position.states_heading) == (PLACE, heading_deg, True)
    assert [refusal.reason for refusal in said] == ([] if heading_deg is not None else [Reason.MALFORMED])


def test_columns_that_are_not_read_are_said_with_their_names() -> None:
    rows, said = read("file,lat,lon,magnetic heading,hoogte\na.jpg,52.365,4.9,90,3\n")
    assert rows[0].position and rows[0].position.heading_deg is None
    assert said == [
        Rejected(Reason.UNREAD_COLUMN, "positions.csv line 1 column 'magnetic heading': is not read"),
        Rejected(Reason.UNREAD_COLUMN, "positions.csv line 1 column 'hoogte': is not read"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a.jpg,52.365,4.9\n", "a.jpg,52.365,4.9"),
        ("foo;bar;baz\na.jpg;52;4\n", "foo;bar;baz"),
        ("file,lat\na.jpg,52\n", "lat and lon"),
        ("file,latitude_deg_min,lon\na.jpg,52,4\n", "latitude_deg_min"),
        ("file,noord_coordinaat_lokaal,oost_coordinaat_lokaal\na.jpg,1,2\n", "noord_coordinaat_lokaal"),
        ("file\na.jpg\n", "lat and lon"),
        ("", "file"),
        (b"PK\x03\x04" + bytes(100), "workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "workbook"),
        (b"file,lat,lon\na\0b,52,4\n" * 20, "text"),
        ('file,lat,lon\n"a.jpg,52.365,4.9\nb.jpg,52.366,4.9\n', "line"),
        ('file,lat,lon\n"a"b.jpg,52.365,4.9\n', "line 2"),
        ("file,lat,lon\n" + "x" * 200_000, "line 2"),
    ],
)
def test_what_is_no_table_of_positions_is_an_error_that_names_what_there_is(content: str | bytes, said: str) -> None:
    with pytest.raises(PayloadError, match=r"positions\.csv") as caught:
        read(content)
    assert said in str(caught.value)


def test_a_header_without_rows_is_said() -> None:
    assert read("naam;breedte;lengte\n") == (
        [],
        [Rejected(Reason.MALFORMED, "positions.csv line 1: no photo is named below")],
    )


def test_lines_are_counted_as_editors_do() -> None:
    _, said = read('# delivered 2024\nfile,lat,lon,note\n"a\n.jpg",52,4,x\n\nb.jpg,91,4,\n')
    assert [refusal.record.partition(":")[0] for refusal in said] == [
        "positions.csv line 2 column 'note'",
        "positions.csv line 6 column 'lat'",
    ]


cells = st.one_of(
    st.text(max_size=20),
    st.floats().map(str),
    st.from_regex(r"[0-9NSEWO.,:/ °'\"+-]{0,20}", fullmatch=True),
    st.sampled_from(["a.jpg", "52,365", "4.9", "155000", "463000", "2020-01-01", "EPSG:28992", "-1", '"', "="]),
)
LABELS = "file|lat|lon|x|y|heading_deg|captured_at|date|time|crs|accuracy|x_rd|y_rd|naam|breedte|lengte"
labels = st.one_of(st.sampled_from(LABELS.split("|")), st.text(max_size=12))


@given(
    header=st.lists(labels, max_size=8),
    rows=st.lists(st.lists(cells, max_size=9), max_size=6),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, None]),
)
def test_any_table_becomes_values_counted_rejections_or_a_payload_error(
    header: list[str], rows: list[list[str]], separator: str, encoding: str, quoting: int | None
) -> None:
    if quoting is None:
        text = "\n".join(separator.join(line) for line in [header, *rows])
    else:
        written = StringIO()
        csv.writer(written, delimiter=separator, quoting=quoting).writerows([header, *rows])  # type: ignore[arg-type]
        text = written.getvalue()
    judge(text.encode(encoding, "replace"))


@given(st.binary(max_size=400))
def test_any_bytes_become_values_counted_rejections_or_a_payload_error(data: bytes) -> None:
    judge(data)


@given(st.binary(max_size=200))
def test_so_do_any_below_a_header(data: bytes) -> None:
    judge(b"file;lat;lon;heading;date;time;crs\n" + data)


def judge(data: bytes) -> None:
    """Places on Earth, directions on the compass, times that a camera can have seen: or nothing, and that is said."""
    try:
        rows, said = read_table(data, "positions.csv", now=NOW)
    except PayloadError as error:
        assert "positions.csv" in str(error)
        return
    for row in rows:
        position = row.position
        if position is None:
            assert any(f"{row.where}" in refusal.record for refusal in said)
            continue
        if position.place:
            lon, lat = position.place
            assert -180 <= lon <= 180 and -90 <= lat <= 90 and (lon, lat) != (0, 0)
        assert position.heading_deg is None or 0 <= position.heading_deg < 360
        assert position.captured_at is None or datetime(2004, 1, 1, tzinfo=UTC) <= position.captured_at
    assert all(refusal.record.startswith("positions.csv line ") for refusal in said)
