"""`geopin run` over one folder with all that people deliver wrongly: nothing at a wrong place, all of it said."""

import json
from pathlib import Path
from urllib.parse import unquote

import dagster as dg
import pytest

from geopin_assets.store.catalog import Catalog
from geopin_assets_tests.cli.typed import Ended, Place
from geopin_assets_tests.sources.own_photos.test_kinds import written
from geopin_assets_tests.sources.own_photos.test_survey import WALK
from geopin_assets_tests.sources.recordings.own_photos import write_photo

HERE, THERE = "nh-amsterdam-r089c052", "nh-amsterdam-r090c052"
SURVEYED = (4.9, 52.365)
DUTCH = "Bestandsnaam;Breedtegraad;Lengtegraad;Kijkrichting;Datum;Hoogte\r\n"
TABLES = {
    "spreadsheet/Positions.CSV": (DUTCH + "A.JPG;52,365;4,9;90,0;1-6-2024 10:00;3\r\n").encode("utf-16"),
    "rd/positions.csv": b"file,x,y\na.jpg,121815.63,486457.45\nb.jpg,486400,121700\n",
    "rd as degrees/positions.csv": b"file,lat,lon\na.jpg,486400.0,121700.0\n",
    "paths/positions.csv": "file,lat,lon\nC:\\foto's\\sub\\café.jpg,52.365,4.9\ngone.jpg,52.365,4.9\n".encode("cp1252"),
    "rows/positions.csv": (
        b"file, lat, lon, heading\na.jpg, 52.365, 4.9, n/a\nb.jpg, 91, 4.9, 0\nb.jpg, 52.365, 4.9, 0\n"
        b"b.jpg, 52.37, 4.9, 0\nc.jpg, 52,365, 4,9, 0\nd.jpg, , 4.9,\n"
    ),
}
PHOTOS = {
    **{f"{folder}/a.jpg": True for folder in ("spreadsheet", "rd", "rows")},
    "paths/sub/cafe\u0301.jpg": True,
    "rows/b.jpg": True,
    "rows/c.jpg": False,
    "rows/d.jpg": False,
    "rd/b.jpg": False,
    "rd as degrees/a.jpg": False,
}
"""Whether its table places it; EXIF says another place for all."""


def lay_out(folder: Path) -> None:
    for name in PHOTOS:
        write_photo(folder / name, 4.905, 52.3675)
    for name, content in TABLES.items():
        (folder / name).write_bytes(content)
    write_photo(folder / "track" / "a.jpg", None, time=("2024:06:01 10:00:00", "+02:00"))
    write_photo(folder / "track" / "later.jpg", None, time=("2024:06:01 11:00:00", "+02:00"))
    (folder / "track" / "walk.gpx").write_text(WALK)
    write_photo(folder / "described" / "a.jpg", None)
    described = {"filename": "/x/a.jpg", "filetype": "image", "MAPLatitude": 52.365, "MAPLongitude": 4.9}
    (folder / "described" / "mapillary_image_description.json").write_text(json.dumps([described]))
    for name in ("#recycle", "@eaDir/a.jpg", ".Trash-1000/files", "drafts"):
        write_photo(folder / name / "IMG.jpg", *SURVEYED)
    (folder / "kinds").mkdir()
    written(folder / "kinds", "phone.HEIC", "HEIF")
    for name in ("a.cr2", "b.CR2", "film.mp4"):
        (folder / "kinds" / name).write_bytes(bytes(100))
    (folder / "kinds" / "broken.jpg").write_bytes(b"\xff\xd8 not really")
    (folder / "link.jpg").symlink_to("/etc/hostname")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, sandbox_port: int) -> tuple[Place, Ended]:
    place = Place(tmp_path_factory.mktemp("delivered"))
    lay_out(place.folder / "photos")
    return place, run(place, sandbox_port)


def run(place: Place, sandbox_port: int) -> Ended:
    return place.geopin(
        *("run", "--region", f"{HERE}+{THERE}", "--source", "own_photos"),
        GEOPIN_SANDBOX_PORT=str(sandbox_port),
        GEOPIN_OWN_PHOTOS_DIR=str(place.folder / "photos"),
        GEOPIN_OWN_PHOTOS_IGNORE="drafts/",
        GEOPIN_OWN_PHOTOS_LICENSE="CC0-1.0",
        GEOPIN_OWN_PHOTOS_ATTRIBUTION="x",
    )


LEFT_OUT = {
    "assumed_crs": ["rd/positions.csv line 2 column 'x': is read as RD New (EPSG:28992) by its size"],
    "bad_coordinates": [
        "rd as degrees/positions.csv line 2 column 'lat': '486400.0' may be RD New: "
        "call the columns x and y then ('a.jpg')",
        "rd/positions.csv line 3 column 'x': '486400', '121700': state their system (crs) ('b.jpg')",
        "rows/positions.csv line 3 column 'lat': '91', '4.9' are no place ('b.jpg')",
        "rows/positions.csv line 7 column 'lat': '' are no degrees ('d.jpg')",
    ],
    "ignored": ["#recycle/", ".Trash-1000/", "@eaDir/", "drafts/", "link.jpg (a link that leads out of the folder)"],
    "malformed": [
        "rows/positions.csv line 2 column 'heading': 'n/a' is no direction ('a.jpg')",
        "rows/positions.csv line 6: 6 cells below 4 names ('c.jpg')",
    ],
    "no_image": ["paths/positions.csv line 3: no photo 'gone.jpg'"],
    "no_position": ["track/later.jpg"],
    "second_row": ["rows/positions.csv line 5: 'rows/b.jpg' is in rows/positions.csv line 4 already"],
    "unread_column": ["spreadsheet/Positions.CSV line 1 column 'Hoogte': is not read"],
    "unreadable": ["'kinds/broken.jpg'"],
    "unsupported_cr2": ["kinds/a.cr2", "kinds/b.CR2"],
    "unsupported_mp4": ["kinds/film.mp4"],
}


def test_what_was_understood_is_kept_and_nothing_is_at_a_wrong_place(ended: tuple[Place, Ended]) -> None:
    place, _ = ended
    rows = Catalog(place.data / "catalog.duckdb").query("select image_url, lon, lat, heading_deg from captures").rows()
    found = {unquote(url.removeprefix("own-photos:")): where for url, *where in rows}
    surveyed = [name for name, is_placed in PHOTOS.items() if is_placed]
    assert set(found) == {*surveyed, "track/a.jpg", "described/a.jpg", "kinds/phone.HEIC"}
    for name in (*surveyed, "track/a.jpg", "described/a.jpg"):
        assert found[name][:2] == [pytest.approx(4.9, abs=2e-5), pytest.approx(52.365, abs=2e-5)], name
    assert found["rows/a.jpg"][2] is None and found["spreadsheet/a.jpg"][2] == 90


def test_the_terminal_says_what_was_left_out_by_reason_with_file_and_line(ended: tuple[Place, Ended]) -> None:
    _, said = ended
    lines = said.stdout.splitlines()
    for reason, records in LEFT_OUT.items():
        at = lines.index(f"  left out: {len(records)} {reason}")
        assert lines[at + 1 : at + 1 + len(records)] == [f"    {record}" for record in records]


def test_the_asset_says_so_too(ended: tuple[Place, Ended]) -> None:
    place, _ = ended
    with dg.DagsterInstance.from_config(str(place.home)) as instance:
        of_cell = dg.AssetRecordsFilter(dg.AssetKey(["raw", "own_photos"]), asset_partitions=[HERE])
        (record,) = instance.fetch_materializations(of_cell, limit=1).records
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert metadata["rejected_by_reason"].value == {reason: len(records) for reason, records in LEFT_OUT.items()}
    assert metadata["rejected_examples"].value == LEFT_OUT


def test_a_disk_that_went_away_removes_nothing_and_the_rest_is_accounted_for(
    ended: tuple[Place, Ended], sandbox_port: int
) -> None:
    place, _ = ended
    before = Catalog(place.data / "catalog.duckdb").ids().to_list()
    (place.folder / "photos" / "rows" / "a.jpg").unlink()
    (place.folder / "photos" / "rows" / "a.jpg").symlink_to("on-a-disk-that-is-away.jpg")
    again = run(place, sandbox_port)
    assert again.returncode == 1
    assert f"failed {HERE}: incomplete" in again.stdout and "the file 'rows/a.jpg' cannot be read" in again.stdout
    assert "  left out: 4 bad_coordinates" in again.stdout
    assert Catalog(place.data / "catalog.duckdb").ids().to_list() == before
