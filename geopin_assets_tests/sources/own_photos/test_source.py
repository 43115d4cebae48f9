import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from PIL import Image

from geopin_assets.capture import vector_id
from geopin_assets.errors import ConfigurationError, PayloadError, PermanentError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell, crawl_cells
from geopin_assets.sources.own_photos import OwnPhotos, Rights, photo_folder, photo_id
from geopin_assets_tests.sources.recordings.own_photos import CELL, NOW, RIGHTS, build, write_photo

ELSEWHERE = Cell("gr-groningen", Bbox(6.5, 53.2, 6.53, 53.22))


def crawled(folder: Path, cell: Cell = CELL, rights: Rights = RIGHTS) -> CellCrawl:
    return crawl_cell(OwnPhotos(LocalFolder(folder), rights, now=lambda: NOW), cell)


def test_files_without_a_place_are_counted_on_the_cell_of_the_first_photo_whatever_is_crawled_before(tmp_path: Path):
    source = build(tmp_path)
    elsewhere, here = crawl_cell(source, ELSEWHERE), crawl_cell(source, CELL)
    assert (elsewhere.captures, dict(elsewhere.report.rejected)) == ([], {})
    assert dict(here.report.rejected) == {"no_position": 1, "outside_cell": 1, "unreadable": 1}
    assert len(here.captures) == 2


def test_runs_over_different_cells_count_a_file_without_a_place_once(tmp_path: Path):
    build(tmp_path)
    runs = [crawled(tmp_path, cell).report.rejected for cell in (ELSEWHERE, CELL, ELSEWHERE)]
    assert [run.total() for run in runs] == [0, 3, 0]


def test_where_no_photo_has_a_place_the_first_cell_says_why(tmp_path: Path):
    write_photo(tmp_path / "a.jpg", None)
    source = OwnPhotos(LocalFolder(tmp_path), RIGHTS, now=lambda: NOW)
    assert [dict(crawl_cell(source, cell).report.rejected) for cell in (ELSEWHERE, CELL)] == [{"no_position": 1}, {}]


def test_many_cells_at_once_scan_the_folder_once_and_lose_nothing(tmp_path: Path):
    outcomes = [crawl for _, crawl in crawl_cells(build(tmp_path), [CELL, *[ELSEWHERE] * 9], concurrency=8)]
    assert sum(crawl.report.rejected.total() for crawl in outcomes) == 3
    assert sum(len(crawl.captures) for crawl in outcomes) == 2


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_subfolder_that_cannot_be_read_makes_every_cell_incomplete(mode: int) -> None:
    with TemporaryDirectory() as name, as_nobody(Path(name)):
        write_photo(Path(name) / "1.jpg")
        closed = Path(name) / "2024" / "closed"
        closed.mkdir(parents=True)
        write_photo(closed / "2.jpg")
        assert crawled(Path(name)).report.is_complete and len(crawled(Path(name)).captures) == 2
        closed.chmod(mode)
        here, elsewhere = crawled(Path(name)), crawled(Path(name), ELSEWHERE)
        closed.chmod(0o700)
        assert len(here.captures) == 1
        assert not here.report.is_complete and not elsewhere.report.is_complete
        assert here.report.incomplete == [f"{CELL.bbox} (the folder '2024/closed' cannot be read)"]
        Path(name).chmod(0o000)
        with pytest.raises(PermanentError, match="cannot be read"):
            crawled(Path(name))
        Path(name).chmod(0o700)


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """As a user whom the kernel refuses something, whoever runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_the_image_version_follows_the_bytes(tmp_path: Path):
    path = write_photo(tmp_path / "1.jpg")
    before = crawled(tmp_path).captures[0]
    assert before.image_version == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    path.write_bytes(path.read_bytes() + b"\0")
    assert crawled(tmp_path).captures[0].image_version != before.image_version


def test_positions_csv_wins_where_it_says_something(tmp_path: Path):
    for name in ("a.jpg", "b.jpg", "sub/c d.jpg"):
        write_photo(tmp_path / name)
    write_photo(tmp_path / "d.jpg", None, time=None)
    (tmp_path / "positions.csv").write_text(
        "\ufefffile,lat,lon,heading_deg,captured_at\n"
        "a.jpg,52.365,4.9,,\n"
        "b.jpg,,,-90,2020-01-01T12:00:00\n"
        "sub/c d.jpg,52.371,4.881,12.5,2020-01-01T12:00:00Z\n"
        "d.jpg,52.37,4.9,,\n",
        "utf-8",
    )
    stated = {
        capture.image_url.removeprefix("own-photos:"): (
            capture.lat,
            capture.lon,
            capture.heading_deg,
            capture.captured_at,
        )
        for capture in crawled(tmp_path).captures
    }
    a, b, c, d = (stated[name] for name in ("a.jpg", "b.jpg", "sub/c%20d.jpg", "d.jpg"))
    assert a == (52.365, 4.9, 90.0, datetime(2024, 6, 1, 8, tzinfo=UTC))
    assert b == (52.37, 4.895, 270.0, datetime(2020, 1, 1, 11, tzinfo=UTC))
    assert c == (52.371, 4.881, 12.5, datetime(2020, 1, 1, 12, tzinfo=UTC))
    assert d == (52.37, 4.9, None, None)


def test_a_row_without_a_place_costs_the_photo_and_one_without_a_direction_the_direction(tmp_path: Path):
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.jpg")
    (tmp_path / "positions.csv").write_text(
        "file,lat,lon,heading_deg,captured_at\na.jpg,91,4.9,,\nb.jpg,,,north,\ntypo.jpg,52.37,4.9,,\n"
    )
    crawl = crawled(tmp_path)
    assert [(c.source_capture_id, c.heading_deg) for c in crawl.captures] == [("b.jpg", None)]
    assert dict(crawl.report.rejected) == {"bad_coordinates": 1, "malformed": 1, "no_image": 1}


@pytest.mark.parametrize("content", [b"name,lat\nx,1\n", b"\xff\xfe\x00file", b"file,lat\n" + b"x" * 200_000])
def test_a_positions_file_that_is_none_fails_loudly(tmp_path: Path, content: bytes):
    (tmp_path / "positions.csv").write_bytes(content)
    with pytest.raises(PayloadError, match=r"positions\.csv"):
        crawled(tmp_path)


@pytest.mark.parametrize(
    ("properties", "is_pano", "heading_deg"),
    [
        ('GPano:ProjectionType="equirectangular"', True, 90.0),
        (
            "<GPano:ProjectionType>equirectangular</GPano:ProjectionType><GPano:PoseHeadingDegrees>10</GPano:PoseHeadingDegrees>",
            True,
            10.0,
        ),
        ('GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="0.0"', True, 90.0),
        ('GPano:ProjectionType="cylindrical"', False, 90.0),
        (
            'GPano:ProjectionType="equirectangular" '
            'GPano:CroppedAreaImageWidthPixels="900" GPano:FullPanoWidthPixels="1000"',
            False,
            90.0,
        ),
        (
            'GPano:ProjectionType="equirectangular" '
            'GPano:CroppedAreaImageHeightPixels="500" GPano:FullPanoHeightPixels="500"',
            True,
            90.0,
        ),
        (
            'GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="100" GPano:CroppedAreaLeftPixels="0" '
            'GPano:CroppedAreaImageWidthPixels="8000" GPano:FullPanoWidthPixels="8000"',
            True,
            100.0,
        ),
        (
            'GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="100" GPano:CroppedAreaLeftPixels="0" '
            'GPano:CroppedAreaImageWidthPixels="2000" GPano:FullPanoWidthPixels="8000"',
            False,
            325.0,
        ),
    ],
)
def test_gpano_says_what_is_a_panorama_and_where_it_looks(
    tmp_path: Path, properties: str, is_pano: bool, heading_deg: float
):
    write_photo(tmp_path / "1.jpg", xmp=f"<x>{properties}</x>".encode())
    capture = crawled(tmp_path).captures[0]
    assert (capture.is_pano, capture.heading_deg) == (is_pano, heading_deg)


def test_files_that_are_no_photo_are_unreadable_and_others_are_not_looked_at(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "png.jpg", format="PNG")
    (tmp_path / "empty.JPG").touch()
    (tmp_path / "cut.jpeg").write_bytes(write_photo(tmp_path / "good.jpg").read_bytes()[:40])
    (tmp_path / "notes.txt").write_text("not a photo")
    (tmp_path / "folder.jpg").mkdir()
    crawl = crawled(tmp_path)
    assert len(crawl.captures) == 1
    assert dict(crawl.report.rejected) == {"unreadable": 2, "no_position": 1}


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path):
    write_photo(tmp_path / "private" / "secret.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "private" / "secret.jpg")
    assert crawled(tmp_path / "photos").captures == []


def test_names_are_quoted_in_addresses_and_hashed_in_ids_where_needed(tmp_path: Path):
    write_photo(tmp_path / "straße 1" / "a#b?.jpg")
    (capture,) = crawled(tmp_path, rights=replace(RIGHTS, page_url="")).captures
    assert capture.image_url == capture.page_url == "own-photos:stra%C3%9Fe%201/a%23b%3F.jpg"
    assert capture.source_capture_id == photo_id("straße 1/a#b?.jpg")
    assert capture.source_capture_id.startswith("~")
    assert capture.sequence_id == "straße 1"


@pytest.mark.parametrize("file", ["a.jpg", "drive/2024-06-01/IMG_0001.jpg", "x" * 40, "x" * 41, "é.jpg", "~1.jpg"])
def test_ids_are_stable_and_fit_into_a_vector_id(file: str):
    assert photo_id(file) == photo_id(file)
    assert vector_id(f"own_photos:{photo_id(file)}", 11) == f"own_photos:{photo_id(file)}/11"
    assert (photo_id(file) == file) == (len(file) <= 40 and file.isascii() and "~" not in file)


def test_a_file_that_went_away_after_the_scan_is_left_out(tmp_path: Path):
    source = build(tmp_path)
    crawl_cell(source, ELSEWHERE)
    (tmp_path / "pano.jpg").unlink()
    crawl = crawl_cell(source, CELL)
    assert len(crawl.captures) == 1
    assert crawl.report.rejected["no_image"] == 1


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_survey(tmp_path: Path):
    with pytest.raises(PermanentError, match=r"no folder .*unmounted"):
        crawled(tmp_path / "unmounted")


STATED = {
    "GEOPIN_OWN_PHOTOS_DIR": "/data/photos",
    "GEOPIN_OWN_PHOTOS_LICENSE": "cc-by-4.0",
    "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "Survey",
}


@pytest.mark.parametrize(
    ("without", "named"),
    [
        ({"GEOPIN_OWN_PHOTOS_DIR": ""}, "GEOPIN_OWN_PHOTOS_DIR"),
        ({"GEOPIN_OWN_PHOTOS_LICENSE": ""}, "GEOPIN_OWN_PHOTOS_LICENSE"),
        ({"GEOPIN_OWN_PHOTOS_LICENSE": "CC-BY-NC-4.0"}, "GEOPIN_OWN_PHOTOS_LICENSE"),
        ({"GEOPIN_OWN_PHOTOS_ATTRIBUTION": " "}, "GEOPIN_OWN_PHOTOS_ATTRIBUTION"),
        ({"GEOPIN_OWN_PHOTOS_PAGE_URL": "javascript:x"}, "GEOPIN_OWN_PHOTOS_PAGE_URL"),
    ],
)
def test_without_folder_or_rights_it_is_off_and_says_what_to_set(without: dict[str, str], named: str):
    live = Settings(profile=Profile.LIVE, variables=STATED | without)
    assert named in (OwnPhotos.disabled_reason(live) or "")
    with pytest.raises(ConfigurationError, match=named), open_source("own_photos", live):
        pass


@pytest.mark.parametrize("unstated", ["GEOPIN_OWN_PHOTOS_LICENSE", "GEOPIN_OWN_PHOTOS_ATTRIBUTION"])
def test_the_sandbox_states_no_rights_to_a_folder_that_somebody_brings(unstated: str):
    assert unstated in (OwnPhotos.disabled_reason(Settings(variables=STATED | {unstated: ""})) or "")


def test_stated_rights_switch_it_on_in_any_profile():
    assert OwnPhotos.disabled_reason(Settings(profile=Profile.LIVE, variables=STATED)) is None
    assert photo_folder(Settings(profile=Profile.LIVE)) is None
    assert photo_folder(Settings(variables=STATED)) == LocalFolder(Path("/data/photos"))


def test_the_sandbox_has_a_folder_and_rights_of_its_own(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    folder = photo_folder(settings)
    assert folder == LocalFolder(tmp_path / "own_photos")
    write_photo(tmp_path / "own_photos" / "1.jpg")
    with open_source("own_photos", settings) as source:
        (capture,) = crawl_cell(source, CELL).captures
    assert (capture.license, capture.attribution) == ("CC0-1.0", "GeoPin sandbox")
