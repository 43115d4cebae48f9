"""What lies beside photos: which photo a row means, descriptions of mapillary_tools, GPX tracks by time."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.capture import Reason
from geopin_assets.errors import PayloadError, PermanentError
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.settings import Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets.sources.own_photos.described import read_description
from geopin_assets.sources.own_photos.scan import Reading
from geopin_assets.sources.own_photos.track import Segment, place_at, read_track
from geopin_assets_tests.sources.recordings.own_photos import CELL, NOW, RIGHTS, write_photo

ROW = "52.365,4.9"
PLACE = (4.9, 52.365)


def crawled(folder: Path, how: Reading | None = None) -> CellCrawl:
    return crawl_cell(OwnPhotos(LocalFolder(folder), RIGHTS, how=how, now=lambda: NOW), CELL)


def places(crawl: CellCrawl) -> dict[str, tuple[float, float]]:
    return {json.loads(c.payload)["file"]: (c.lon, c.lat) for c in crawl.captures}


def with_table(folder: Path, photos: list[str], rows: list[str], at: str = "positions.csv") -> CellCrawl:
    for name in photos:
        write_photo(folder / name)
    (folder / at).parent.mkdir(parents=True, exist_ok=True)
    (folder / at).write_text("\n".join(["file,lat,lon", *rows]), "utf-8")
    return crawled(folder)


@pytest.mark.parametrize(
    ("photo", "written"),
    [
        ("a.jpg", "./a.jpg"),
        ("a.jpg", ".\\a.jpg"),
        ("a.jpg", "A.JPG"),
        ("Straße/IMG 1.JPG", "strasse/img 1.jpg"),
        ("sub/a.jpg", "sub\\a.jpg"),
        ("sub/a.jpg", "SUB//a.jpg"),
        ("sub/a.jpg", "C:\\Users\\me\\Pictures\\sub\\a.jpg"),
        ("sub/a.jpg", "/mnt/survey/2024/sub/a.jpg"),
        ("sub/a.jpg", "a.jpg"),
        ("sub/IMG_0001.jpg", "IMG_0001"),
        ("sub/IMG_0001.jpg", "D:\\DCIM\\sub\\IMG_0001"),
        (unicodedata.normalize("NFD", "café/é.jpg"), unicodedata.normalize("NFC", "café/é.jpg")),
        (unicodedata.normalize("NFC", "café/é.jpg"), unicodedata.normalize("NFD", "CAFÉ/É.JPG")),
    ],
)
def test_a_photo_is_known_by_its_name_however_it_is_written(tmp_path: Path, photo: str, written: str) -> None:
    crawl = with_table(tmp_path, [photo, "other.jpg"], [f"{written},{ROW}"])
    assert places(crawl) == {photo: PLACE, "other.jpg": (4.895, 52.37)}
    assert not crawl.report.rejected


@pytest.mark.parametrize("at", ["walk/positions.csv", "walk/Positions.CSV", "walk/positions.tsv", "walk/positions.txt"])
@pytest.mark.parametrize("written", ["a.jpg", "./a.jpg", "walk/a.jpg"])
def test_a_table_lies_at_any_level_and_means_the_photos_beside_it(tmp_path: Path, at: str, written: str) -> None:
    crawl = with_table(tmp_path, ["a.jpg", "walk/a.jpg"], [f"{written},{ROW}"], at)
    assert places(crawl) == {"a.jpg": (4.895, 52.37), "walk/a.jpg": PLACE}


def test_a_name_that_may_be_several_photos_places_none_of_them(tmp_path: Path) -> None:
    crawl = with_table(tmp_path, ["1/a.jpg", "2/a.jpg", "2/b.jpg"], [f"a.jpg,{ROW}"])
    assert places(crawl) == {"2/b.jpg": (4.895, 52.37)}
    assert crawl.report.rejected_examples == {"no_image": ["positions.csv line 2: several photos may be 'a.jpg'"]}


def test_a_photo_that_several_rows_may_mean_is_left_out(tmp_path: Path) -> None:
    crawl = with_table(tmp_path, ["a.jpg"], [f"2023/a.jpg,{ROW}", "2024/a.jpg,52.368,4.897"])
    assert places(crawl) == {} and crawl.report.rejected == {"no_image": 1}


def test_names_that_differ_in_capitals_alone_are_told_apart_where_they_are_written_exactly(tmp_path: Path) -> None:
    crawl = with_table(tmp_path, ["a.jpg", "A.jpg"], [f"A.jpg,{ROW}"])
    assert places(crawl) == {"a.jpg": (4.895, 52.37), "A.jpg": PLACE}


@pytest.mark.parametrize(
    ("rows", "place", "rejected"),
    [
        ([f"a.jpg,{ROW}", "a.jpg,91,4.9"], PLACE, {"bad_coordinates": 1}),
        (["a.jpg,91,4.9", f"A.JPG,{ROW}"], PLACE, {"bad_coordinates": 1}),
        ([f"a.jpg,{ROW}", "./a.jpg,52.368,4.897"], PLACE, {"second_row": 1}),
        ([f"a.jpg,{ROW}", f"a.jpg,{ROW}"], PLACE, {"second_row": 1}),
        (["a.jpg,91,4.9", "a.jpg,,4.9"], None, {"bad_coordinates": 2}),
        (["a.jpg,486400,121700"], None, {"bad_coordinates": 1}),
        ([f"b.jpg,{ROW}"], (4.895, 52.37), {"no_image": 1}),
    ],
)
def test_of_several_rows_the_first_good_one_counts_and_the_others_are_said(
    tmp_path: Path, rows: list[str], place: tuple[float, float] | None, rejected: dict[str, int]
) -> None:
    crawl = with_table(tmp_path, ["a.jpg"], rows)
    assert (places(crawl).get("a.jpg"), dict(crawl.report.rejected)) == (place, rejected)
    assert all("positions.csv line " in text for texts in crawl.report.rejected_examples.values() for text in texts)


@pytest.mark.parametrize("row", ["4.9,52.365", "-52.365,-4.9", "52.365,-4.9"])
def test_a_row_that_means_another_place_on_earth_is_named(tmp_path: Path, row: str) -> None:
    crawl = with_table(tmp_path, ["a.jpg", "b.jpg"], [f"a.jpg,{row}"])
    assert places(crawl) == {"b.jpg": (4.895, 52.37)}
    assert crawl.report.rejected_examples == {"outside_cell": ["a.jpg (positions.csv line 2)"]}


def test_a_table_that_cannot_be_read_places_no_photo_elsewhere(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "positions.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(PermanentError, match=r"positions\.csv"):
        crawled(tmp_path)


def test_a_stated_system_of_coordinates_is_a_setting(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_photo(photos / "a.jpg")
    (photos / "positions.csv").write_text("file,lat,lon\na.jpg,486400,121700\n")
    rights = {"GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0", "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "x"}
    variables = {"GEOPIN_OWN_PHOTOS_DIR": str(photos), "GEOPIN_OWN_PHOTOS_CRS": "rd new"} | rights
    settings = Settings(data_dir=tmp_path / "data", variables=variables)
    with open_source("own_photos", settings) as source:
        (capture,) = crawl_cell(source, CELL).captures
    assert (capture.lon, capture.lat) == (pytest.approx(4.898308, abs=1e-5), pytest.approx(52.364477, abs=1e-5))


def item(**other: Any) -> dict[str, Any]:
    return {"filename": "/home/me/walk/a.jpg", "filetype": "image", "MAPLatitude": 52.365, "MAPLongitude": 4.9} | other


def test_what_mapillary_tools_writes_beside_photos_is_read(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", None, time=None)
    described = item(
        MAPCompassHeading={"TrueHeading": 302.5, "MagneticHeading": 1}, MAPCaptureTime="2021_02_13_13_24_41_140"
    )
    (tmp_path / "mapillary_image_description.json").write_text(
        json.dumps([described, {"filename": "v", "filetype": "video"}])
    )
    crawl = crawled(tmp_path)
    (capture,) = crawl.captures
    assert (capture.lon, capture.lat, capture.heading_deg) == (*PLACE, 302.5)
    assert capture.captured_at == datetime(2021, 2, 13, 13, 24, 41, 140_000, UTC)
    assert not crawl.report.rejected


@pytest.mark.parametrize(
    ("wrong", "rejected", "is_placed"),
    [
        ({"MAPLatitude": 91}, {"bad_coordinates": 1}, False),
        ({"MAPLongitude": None}, {"bad_coordinates": 1}, False),
        ({"MAPLatitude": "north"}, {"bad_coordinates": 1}, False),
        ({"MAPCompassHeading": {"TrueHeading": 999}}, {"malformed": 1}, True),
        ({"MAPCompassHeading": 7}, {"malformed": 1}, True),
        ({"MAPCaptureTime": "soon"}, {"malformed": 1}, True),
        ({"filename": "b.jpg"}, {"no_image": 1}, True),
        ({"filename": None}, {"malformed": 1}, True),
        ({"error": {"type": "MapillaryGeoTaggingError"}, "MAPLatitude": None, "MAPLongitude": None}, {}, True),
    ],
)
def test_a_description_is_refused_like_a_row(
    tmp_path: Path, wrong: dict[str, Any], rejected: dict[str, int], is_placed: bool
) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "Mapillary_Image_Description.json").write_text(json.dumps([item(**wrong)]))
    crawl = crawled(tmp_path)
    assert (dict(crawl.report.rejected), bool(crawl.captures)) == (rejected, is_placed)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["filename", "MAPLatitude", "MAPLongitude", "MAPCompassHeading", "TrueHeading",
                                       "MAPCaptureTime", "filetype", "image"]), inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


@given(st.one_of(json_values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=100)))
def test_any_description_becomes_values_counted_rejections_or_a_payload_error(data: bytes) -> None:
    try:
        rows, said = read_description(data, "m.json", now=NOW)
    except PayloadError as error:
        assert "m.json" in str(error)
        return
    assert all(row.position is not None or any(row.where in s.record for s in said) for row in rows)


def gpx(*points: tuple[str, float, float], lines: bool = False) -> str:
    inner = "".join(
        f'<trkpt lat="{lat}" lon="{lon}"><ele>1</ele><time>{time}</time></trkpt>' for time, lat, lon in points
    )
    head = '<?xml version="1.0"?>\n<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><metadata><time>2001-01-01T00:00:00Z'
    return f"{head}</time></metadata><trk><trkseg>{inner}</trkseg></trk></gpx>"


WALK = gpx(("2024-06-01T08:00:00Z", 52.365, 4.9), ("2024-06-01T08:00:10Z", 52.3651, 4.9002))


@pytest.mark.parametrize(
    ("time", "offset_s", "place"),
    [
        ("2024:06:01 10:00:00", 0, PLACE),
        ("2024:06:01 10:00:05", 0, (4.9001, 52.36505)),
        ("2024:06:01 10:00:10", 0, (4.9002, 52.3651)),
        ("2024:06:01 10:00:11", 0, None),
        ("2024:06:01 09:59:59", 0, None),
        ("2024:06:01 09:58:00", 125, (4.9001, 52.36505)),
        ("2024:06:01 11:00:05", -3600, (4.9001, 52.36505)),
    ],
)
@pytest.mark.parametrize("photo", ["a.jpg", "camera 1/a.jpg"])
def test_a_photo_without_a_position_is_where_the_track_beside_it_was(
    tmp_path: Path, photo: str, time: str, offset_s: int, place: tuple[float, float] | None
) -> None:
    write_photo(tmp_path / "walk" / photo, None, time=(time, "+02:00"))
    (tmp_path / "walk" / "Track.GPX").write_text(WALK)
    crawl = crawled(tmp_path, Reading(clock_offset=timedelta(seconds=offset_s)))
    assert [pytest.approx(found, abs=1e-9) for found in places(crawl).values()] == ([place] if place else [])
    assert dict(crawl.report.rejected) == ({} if place else {"no_position": 1})


def test_a_track_places_no_photo_that_says_where_it_was_taken_nor_one_that_lies_elsewhere(tmp_path: Path) -> None:
    for name in ("walk/has_a_place.jpg", "walk/in_the_table.jpg"):
        write_photo(tmp_path / name)
    write_photo(tmp_path / "drive" / "other.jpg", None)
    (tmp_path / "walk" / "track.gpx").write_text(WALK)
    (tmp_path / "walk" / "positions.csv").write_text("file,lat,lon\nin_the_table.jpg,52.368,4.897\n")
    crawl = crawled(tmp_path)
    assert places(crawl) == {"walk/has_a_place.jpg": (4.895, 52.37), "walk/in_the_table.jpg": (4.897, 52.368)}
    assert dict(crawl.report.rejected) == {"no_position": 1}


def seconds(second: int) -> datetime:
    return datetime(2024, 6, 1, 8, 0, tzinfo=UTC) + timedelta(seconds=second)


@pytest.mark.parametrize(
    ("segments", "second", "place"),
    [
        ([Segment([seconds(0), seconds(600)], [(4.9, 52.3), (4.9, 52.4)])], 300, None),  # a tunnel
        ([Segment([seconds(0), seconds(600)], [(4.9, 52.3), (4.9, 52.3)])], 300, (4.9, 52.3)),  # standing still
        ([Segment([seconds(0)], [(4.9, 52.3)])], 0, (4.9, 52.3)),
        ([Segment([seconds(0)], [(4.9, 52.3)])], 1, None),
        ([Segment([seconds(0)], [(4.9, 52.3)]), Segment([seconds(0)], [(4.9, 52.30001)])], 0, (4.9, 52.3)),
        ([Segment([seconds(0)], [(4.9, 52.3)]), Segment([seconds(0)], [(4.9, 52.4)])], 0, None),  # two cameras
        ([], 0, None),
    ],
)
def test_a_track_tells_nothing_where_it_has_a_gap_or_contradicts_another(
    segments: list[Segment], second: int, place: tuple[float, float] | None
) -> None:
    assert place_at(segments, seconds(second)) == place


@pytest.mark.parametrize(
    ("text", "points", "said"),
    [
        (WALK, 2, []),
        (WALK.replace("Z</time></trkpt>", ".5</time></trkpt>"), 2, []),
        (WALK.encode("utf-16").decode("latin-1"), 2, []),
        (WALK[:-20], 2, [Reason.MALFORMED]),
        (WALK.replace('lat="52.365"', 'lat="91"'), 1, [Reason.BAD_COORDINATES]),
        (WALK.replace('lat="52.365"', ""), 1, [Reason.BAD_COORDINATES]),
        (WALK.replace("2024-06-01T08:00:00Z", "noon"), 1, [Reason.MALFORMED]),
        (WALK.replace("time>", "hour>"), 0, [Reason.MALFORMED]),
        ("", 0, [Reason.MALFORMED, Reason.MALFORMED]),
        ("not XML", 0, [Reason.MALFORMED, Reason.MALFORMED]),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]>' + WALK.partition("\n")[2], 0, [Reason.MALFORMED, Reason.MALFORMED]),
    ],
)
def test_a_track_is_read_as_far_as_it_goes_and_what_is_wrong_is_said_with_its_line(
    text: str, points: int, said: list[Reason]
) -> None:
    segments, refusals = read_track(text.encode("latin-1"), "walk.gpx")
    assert sum(len(segment.times) for segment in segments) == points
    assert [refusal.reason for refusal in refusals] == said
    assert all(refusal.record.startswith("walk.gpx line ") for refusal in refusals)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: WALK.replace("<ele>", text).encode())))
def test_any_track_becomes_points_in_order_or_counted_rejections(data: bytes) -> None:
    segments, said = read_track(data, "walk.gpx")
    assert segments or said
    assert all(segment.times == sorted(set(segment.times)) for segment in segments)
