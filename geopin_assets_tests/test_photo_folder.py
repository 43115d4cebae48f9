"""Folders of photos: one contract for disk and bucket, then what only a bucket can do to its readers."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import botocore.exceptions
import obstore.exceptions
import pytest
from obstore.store import S3Store

from geopin_assets.errors import (
    ConfigurationError,
    GeoPinError,
    PayloadError,
    PermanentError,
    TransientError,
)
from geopin_assets.photo_folder import (
    LocalFolder,
    PhotoClosedError,
    PhotoFile,
    PhotoFolder,
    PhotoGoneError,
    PhotoNotAllowedError,
    PhotoTooLargeError,
    is_photo,
    open_folder,
)
from geopin_assets.photo_folder.s3 import ATTEMPTS, S3Folder, connect_s3
from geopin_assets_tests.bucket import (
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    Bucket,
    Disk,
    Place,
    Recorder,
    connect,
    make_bucket,
    moto_server,
)
from geopin_assets_tests.embedding.image_server import ImageServer, body, image_server, status

ODD_NAMES = (
    "a.jpg",
    "B.JPEG",
    "drive-1/1.jpg",
    "drive/2.JPG",
    "straße 1/a#b?.jpg",
    "100%41+1 &é'\"<>.jpg",
    "~tilde*!().jpg",
    ".hidden.jpg",
)


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(s3_url: str) -> Bucket:
    return make_bucket(s3_url)


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Disk(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def names(folder: PhotoFolder) -> list[str]:
    return sorted(file.name for file in folder.files() if isinstance(file, PhotoFile) and is_photo(file.name))


def only(folder: PhotoFolder) -> PhotoFile:
    (file,) = (file for file in folder.files() if isinstance(file, PhotoFile))
    return file


def test_files_are_listed_by_their_relative_names_and_photos_are_told_from_others(place: Place) -> None:
    others = ("positions.csv", "a.gif", "jpg", "drive/notes.txt")
    for name in (*ODD_NAMES, *others):
        place.put(name, name.encode())
    assert names(place.folder) == sorted(ODD_NAMES)
    assert {file.name for file in place.folder.files() if isinstance(file, PhotoFile)} == {*ODD_NAMES, *others}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_what_is_listed_can_be_read_whatever_its_name(place: Place, name: str) -> None:
    place.put(name, b"content of " + name.encode())
    file = only(place.folder)
    assert place.folder.head(file, 7)[1] == b"content"
    assert place.folder.read(file.name, 1000) == b"content of " + name.encode()


def test_a_head_is_never_longer_than_asked_for_and_shorter_only_for_a_smaller_file(place: Place) -> None:
    place.put("a.jpg", bytes(1000))
    heads = [len(place.folder.head(only(place.folder), size)[1]) for size in (1, 999, 1000, 1001, 2**20)]
    assert heads == [1, 999, 1000, 1000, 1000]


def test_an_empty_file_is_empty_and_no_error(place: Place) -> None:
    place.put("a.jpg", b"")
    assert place.folder.head(only(place.folder), 100)[1] == b""
    assert place.folder.read("a.jpg", 100) == b""


def test_the_version_changes_with_the_content_alone(place: Place) -> None:
    versions = []
    for content in (b"one", b"two", b"one"):
        place.put("a.jpg", content)
        file, _ = place.folder.head(only(place.folder), 10)
        versions.append(place.folder.version(file))
    assert versions[0] == versions[2] != versions[1]
    assert all(version and '"' not in version for version in versions)


def test_a_version_is_that_of_the_content_that_was_read_and_not_of_the_listing(place: Place) -> None:
    place.put("a.jpg", b"old")
    listed = only(place.folder)
    place.put("a.jpg", b"new")
    read, data = place.folder.head(listed, 10)
    assert data == b"new"
    assert place.folder.version(read) == place.folder.version(only(place.folder))


def test_a_file_larger_than_the_limit_is_not_read(place: Place) -> None:
    place.put("a.jpg", bytes(101))
    assert len(place.folder.read("a.jpg", 101)) == 101
    with pytest.raises(PhotoTooLargeError):
        place.folder.read("a.jpg", 100)


@pytest.mark.parametrize(
    "read",
    [
        lambda folder, name: folder.read(name, 10),
        lambda folder, name: folder.head(PhotoFile(name), 10),
    ],
)
def test_a_file_that_is_not_there_is_gone(place: Place, read: Callable[[PhotoFolder, str], Any]) -> None:
    place.put("a.jpg", b"here")
    listed = only(place.folder)
    place.remove("a.jpg")
    with pytest.raises(PhotoGoneError):
        read(place.folder, listed.name)


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "../photos2/secret.jpg"])
def test_names_that_lead_out_of_the_folder_are_refused(place: Place, name: str) -> None:
    place.put("a/b.jpg", b"here")
    with pytest.raises(PhotoNotAllowedError):
        place.folder.read(name, 10)


def test_an_empty_folder_has_no_photos(bucket: Bucket, tmp_path: Path) -> None:
    assert names(bucket.folder) == names(LocalFolder(tmp_path)) == []


def test_a_folder_that_is_not_there_names_what_to_check(bucket: Bucket, tmp_path: Path) -> None:
    missing = S3Folder("no-such-bucket", connect=lambda _: bucket.client)
    for folder in (missing, LocalFolder(tmp_path / "unmounted")):
        for act in (lambda f: list(f.files()), lambda f: f.head(PhotoFile("a.jpg"), 1), lambda f: f.read("a.jpg", 1)):
            with pytest.raises(ConfigurationError, match="GEOPIN_OWN_PHOTOS_DIR"):
                act(folder)


@contextmanager
def anybody() -> Iterator[None]:
    """Whom files can be kept from: root reads everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_file_that_may_not_be_read_is_a_failure_of_that_file() -> None:
    with TemporaryDirectory() as name:  # which anybody may enter, unlike pytest's
        folder = Path(name)
        folder.chmod(0o755)
        for file, mode in (("a.jpg", 0), ("b.jpg", 0o444)):
            Disk(folder).put(file, b"secret")
            (folder / file).chmod(mode)
        with anybody():
            assert LocalFolder(folder).read("b.jpg", 100) == b"secret"
            with pytest.raises(PermanentError):
                LocalFolder(folder).read("a.jpg", 100)


# buckets


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://b/p/q", ("b", "p/q/")),
        ("s3://b/p/q/", ("b", "p/q/")),
        ("s3://b", ("b", "")),
        ("S3://b//", ("b", "")),
    ],
)
def test_an_address_names_a_bucket_and_a_prefix(address: str, expected: tuple[str, str]) -> None:
    folder = open_folder(address)
    assert isinstance(folder, S3Folder)
    assert (folder.bucket, folder.prefix) == expected


@pytest.mark.parametrize("address", ["s3://", "s3:///a", "gs://b/p", "https://b.example/p", "file:///data"])
def test_any_other_address_with_a_scheme_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix"):
        open_folder(address)


def test_an_address_without_a_scheme_is_a_path() -> None:
    assert open_folder("/data/photos") == LocalFolder(Path("/data/photos"))
    assert open_folder("~/photos") == LocalFolder(Path.home() / "photos")


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(bucket: Bucket) -> None:
    bucket.put("a.jpg", b"")
    for key in ("survey/photos2/b.jpg", "survey/photos.jpg", "survey/photos-old/c.jpg", "d.jpg"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"")
    assert names(bucket.folder) == ["a.jpg"]
    whole = S3Folder(bucket.name, connect=lambda _: bucket.client)
    assert len(names(whole)) == 5
    assert whole.read("d.jpg", 10) == b""


def test_folders_that_browsers_of_buckets_make_are_no_photos(bucket: Bucket) -> None:
    for name in ("", "drive/", "drive.jpg/", "drive.jpg/1.jpg"):
        bucket.put(name, b"")
    assert names(bucket.folder) == ["drive.jpg/1.jpg"]


def test_keys_that_others_take_for_paths_are_listed_and_never_asked_for(bucket: Bucket) -> None:
    odd = ["a//b.jpg", "./c.jpg", "d/../e.jpg"]
    recorder = Recorder(bucket.client)
    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: recorder)
    for name in odd:
        with pytest.raises(PhotoNotAllowedError):
            folder.head(PhotoFile(name), 10)
    assert recorder.asked == []


def test_a_listing_of_many_pages_is_complete_and_read_as_it_is_needed(bucket: Bucket) -> None:
    for number in range(30):
        bucket.put(f"{number:03d}.jpg", b"")

    class SmallPages(Recorder):
        def list_objects_v2(self, **how: Any) -> Any:
            return super().list_objects_v2(**how, MaxKeys=7)

    recorder = SmallPages(bucket.client)
    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: recorder)
    assert len(list(islice(folder.files(), 3))) == 3
    assert len(recorder.asked) == 1
    assert names(folder) == [f"{number:03d}.jpg" for number in range(30)]
    assert len(recorder.asked) == 1 + 5


def test_only_the_beginning_of_a_large_photo_travels(bucket: Bucket) -> None:
    bucket.put("a.jpg", bytes(5_000_000))
    recorder = Recorder(bucket.client)
    folder = S3Folder(bucket.name, bucket.prefix, connect=lambda _: recorder)
    folder.head(PhotoFile("a.jpg"), 65536)
    assert recorder.asked[0]["Range"] == "bytes=0-65535"
    assert recorder.taken == 65536


def test_a_limit_is_kept_without_reading_the_body(bucket: Bucket) -> None:
    bucket.put("a.jpg", bytes(5_000_000))
    recorder = Recorder(bucket.client)
    with pytest.raises(PhotoTooLargeError):
        S3Folder(bucket.name, bucket.prefix, connect=lambda _: recorder).read("a.jpg", 1_000_000)
    assert recorder.taken == 0


def test_importing_the_folder_and_the_definitions_loads_no_boto3() -> None:
    code = (
        "import sys, geopin_assets.photo_folder, geopin_assets.sources, geopin_assets.embedding.fetching;"
        "print([name for name in sys.modules if name.startswith(('boto', 'urllib3'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# a server that fails


class Always(dict[str, Any]):
    """One answer after another whatever the path, the last one for good."""

    def __init__(self, *responses: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.responses = list(responses)
        self.headers: list[str] = []

    def get(self, path: str, default: Any = None) -> Any:
        return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running


def xml_error(code: int, name: str, message: str = "") -> Callable[[BaseHTTPRequestHandler], None]:
    data = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>{message}</Message></Error>".encode()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return respond


def of_server(server: ImageServer, *responses: Callable[[BaseHTTPRequestHandler], None]) -> S3Folder:
    server.routes = Always(*responses)
    return S3Folder("bucket", "p", server.url(""), connect=connect, sleep=lambda _: None)


def listing(*keys: str, following: str = "", is_truncated: bool = False) -> bytes:
    entries = "".join(f"<Contents><Key>{key}</Key><ETag>&quot;1&quot;</ETag></Contents>" for key in keys)
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return (
        f"<ListBucketResult><IsTruncated>{str(is_truncated).lower()}</IsTruncated>{entries}{token}</ListBucketResult>"
    ).encode()


@pytest.mark.parametrize(
    ("answer", "expected", "asked"),
    [
        (xml_error(503, "SlowDown"), TransientError, ATTEMPTS),
        (xml_error(500, "InternalError"), TransientError, ATTEMPTS),
        (xml_error(429, "TooManyRequests"), TransientError, ATTEMPTS),
        (xml_error(400, "RequestTimeout"), TransientError, ATTEMPTS),
        (xml_error(403, "AccessDenied"), ConfigurationError, 1),
        (xml_error(403, "InvalidAccessKeyId"), ConfigurationError, 1),
        (xml_error(403, "SignatureDoesNotMatch"), ConfigurationError, 1),
        (xml_error(401, "Unauthorized"), ConfigurationError, 1),
        (xml_error(404, "NoSuchBucket"), ConfigurationError, 1),
        (body(b"<html><body>Welcome</body></html>"), PayloadError, 1),
        (body(b"Welcome"), TransientError, ATTEMPTS),
        (body(b""), PayloadError, 1),
        (body(listing("p/a.jpg", is_truncated=True)), PayloadError, 1),
        (status(404), ConfigurationError, 1),
        (status(502), TransientError, ATTEMPTS),
    ],
    ids=lambda value: getattr(value, "__name__", None) if isinstance(value, type) else None,
)
def test_a_listing_that_fails_is_an_error_of_its_class_and_never_an_empty_folder(
    server: ImageServer, answer: Any, expected: type[GeoPinError], asked: int
) -> None:
    with pytest.raises(expected, match="s3://bucket/p/") as caught:
        list(of_server(server, answer).files())
    assert type(caught.value) is expected
    assert server.hits.total() == asked


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (xml_error(404, "NoSuchKey"), PhotoGoneError),
        (xml_error(404, "NoSuchBucket"), ConfigurationError),
        (xml_error(403, "AccessDenied"), ConfigurationError),
        (xml_error(403, "InvalidObjectState"), PhotoClosedError),
        (xml_error(400, "InvalidRequest"), PermanentError),
        (xml_error(503, "SlowDown"), TransientError),
        (body(bytes(10), announced=1000), TransientError),
    ],
)
def test_an_object_that_fails_is_an_error_of_its_class(
    server: ImageServer, answer: Any, expected: type[GeoPinError]
) -> None:
    folder = of_server(server, answer)
    for act in (lambda: folder.read("a.jpg", 10_000), lambda: folder.head(PhotoFile("a.jpg"), 5000)):
        with pytest.raises(expected) as caught:
            act()
        assert type(caught.value) is expected


def test_what_fails_once_is_asked_again_in_the_middle_of_a_listing_or_a_body_too(server: ImageServer) -> None:
    first, second = listing("p/a.jpg", following="more", is_truncated=True), listing("p/b.jpg")
    folder = of_server(server, xml_error(503, "SlowDown"), body(first), xml_error(500, "InternalError"), body(second))
    assert names(folder) == ["a.jpg", "b.jpg"]
    folder = of_server(server, body(b"half", announced=8), body(b"complete"))
    assert folder.read("a.jpg", 100) == b"complete"


def test_a_listing_that_goes_round_in_circles_ends(server: ImageServer) -> None:
    folder = of_server(server, body(listing("p/a.jpg", following="same", is_truncated=True)))
    with pytest.raises(PayloadError):
        list(folder.files())
    assert server.hits.total() == 2


def test_a_server_that_ignores_ranges_still_gives_the_beginning(server: ImageServer) -> None:
    folder = of_server(server, body(b"x" * 3_000_000))
    assert folder.head(PhotoFile("a.jpg"), 100)[1] == b"x" * 100


def test_a_server_that_is_not_there_is_a_passing_failure(server: ImageServer) -> None:
    url = server.url("")
    server.shutdown()
    server.server_close()
    folder = S3Folder("bucket", "p", url, connect=connect, sleep=lambda _: None)
    with pytest.raises(TransientError, match="EndpointConnectionError"):
        list(folder.files())


def test_a_body_that_drips_is_given_up(server: ImageServer) -> None:
    times = iter(range(0, 10_000, 31))
    folder = S3Folder("bucket", "p", server.url(""), connect=connect, clock=lambda: next(times), sleep=lambda _: None)
    server.routes = Always(body(bytes(4 * 2**20)))
    with pytest.raises(TransientError, match="60 s"):
        folder.read("a.jpg", 2**30)


def test_no_message_holds_what_the_server_or_the_library_wrote(server: ImageServer) -> None:
    told = f"{ACCESS_KEY_ID} {SECRET_ACCESS_KEY} Signature=abc123"
    for answer in (xml_error(403, "AccessDenied", told), xml_error(500, "InternalError", told)):
        with pytest.raises(GeoPinError) as caught:
            list(of_server(server, answer).files())
        for secret in (ACCESS_KEY_ID, SECRET_ACCESS_KEY, "abc123"):
            assert secret not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "expected", "named"),
    [
        (botocore.exceptions.NoCredentialsError(), ConfigurationError, "AWS_ACCESS_KEY_ID"),
        (
            botocore.exceptions.PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"),
            ConfigurationError,
            "AWS_SECRET_ACCESS_KEY",
        ),
        (botocore.exceptions.ProfileNotFound(profile="survey"), ConfigurationError, "AWS_"),
        (botocore.exceptions.ParamValidationError(report="Bucket"), ConfigurationError, "GEOPIN_OWN_PHOTOS_DIR"),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://x"), TransientError, "s3://bucket/"),
        (botocore.exceptions.SSLError(endpoint_url="http://x", error="x"), TransientError, "s3://bucket/"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), TransientError, "s3://bucket/"),
    ],
)
def test_what_the_library_raises_is_classed(error: Exception, expected: type[GeoPinError], named: str) -> None:
    class Broken:
        def list_objects_v2(self, **how: Any) -> Any:
            raise error

    folder = S3Folder("bucket", connect=lambda _: Broken(), sleep=lambda _: None)
    with pytest.raises(expected, match=named):
        list(folder.files())


def test_a_mistake_of_our_own_is_not_taken_for_one_of_the_bucket() -> None:
    class Wrong:
        def list_objects_v2(self, **how: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(S3Folder("bucket", connect=lambda _: Wrong()).files())


def test_an_endpoint_that_is_no_address_is_named() -> None:
    with pytest.raises(ConfigurationError, match="GEOPIN_S3_ENDPOINT_URL"):
        list(S3Folder("bucket", "", "not an address").files())


def test_servers_of_ones_own_are_asked_by_path_and_amazon_as_it_likes() -> None:
    assert connect_s3("http://127.0.0.1:1").meta.config.s3 == {"addressing_style": "path"}
    assert connect_s3("").meta.config.s3 is None


def test_what_keeps_buckets_of_photos_off_obstore_still_holds(server: ImageServer) -> None:
    """docs/decisions/2026-11-29-own-photos-with-boto3.md: once this fails, obstore may replace boto3."""

    def listed(answer: bytes) -> list[str]:
        server.routes = Always(body(answer))
        at = {"endpoint": server.url(""), "access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
        store = S3Store("bucket", config=at, client_options={"allow_http": True}, retry_config={"max_retries": 0})
        return [found["path"] for page in store.list() for found in page]

    entry = "<Contents><Key>a.jpg</Key><LastModified>2026-01-01T00:00:00Z</LastModified><Size>1</Size></Contents>"
    assert listed(b"<html><body>Welcome</body></html>") == []
    assert listed(f"<ListBucketResult><IsTruncated>true</IsTruncated>{entry}</ListBucketResult>".encode()) == ["a.jpg"]
    with pytest.raises(obstore.exceptions.InvalidPathError):
        listed(f"<ListBucketResult>{entry}{entry.replace('a.jpg', 'b//c.jpg')}</ListBucketResult>".encode())
