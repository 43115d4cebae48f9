"""Own photos in a bucket: the same captures as from a folder, for few bytes and many at once."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets.errors import ConfigurationError, TransientError
from geopin_assets.photo_folder import LocalFolder, PhotoFile
from geopin_assets.photo_folder.s3 import S3Folder
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell, crawl_cells
from geopin_assets.sources.own_photos import OwnPhotos, photo_folder
from geopin_assets_tests.bucket import Bucket, Disk, Place, Recorder, make_bucket, moto_server, put_all
from geopin_assets_tests.sources.own_photos.test_source import ELSEWHERE
from geopin_assets_tests.sources.recordings.own_photos import CELL, EXPECTED, NOW, REJECTED, RIGHTS, build, write_photo


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(s3_url: str) -> Bucket:
    return make_bucket(s3_url)


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Disk(tmp_path / "photos") if request.param == "disk" else request.getfixturevalue("bucket")


def source_of(folder: Any) -> OwnPhotos:
    return OwnPhotos(folder, RIGHTS, now=lambda: NOW)


def crawled(place: Place) -> CellCrawl:
    return crawl_cell(source_of(place.folder), CELL)


def photo(tmp_path: Path, **options: Any) -> bytes:
    return write_photo(tmp_path / "made" / f"{uuid4()}.jpg", **options).read_bytes()


@pytest.fixture
def recorded(place: Place, tmp_path: Path) -> Place:
    build(tmp_path / "recorded")
    put_all(place, tmp_path / "recorded")
    return place


def test_the_recorded_photos_become_the_same_captures(recorded: Place) -> None:
    crawl = crawled(recorded)
    assert [replace(c, payload="{}", image_version="") for c in crawl.captures] == EXPECTED
    assert all(c.image_version for c in crawl.captures)
    assert dict(crawl.report.rejected) == REJECTED


def test_many_cells_at_once_look_once_and_lose_nothing(recorded: Place) -> None:
    outcomes = [crawl for _, crawl in crawl_cells(source_of(recorded.folder), [CELL, *[ELSEWHERE] * 9], concurrency=8)]
    assert sum(crawl.report.rejected.total() for crawl in outcomes) == 3
    assert sum(len(crawl.captures) for crawl in outcomes) == 2


def test_a_table_of_positions_wins_and_names_what_is_missing(place: Place, tmp_path: Path) -> None:
    place.put("sub/a b.jpg", photo(tmp_path, lon=None))
    place.put("positions.csv", b"file,lat,lon\nsub/a b.jpg,52.365,4.9\ntypo.jpg,52.37,4.9\n")
    crawl = crawled(place)
    (capture,) = crawl.captures
    assert (capture.lon, capture.lat, capture.image_url) == (4.9, 52.365, "own-photos:sub/a%20b.jpg")
    assert dict(crawl.report.rejected) == {"no_image": 1}


@pytest.mark.parametrize("padding", [0, 70_000, 3_000_000])
def test_a_header_is_found_however_much_stands_before_its_end(place: Place, tmp_path: Path, padding: int) -> None:
    data = photo(tmp_path)
    segments = b"".join(b"\xff\xe5" + (2 + 60_000).to_bytes(2) + bytes(60_000) for _ in range(padding // 60_000))
    place.put("a.jpg", data[:2] + segments + data[2:])
    (capture,) = crawled(place).captures
    assert (capture.lon, capture.heading_deg) == (4.895, 90.0)


def test_only_headers_travel_and_those_that_are_no_jpeg_cost_one_request(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(20):
        bucket.put(f"{number}.jpg", photo(tmp_path) + bytes(1_000_000))
    bucket.put("noise.jpg", b"\xff\xd8" + bytes(5_000_000))
    bucket.put("text.jpg", b"x" * 5_000_000)
    recorder = Recorder(bucket.client)
    crawl = crawl_cell(source_of(S3Folder(bucket.name, bucket.prefix, connect=lambda _: recorder)), CELL)
    assert len(crawl.captures) == 20
    assert dict(crawl.report.rejected) == {"unreadable": 2}
    assert recorder.taken < 23 * 65_536
    assert len(recorder.asked) == 1 + 22  # one page, one part of each photo


def test_headers_are_read_many_at_once(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(16):
        bucket.put(f"{number}.jpg", photo(tmp_path))
    meeting = Barrier(8, timeout=60)

    class Together(Recorder):
        def get_object(self, **how: Any) -> Any:
            if "Range" in how:
                meeting.wait()  # breaks, and fails the crawl, unless eight are under way at once
            return super().get_object(**how)

    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: Together(bucket.client))
    assert len(crawl_cell(source_of(folder), CELL).captures) == 16


class Meddling(Recorder):
    """Something happens to an object between its listing and the first look at it."""

    def __init__(self, client: Any, happens: Callable[[], None]) -> None:
        super().__init__(client)
        self.happens = happens

    def list_objects_v2(self, **how: Any) -> Any:
        page = super().list_objects_v2(**how)
        self.happens()
        return page


def test_a_photo_that_vanishes_after_the_listing_is_left_out_for_that_reason(bucket: Bucket, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        bucket.put(name, photo(tmp_path))
    client = Meddling(bucket.client, lambda: bucket.remove("a.jpg"))
    crawl = crawl_cell(source_of(S3Folder(bucket.name, bucket.prefix, connect=lambda _: client)), CELL)
    assert [capture.source_capture_id for capture in crawl.captures] == ["b.jpg"]
    assert dict(crawl.report.rejected) == {"no_image": 1}


def test_a_photo_that_changes_after_the_listing_has_place_and_version_of_one_content(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("a.jpg", photo(tmp_path, lon=4.9))
    new = photo(tmp_path, lon=4.89)
    client = Meddling(bucket.client, lambda: bucket.put("a.jpg", new))
    (capture,) = crawl_cell(source_of(S3Folder(bucket.name, bucket.prefix, connect=lambda _: client)), CELL).captures
    (listed,) = bucket.folder.files()
    assert (capture.lon, capture.image_version) == (4.89, listed.version)


def test_a_bucket_that_fails_fails_every_cell_and_is_asked_once(bucket: Bucket) -> None:
    missing = Recorder(bucket.client)
    source = source_of(S3Folder("no-such-bucket", "", connect=lambda _: missing))
    outcomes = [outcome for _, outcome in crawl_cells(source, [CELL, *[ELSEWHERE] * 9])]
    assert len(outcomes) == 10
    assert all(isinstance(outcome, ConfigurationError) for outcome in outcomes)
    assert all("own_photos: s3://no-such-bucket/" in str(outcome) for outcome in outcomes)
    assert len(missing.asked) == 1


def test_a_photo_that_cannot_be_read_now_fails_the_crawl_instead_of_losing_the_photo(
    bucket: Bucket, tmp_path: Path
) -> None:
    for number in range(40):
        bucket.put(f"{number}.jpg", photo(tmp_path))

    class Breaking(Recorder):
        def get_object(self, **how: Any) -> Any:
            if how["Key"].endswith("/17.jpg"):
                raise ConnectionResetError
            return super().get_object(**how)

    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: Breaking(bucket.client), sleep=lambda _: None)
    with pytest.raises(TransientError, match=r"own_photos: s3://.*/17\.jpg"):
        crawl_cell(source_of(folder), CELL)


def run_of(client: Any, bucket: Bucket, memory: Path) -> CellCrawl:
    """A run of its own: what it knows of earlier ones is in the memory."""
    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: client, sleep=lambda _: None)
    return crawl_cell(OwnPhotos(folder, RIGHTS, memory=memory, now=lambda: NOW), CELL)


def headers_asked(recorder: Recorder) -> list[str]:
    asked = sorted(how["Key"].rpartition("/")[2] for how in recorder.asked if "Range" in how)
    recorder.asked.clear()
    return asked


def test_a_later_run_reads_only_what_is_new_or_changed(bucket: Bucket, tmp_path: Path) -> None:
    memory, recorder = tmp_path / "data" / "headers.sqlite", Recorder(bucket.client)
    pano = b"<x>GPano:ProjectionType='equirectangular'</x>"
    bucket.put("a.jpg", photo(tmp_path, xmp=pano))
    bucket.put("b.jpg", photo(tmp_path, direction=None, time=None))
    bucket.put("broken.jpg", b"no photo")
    first = run_of(recorder, bucket, memory)
    assert headers_asked(recorder) == ["a.jpg", "b.jpg", "broken.jpg"]

    second = run_of(recorder, bucket, memory)
    assert headers_asked(recorder) == []
    assert second.captures == first.captures
    assert len(second.captures) == 2
    assert second.report.rejected == first.report.rejected == {"unreadable": 1}

    bucket.put("b.jpg", photo(tmp_path, lon=4.89))
    bucket.put("c.jpg", photo(tmp_path))
    third = run_of(recorder, bucket, memory)
    assert headers_asked(recorder) == ["b.jpg", "c.jpg"]
    assert [capture.lon for capture in third.captures] == [4.895, 4.89, 4.895]


def test_what_is_remembered_of_a_photo_goes_with_it(bucket: Bucket, tmp_path: Path) -> None:
    memory = tmp_path / "headers.sqlite"
    for name in ("a.jpg", "b.jpg"):
        bucket.put(name, photo(tmp_path))
    run_of(bucket.client, bucket, memory)
    bucket.remove("a.jpg")
    run_of(bucket.client, bucket, memory)
    with closing(sqlite3.connect(memory)) as db:
        assert db.execute("select name from headers").fetchall() == [("b.jpg",)]


def test_what_other_code_has_read_is_read_again_and_dropped(bucket: Bucket, tmp_path: Path) -> None:
    memory, recorder = tmp_path / "headers.sqlite", Recorder(bucket.client)
    bucket.put("a.jpg", photo(tmp_path))
    run_of(bucket.client, bucket, memory)
    with closing(sqlite3.connect(memory)) as db, db:
        db.execute("update headers set folder = 's3://x 0123456789abcdef'")
    assert len(run_of(recorder, bucket, memory).captures) == 1
    assert headers_asked(recorder) == ["a.jpg"]
    with closing(sqlite3.connect(memory)) as db:
        assert db.execute("select count(*) from headers").fetchone() == (1,)


@pytest.mark.parametrize("damage", ["update headers set header = x'00'", "update headers set header = '{}'", None])
def test_a_damaged_memory_costs_nothing_but_time(bucket: Bucket, tmp_path: Path, damage: str | None) -> None:
    memory = tmp_path / "headers.sqlite"
    bucket.put("a.jpg", photo(tmp_path))
    run_of(bucket.client, bucket, memory)
    if damage:
        with closing(sqlite3.connect(memory)) as db, db:
            db.execute(damage)
    else:
        memory.write_bytes(b"not a database" * 1000)
    recorder = Recorder(bucket.client)
    assert len(run_of(recorder, bucket, memory).captures) == 1
    assert headers_asked(recorder) == ["a.jpg"]
    run_of(recorder, bucket, memory)
    assert headers_asked(recorder) == []


def test_a_look_that_failed_is_continued_where_it_broke(bucket: Bucket, tmp_path: Path) -> None:
    memory = tmp_path / "headers.sqlite"
    for number in range(200):
        bucket.put(f"{number:03d}.jpg", photo(tmp_path) if not number else b"")

    class Breaking(Recorder):
        def get_object(self, **how: Any) -> Any:
            if how["Key"].endswith("/199.jpg"):
                raise ConnectionResetError
            return super().get_object(**how)

    bucket.put("199.jpg", photo(tmp_path))
    with pytest.raises(TransientError):
        run_of(Breaking(bucket.client), bucket, memory)
    recorder = Recorder(bucket.client)
    run_of(recorder, bucket, memory)
    assert headers_asked(recorder) == ["199.jpg"]


def test_a_folder_on_disk_leaves_no_memory(tmp_path: Path) -> None:
    write_photo(tmp_path / "1.jpg")
    source = OwnPhotos(LocalFolder(tmp_path), RIGHTS, memory=tmp_path / "headers.sqlite", now=lambda: NOW)
    assert crawl_cell(source, CELL).captures
    assert not (tmp_path / "headers.sqlite").exists()


STATED = {
    "GEOPIN_OWN_PHOTOS_DIR": "s3://survey/2026",
    "GEOPIN_OWN_PHOTOS_LICENSE": "CC-BY-4.0",
    "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "Survey",
    "GEOPIN_S3_ENDPOINT_URL": "https://account.r2.cloudflarestorage.com",
}


def test_a_bucket_is_a_setting_like_a_folder() -> None:
    folder = photo_folder(Settings(profile=Profile.LIVE, variables=STATED))
    assert isinstance(folder, S3Folder)
    assert (folder.bucket, folder.prefix, folder.endpoint_url) == ("survey", "2026/", STATED["GEOPIN_S3_ENDPOINT_URL"])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"GEOPIN_OWN_PHOTOS_DIR": "s3://"}, "GEOPIN_OWN_PHOTOS_DIR"),
        ({"GEOPIN_OWN_PHOTOS_DIR": "gs://survey/2026"}, "GEOPIN_OWN_PHOTOS_DIR"),
        ({"GEOPIN_S3_ENDPOINT_URL": "account.r2.cloudflarestorage.com"}, "GEOPIN_S3_ENDPOINT_URL"),
        ({"GEOPIN_S3_ENDPOINT_URL": "https://key:secret@r2.example"}, "GEOPIN_S3_ENDPOINT_URL"),
    ],
)
def test_a_wrong_address_switches_the_source_off_and_is_named_without_repeating_it(
    wrong: dict[str, str], named: str
) -> None:
    settings = Settings(profile=Profile.LIVE, variables=STATED | wrong)
    reason = OwnPhotos.disabled_reason(settings) or ""
    assert named in reason
    assert "secret" not in reason


def test_an_installation_crawls_and_fetches_from_its_bucket(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    data = photo(tmp_path)
    bucket.put("straße 1/a+b.jpg", data)
    endpoint_url = bucket.client.meta.endpoint_url
    settings = Settings(
        profile=Profile.LIVE,
        data_dir=tmp_path / "data",
        variables=STATED | {"GEOPIN_OWN_PHOTOS_DIR": bucket.address, "GEOPIN_S3_ENDPOINT_URL": endpoint_url},
    )
    with open_source("own_photos", settings) as source:
        (capture,) = crawl_cell(source, CELL).captures
    assert fetched(ImageFetcher(own_photos=photo_folder(settings)), capture.image_url) == data


def fetched(fetcher: ImageFetcher, url: str) -> bytes | Failure:
    async def run() -> bytes | Failure:
        async with fetcher.session() as fetch:
            return await fetch(url)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("own-photos:gone.jpg", {}, FailureReason.NOT_FOUND),
        ("own-photos:..%2Fa.jpg", {}, FailureReason.NOT_ALLOWED),
        ("own-photos:", {}, FailureReason.NOT_ALLOWED),
        ("own-photos:a.jpg", {"max_bytes": 10}, FailureReason.TOO_LARGE),
    ],
)
def test_an_image_that_cannot_be_had_is_a_failure_with_a_reason(
    bucket: Bucket, url: str, options: dict[str, Any], reason: FailureReason
) -> None:
    bucket.put("a.jpg", bytes(100))
    outcome = fetched(ImageFetcher(own_photos=bucket.folder, **options), url)
    assert isinstance(outcome, Failure)
    assert outcome.reason is reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TransientError("later"), FailureReason.UNREACHABLE),
        (ConfigurationError("key"), FailureReason.REFUSED),
    ],
)
def test_a_bucket_that_cannot_be_asked_now_gives_no_image_up(error: Exception, reason: FailureReason) -> None:
    class Broken(S3Folder):
        def read(self, name: str, limit: int) -> bytes:
            raise error

    outcome = fetched(ImageFetcher(own_photos=Broken("bucket")), "own-photos:a.jpg")
    assert isinstance(outcome, Failure)
    assert outcome.reason is reason
    assert outcome.reason.is_transient


def test_a_name_longer_than_an_id_is_kept_whole_in_its_address(place: Place, tmp_path: Path) -> None:
    name = "/".join(["part" * 20] * 3) + "/é.jpg"
    place.put(name, photo(tmp_path))
    (capture,) = crawled(place).captures
    assert place.folder.read(name, 10**6)
    assert PhotoFile(name) in [PhotoFile(file.name) for file in place.folder.files()]
    assert capture.source_capture_id.startswith("~")
