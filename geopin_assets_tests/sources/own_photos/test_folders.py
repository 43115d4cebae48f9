"""Folders as they are: with trash, thumbnails and other kinds of files in them, closed, or gone with their disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from geopin_assets.errors import ConfigurationError, PermanentError
from geopin_assets.photo_folder import LocalFolder, PhotoClosedError, PhotoFile
from geopin_assets.photo_folder.names import Ignored
from geopin_assets.settings import Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.own_photos import OwnPhotos, photo_id
from geopin_assets.sources.own_photos.scan import Reading
from geopin_assets_tests.bucket import Disk, Place, make_bucket, moto_server
from geopin_assets_tests.sources.own_photos.test_source import as_nobody
from geopin_assets_tests.sources.recordings.own_photos import CELL, NOW, RIGHTS, write_photo

SKIPPED = [
    *("$RECYCLE.BIN/a.jpg", "$Recycle.Bin/S-1-5-21/$R1.jpg", "System Volume Information/a.jpg", "RECYCLER/a.jpg"),
    *(".Trashes/501/a.jpg", "._a.jpg", "__MACOSX/._a.jpg", ".Spotlight-V100/a.jpg", "Network Trash Folder/a.jpg"),
    *(".Trash-1000/files/a.jpg", "lost+found/a.jpg", ".thumbnails/a.jpg", ".cache/thumbnails/large/a.png"),
    *(
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "2024/@eaDir/a.jpg",
        "#recycle/a.jpg",
        "#snapshot/a.jpg",
        "@Recycle/a.jpg",
    ),
    *("@Recently-Snapshot/a.jpg", ".@__thumb/a.jpg", ".recycle/a.jpg", "~snapshot/hourly.0/a.jpg"),
    *("PRIVATE/M4ROOT/THMBNL/C0001T01.JPG", "CANONMSC/a.jpg", "LOST.DIR/a.jpg", "DCIM/.thumbnails/a.jpg"),
    *("Photos.photoslibrary/resources/a.jpg", "x.lrdata/a.jpg", "thumbs/a.jpg", "Prullenbak/a.jpg", ".hidden/b/a.jpg"),
]


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Disk(tmp_path / "photos") if request.param == "disk" else make_bucket(request.getfixturevalue("s3_url"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_photo(tmp_path_factory.mktemp("made") / "a.jpg").read_bytes()


def crawled(place: Place, *patterns: str) -> CellCrawl:
    how = Reading(ignored=Ignored(patterns))
    return crawl_cell(OwnPhotos(place.folder, RIGHTS, how=how, now=lambda: NOW), CELL)


def ids(crawl: CellCrawl) -> list[str]:
    return [capture.source_capture_id for capture in crawl.captures]


def test_trash_thumbnails_and_folders_of_systems_are_skipped_and_counted(place: Place, photo: bytes) -> None:
    for name in ("IMG_1.jpg", "2024/IMG_2.jpg", "Trashy street/IMG_3.jpg", "@Dam/IMG_4.jpg", "thumb.jpg", *SKIPPED):
        place.put(name, photo)
    crawl = crawled(place)
    assert ids(crawl) == sorted(
        ["IMG_1.jpg", "2024/IMG_2.jpg", photo_id("Trashy street/IMG_3.jpg"), photo_id("@Dam/IMG_4.jpg"), "thumb.jpg"]
    )
    assert crawl.report.is_complete
    assert set(crawl.report.rejected) == {"ignored"}
    assert crawl.report.rejected["ignored"] == len({_first_skipped(name) for name in SKIPPED})


def _first_skipped(name: str) -> str:
    """What of a name is counted: a folder once, however much is in it."""
    parts, ignored = name.split("/"), Ignored()
    folders = ["/".join(parts[: n + 1]) + "/" for n in range(len(parts) - 1)]
    return next((folder for folder in folders if ignored(folder)), name)


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["drafts/"], ["a.jpg", "b/raw_1.jpg", "b/x.jpg"]),
        (["Drafts"], ["a.jpg", "b/raw_1.jpg", "b/x.jpg"]),
        (["raw_*"], ["a.jpg", "b/drafts/c.jpg", "b/x.jpg"]),
        (["/b/*", "!/b/x.jpg"], ["a.jpg", "b/x.jpg"]),
        (["/drafts/"], ["a.jpg", "b/drafts/c.jpg", "b/raw_1.jpg", "b/x.jpg"]),
        (["*.jpg", "!a.jpg"], ["a.jpg"]),
        (["**/c.jpg"], ["a.jpg", "b/raw_1.jpg", "b/x.jpg"]),
        (["!.hidden/"], [".hidden/d.jpg", "a.jpg", "b/drafts/c.jpg", "b/raw_1.jpg", "b/x.jpg"]),
    ],
)
def test_the_owners_patterns_are_those_of_a_gitignore(
    tmp_path: Path, photo: bytes, patterns: list[str], kept: list[str]
) -> None:
    place = Disk(tmp_path)
    for name in ("a.jpg", "b/drafts/c.jpg", "b/raw_1.jpg", "b/x.jpg", ".hidden/d.jpg"):
        place.put(name, photo)
    assert ids(crawled(place, *patterns)) == kept


def test_the_owners_patterns_are_a_setting(tmp_path: Path, photo: bytes) -> None:
    place = Disk(tmp_path / "photos")
    for name in ("a.jpg", "b/c.jpg", "IMG_1_edited.jpg"):
        place.put(name, photo)
    variables = {
        "GEOPIN_OWN_PHOTOS_DIR": str(place.path),
        "GEOPIN_OWN_PHOTOS_IGNORE": "/b/, *_edited.*",
        "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0",
        "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "x",
    }
    with open_source("own_photos", Settings(data_dir=tmp_path, variables=variables)) as source:
        assert ids(crawl_cell(source, CELL)) == ["a.jpg"]


def test_other_kinds_are_counted_by_kind_and_files_that_are_none_of_ours_are_not(place: Place, photo: bytes) -> None:
    for name in (
        "a.jpg",
        "a.CR2",
        "b.cr2",
        "walk.mp4",
        "notes.txt",
        "Thumbs.db",
        "posities.xlsx",
        "a.jpg.xmp",
        "IMG.insp",
    ):
        place.put(name, photo)
    crawl = crawled(place)
    assert ids(crawl) == ["a.jpg"]
    assert dict(crawl.report.rejected) == {
        "unsupported_cr2": 2,
        "unsupported_mp4": 1,
        "unsupported_xlsx": 1,
        "unsupported_insp": 1,
    }


def test_a_raw_file_beside_the_same_picture_is_that_picture_and_counted(place: Place, photo: bytes) -> None:
    for name in ("a.jpg", "A.DNG", "b/c.HEIC", "b/c.dng", "b/a.dng", "d.png", "d.dng"):
        place.put(name, photo)
    crawl = crawled(place)
    assert set(ids(crawl)) == {"a.jpg", "b/c.HEIC", "b/a.dng", "d.png", "d.dng"}
    assert dict(crawl.report.rejected) == {"second_file": 2}
    assert crawl.report.is_complete


@contextmanager
def closed(path: Path, mode: int = 0o000) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.mark.parametrize("what", ["closed.jpg", "sub/closed.jpg", "sub"])
def test_what_may_not_be_read_makes_the_crawl_incomplete_and_the_rest_is_kept(what: str, photo: bytes) -> None:
    with TemporaryDirectory() as name:
        place = Disk(Path(name))
        crawled(place)  # what is imported on the way must be able to be
        with as_nobody(Path(name)):
            for file in ("a.jpg", "closed.jpg", "sub/closed.jpg"):
                place.put(file, photo)
            assert crawled(place).report.is_complete
            with closed(Path(name) / what):
                crawl = crawled(place)
    assert "a.jpg" in ids(crawl) and len(crawl.captures) == 2
    assert [text.partition(" (")[2] for text in crawl.report.incomplete] == [
        f"the {'file' if what.endswith('jpg') else 'folder'} '{what}' cannot be read)"
    ]
    assert not crawl.report.rejected


def test_a_photo_that_is_closed_between_its_header_and_its_content_is_missed(photo: bytes) -> None:
    with TemporaryDirectory() as name:
        place = Disk(Path(name))
        with as_nobody(Path(name)):
            place.put("a.jpg", photo)
            source = OwnPhotos(place.folder, RIGHTS, now=lambda: NOW)
            crawl_cell(source, CELL)
            with closed(Path(name) / "a.jpg"):
                crawl = crawl_cell(source, CELL)
    assert (crawl.captures, crawl.report.is_complete) == ([], False)


class Failing(LocalFolder):
    """A disk with a bad sector, or a network disk that goes away in the middle."""

    def head(self, file: PhotoFile, size: int) -> tuple[PhotoFile, bytes]:
        if file.name == "bad.jpg":
            raise PhotoClosedError("cannot be read: Input/output error")
        return super().head(file, size)


def test_many_files_that_cannot_be_read_are_named_in_few_words(tmp_path: Path, photo: bytes) -> None:
    place = Disk(tmp_path)
    for name in ("a.jpg", "bad.jpg"):
        place.put(name, photo)
    crawl = crawl_cell(OwnPhotos(Failing(tmp_path), RIGHTS, now=lambda: NOW), CELL)
    assert (ids(crawl), crawl.report.is_complete) == (["a.jpg"], False)
    for number in range(9):
        (tmp_path / f"link{number}.jpg").symlink_to(tmp_path / "nowhere")
    crawl = crawled(place)
    assert len(crawl.report.incomplete) == 6 and "4 more" in crawl.report.incomplete[-1]


def test_a_link_to_itself_costs_that_photo_and_nothing_is_taken_for_gone(tmp_path: Path, photo: bytes) -> None:
    place = Disk(tmp_path)
    place.put("a.jpg", photo)
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    crawl = crawled(place)
    assert (ids(crawl), crawl.report.is_complete) == (["a.jpg"], False)
    with pytest.raises(PermanentError):
        LocalFolder(tmp_path).read("loop.jpg", 10)


def test_files_that_vanish_while_they_are_read_are_counted_and_nothing_is_taken_for_gone(
    tmp_path: Path, photo: bytes
) -> None:
    place = Disk(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        place.put(name, photo)

    class Vanishing(LocalFolder):
        def head(self, file: PhotoFile, size: int) -> tuple[PhotoFile, bytes]:
            (tmp_path / "b.jpg").unlink(missing_ok=True)
            return super().head(file, size)

    crawl = crawl_cell(OwnPhotos(Vanishing(tmp_path, readers=1), RIGHTS, now=lambda: NOW), CELL)
    assert (ids(crawl), dict(crawl.report.rejected), crawl.report.is_complete) == (["a.jpg"], {"no_image": 1}, False)


LONG = "a folder with a long name/" * 3


@pytest.mark.parametrize("mount", ["", "disk/", f"2024/{LONG}"])
@pytest.mark.parametrize("left_behind", [(), (".nomedia",), ("lost+found/x",)])
def test_photos_that_went_with_their_disk_are_not_taken_for_gone(
    tmp_path: Path, photo: bytes, mount: str, left_behind: tuple[str, ...]
) -> None:
    place = Disk(tmp_path)
    for name in (f"{mount}a.jpg", f"{mount}b/c.jpg", *(["other.jpg"] if mount else [])):
        place.put(name, photo)
    held = frozenset(ids(crawled(place)))
    shutil.rmtree(tmp_path / mount)
    (tmp_path / mount).mkdir(parents=True)
    for name in left_behind:
        place.put(mount + name, b"")
    again = crawl_cell(OwnPhotos(place.folder, RIGHTS, now=lambda: NOW), CELL, known=lambda box: held)
    assert not again.report.is_complete and "disk is not mounted" in again.report.incomplete[0]
    fresh = crawl_cell(OwnPhotos(place.folder, RIGHTS, now=lambda: NOW), CELL)
    assert fresh.report.is_complete  # nothing was there before


def test_photos_that_were_deleted_are_gone_whatever_is_empty_elsewhere(tmp_path: Path, photo: bytes) -> None:
    place = Disk(tmp_path)
    for name in ("a.jpg", "b.jpg", "2024/c.jpg"):
        place.put(name, photo)
    (tmp_path / "empty").mkdir()
    held = frozenset(ids(crawled(place)))
    place.remove("b.jpg")
    shutil.rmtree(tmp_path / "2024")
    again = crawl_cell(OwnPhotos(place.folder, RIGHTS, now=lambda: NOW), CELL, known=lambda box: held)
    assert (ids(again), again.report.is_complete) == (["a.jpg"], True)


@pytest.mark.parametrize("pattern", ["2024/*", "*.jpg", "2024/", "*"])
def test_photos_that_their_owner_withdraws_by_a_pattern_are_gone(place: Place, photo: bytes, pattern: str) -> None:
    for name in ("2024/a.jpg", "2024/b/c.jpg"):
        place.put(name, photo)
    held = frozenset(ids(crawled(place)))
    how = Reading(ignored=Ignored([pattern]))
    again = crawl_cell(OwnPhotos(place.folder, RIGHTS, how=how, now=lambda: NOW), CELL, known=lambda box: held)
    assert (again.captures, again.report.is_complete) == ([], True)


def test_a_bucket_that_is_empty_all_at_once_is_not_taken_for_gone(s3_url: str) -> None:
    folder = make_bucket(s3_url).folder
    known = frozenset(("a.jpg", photo_id(f"{LONG}a.jpg")))
    again = crawl_cell(OwnPhotos(folder, RIGHTS, now=lambda: NOW), CELL, known=lambda box: known)
    assert not again.report.is_complete and "the whole folder is empty" in again.report.incomplete[0]


def test_links_are_counted_and_not_followed_out_of_the_folder(tmp_path: Path, photo: bytes) -> None:
    Disk(tmp_path / "private").put("secret.jpg", photo)
    place = Disk(tmp_path / "photos")
    place.put("a.jpg", photo)
    (place.path / "link.jpg").symlink_to(tmp_path / "private" / "secret.jpg")
    (place.path / "inside.jpg").symlink_to(place.path / "a.jpg")
    (place.path / "folder").symlink_to(tmp_path / "private")
    os.mkfifo(place.path / "pipe.jpg")
    crawl = crawled(place)
    assert ids(crawl) == ["a.jpg", "inside.jpg"]
    assert crawl.report.rejected_examples == {
        "ignored": ["folder/ (a link)", "link.jpg (a link that leads out of the folder)"],
        "unreadable": ["pipe.jpg"],
    }


@pytest.mark.parametrize("pattern", ["!", "a[", "**"])
def test_a_pattern_that_is_none_is_named(tmp_path: Path, pattern: str) -> None:
    try:
        Ignored([pattern])("a.jpg")
    except ConfigurationError as error:
        assert "GEOPIN_OWN_PHOTOS_IGNORE" in str(error)
