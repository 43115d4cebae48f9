import csv
from datetime import UTC, datetime
from io import BytesIO

import pytest
from PIL import Image, ImageFile
from PIL.ExifTags import GPS, IFD, Base

from geopin_assets.sandbox.photos import POSITIONS_FILE, photo_name, write_photos, write_query_photos
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk, World

WORLD = World(tuple(s for s in build_world().of("own_photos") if s.quirk or s.drive.is_pano or s.rank == 5))
SHOTS = WORLD.shots


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own_photos")
    write_photos(folder, WORLD)
    return folder


def opened(path):
    return Image.open(BytesIO(path.read_bytes()))


def degrees(gps, tag):
    whole, minutes, seconds = (float(part) for part in gps[tag])
    return whole + minutes / 60 + seconds / 3600


def plain(shot):
    return shot.quirk not in (Quirk.NO_GPS, Quirk.POSITION_IN_TABLE)


def test_exif_tells_position_and_direction(folder):
    for shot in filter(plain, SHOTS):
        gps = opened(folder / photo_name(shot)).getexif().get_ifd(IFD.GPSInfo)
        assert degrees(gps, GPS.GPSLatitude) == pytest.approx(shot.lat, abs=1e-7)
        assert degrees(gps, GPS.GPSLongitude) == pytest.approx(shot.lon, abs=1e-7)
        if shot.quirk is Quirk.NO_HEADING:
            assert GPS.GPSImgDirection not in gps
        else:
            assert float(gps[GPS.GPSImgDirection]) == pytest.approx(shot.heading_deg, abs=0.01)


def test_exif_tells_local_time_with_its_offset(folder):
    for shot in SHOTS:
        exif = opened(folder / photo_name(shot)).getexif().get_ifd(IFD.Exif)
        text = f"{exif[Base.DateTimeOriginal]} {exif[Base.OffsetTimeOriginal]}"
        assert datetime.strptime(text, "%Y:%m:%d %H:%M:%S %z").astimezone(UTC) == shot.captured_at


def test_panoramas_say_so_in_xmp(folder):
    for shot in SHOTS:
        xmp = opened(folder / photo_name(shot)).info.get("xmp", b"").decode()
        assert ('ProjectionType="equirectangular"' in xmp) == shot.drive.is_pano
        assert (f'PoseHeadingDegrees="{shot.heading_deg:.2f}"' in xmp) == shot.drive.is_pano


def test_the_table_places_exactly_the_photos_that_say_it_is_there(folder):
    with (folder / POSITIONS_FILE).open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    tabled = {photo_name(shot): shot for shot in SHOTS if shot.quirk is Quirk.POSITION_IN_TABLE}
    assert rows.keys() == tabled.keys()
    for name, shot in tabled.items():
        assert (float(rows[name]["lat"]), float(rows[name]["lon"])) == (shot.lat, shot.lon)
        assert datetime.fromisoformat(rows[name]["captured_at"]) == shot.captured_at
        assert not opened(folder / name).getexif().get_ifd(IFD.GPSInfo)


def test_one_photo_has_no_place_at_all_and_one_is_cut_off(folder):
    unplaced = [shot for shot in SHOTS if shot.quirk is Quirk.NO_GPS]
    assert len(unplaced) == 1
    assert not opened(folder / photo_name(unplaced[0])).getexif().get_ifd(IFD.GPSInfo)
    cut = [shot for shot in SHOTS if shot.quirk is Quirk.TRUNCATED]
    assert len(cut) == 1
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(OSError, match="truncated"):
        opened(folder / photo_name(cut[0])).load()


def test_writing_again_touches_nothing_until_the_world_changes(tmp_path):
    few = World(SHOTS[:2])
    write_photos(tmp_path, few)
    photo = tmp_path / photo_name(SHOTS[0])
    photo.write_bytes(b"mine now")
    write_photos(tmp_path, few)
    assert photo.read_bytes() == b"mine now"
    write_photos(tmp_path, World(SHOTS[:3]))
    assert photo.read_bytes() != b"mine now"
    assert not list(tmp_path.rglob("*.part"))


def test_query_photos_hide_their_place_and_a_table_tells_it(tmp_path):
    paths = write_query_photos(tmp_path)
    assert len(paths) == 3
    with (tmp_path / "queries.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [path.name for path in paths]
    for path in paths:
        assert not opened(path).getexif()
