"""A folder of photos under a prefix of a bucket: Amazon S3, Cloudflare R2, or any server that speaks S3.

Here: listing and reading objects, and what boto3 raises put into the project's errors, by what another attempt or
another setting would change. Messages name the object, the code and the status of the answer, nothing that the server
or the library wrote: that can hold a key id, a signature or a token. boto3 is imported when the bucket is first asked,
as loading it takes longer than all the rest of the definitions. Credentials, region and the like come from the
environment as boto3 reads it (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, …).

Keys are names, not paths: one with `..`, `.` or an empty part is listed and never read, as servers and
libraries in between take it for a path. Keys that end in `/` are the "folders" that browsers of buckets make.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from threading import Lock
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import ConfigurationError, GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.photo_folder import (
    Lost,
    PhotoClosedError,
    PhotoFile,
    PhotoGoneError,
    PhotoNotAllowedError,
    PhotoTooLargeError,
    Skip,
)
from geopin_assets.photo_folder.names import is_inside, is_photo
from geopin_assets.s3_access import S3Access

READERS = 32
ATTEMPTS = 4
DEADLINE_S = 60.0
_CHUNK_BYTES = 2**20
_PASSING = {408, 425, 429}
_PASSING_CODES = {"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "ThrottlingException"}
_PLACE_CODES = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}
_ARCHIVED = "InvalidObjectState"  # a 403 that is about one object, not about who asks
_SETTINGS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

Connect = Callable[[str], Any]
"""A boto3 S3 client for an endpoint (empty: boto3's own)."""


class S3Folder:
    """The photos under `s3://bucket/prefix/`. `connect`, `clock` and `sleep` are the outside world."""

    readers = READERS

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint_url: str = "",
        *,
        access: S3Access | None = None,
        connect: Connect | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        stripped = prefix.strip("/")
        self.bucket, self.prefix, self.endpoint_url = bucket, f"{stripped}/" if stripped else "", endpoint_url
        self._connect, self._clock = connect or partial(connect_s3, access=access), clock
        self._connecting, self._connected = Lock(), None
        self._retrying = lambda: Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(max=10),
            sleep=sleep,
            reraise=True,
        )

    def __repr__(self) -> str:
        return f"S3Folder(s3://{self.bucket}/{self.prefix})"

    def files(self, skip: Skip = lambda name: False) -> Iterator[PhotoFile | Rejected | Lost]:
        """Page by page: a prefix may hold more keys than fit in memory."""
        token, verdicts, is_empty = "", dict[str, bool](), True
        while True:
            page = self._retrying()(self._page, token)
            for entry in page.get("Contents", ()):
                name, is_empty = entry["Key"].removeprefix(self.prefix), False
                yield from _unless_skipped(PhotoFile(name, _version(entry)), skip, verdicts)
            if not page["IsTruncated"]:
                if is_empty:
                    yield Lost("", is_empty=True)
                return
            token = page["NextContinuationToken"]

    def head(self, file: PhotoFile, size: int) -> tuple[PhotoFile, bytes]:
        try:
            answer, data = self._retrying()(self._get, file.name, size, {"Range": f"bytes=0-{size - 1}"})
        except NothingInRangeError:
            return file, b""
        return PhotoFile(file.name, _version(answer)), data

    def version(self, file: PhotoFile) -> str:
        """The ETag, as seen when the file was last read."""
        return file.version

    def read(self, name: str, limit: int) -> bytes:
        _, data = self._retrying()(self._get, name, limit, {})
        return data

    def _page(self, token: str) -> dict[str, Any]:
        """One page of the listing. Raises PayloadError for one that cannot be told from a cut-off or foreign answer."""
        about, after = self._about(""), {"ContinuationToken": token} if token else {}
        try:
            with _understood(about):
                page = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, **after)
        except PhotoGoneError as error:
            raise ConfigurationError(f"{error}: check GEOPIN_OWN_PHOTOS_DIR and GEOPIN_S3_ENDPOINT_URL") from error
        following = page.get("NextContinuationToken")
        if "IsTruncated" not in page or (page["IsTruncated"] and following in (None, "", token)):
            raise PayloadError(f"{about}: the listing does not say how it goes on")
        return page

    def _get(self, name: str, size: int, range_: dict[str, str]) -> tuple[dict[str, Any], bytes]:
        """One GET: at most `size` bytes, all of them or an error. Without a range the object must not be larger."""
        if not is_inside(name):
            raise PhotoNotAllowedError("not a plain relative name")
        with _understood(self._about(name)):
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name, **range_)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > size and not range_:
                    raise PhotoTooLargeError(f"{answer['ContentLength']} bytes")
                return answer, self._all_of(body, min(size, answer["ContentLength"]))

    def _all_of(self, body: Any, size: int) -> bytes:
        """Exactly `size` bytes: a connection that ends early is no short file."""
        ends_at, data = self._clock() + DEADLINE_S, bytearray()
        while len(data) < size:
            chunk = body.read(min(_CHUNK_BYTES, size - len(data)))
            if not chunk:
                raise TransientError(f"{len(data)} of {size} bytes came")
            data += chunk
            if self._clock() > ends_at:
                raise TransientError(f"not there within {DEADLINE_S:g} s")
        return bytes(data)

    def _about(self, name: str) -> str:
        return ascii(f"s3://{self.bucket}/{self.prefix}{name}")[1:-1]

    @property
    def _client(self) -> Any:
        """One client for all threads; making it is not safe in two at once."""
        with self._connecting:
            if self._connected is None:
                with _understood(self._about("")):
                    self._connected = self._connect(self.endpoint_url)
            return self._connected


def _unless_skipped(file: PhotoFile, skip: Skip, verdicts: dict[str, bool]) -> Iterator[PhotoFile | Rejected]:
    """The file; in a skipped folder nothing, but for its first file the folder. `verdicts`: of folders so far."""
    for folder in (file.name[: end + 1] for end, character in enumerate(file.name) if character == "/"):
        if folder not in verdicts:
            verdicts[folder] = skip(folder)
            if verdicts[folder]:
                yield Rejected(Reason.IGNORED, folder)
        if verdicts[folder]:
            return
    if file.name.endswith("/"):
        return
    if not skip(file.name):
        yield file
    elif is_photo(file.name):
        yield Rejected(Reason.IGNORED, file.name)


def connect_s3(endpoint_url: str, session: Any = None, *, access: S3Access | None = None) -> Any:
    """A boto3 client, with the credentials and the region of `session`, or `access`, or else of the environment.

    Retries are left to the folder, which repeats what broke in the middle of a body too. Addresses are
    `endpoint/bucket/key` at a server of one's own, which seldom has names for its buckets. Only checksums that a
    server must send are looked at: some send one of the whole object with a part of it.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=30,
        max_pool_connections=READERS + 8,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path"} if endpoint_url else None,
        response_checksum_validation="when_required",
    )
    return (session or (access or S3Access()).session()).client("s3", endpoint_url=endpoint_url or None, config=config)


def _version(answer: Mapping[str, Any]) -> str:
    """The ETag without its quotes; it changes with the content, as every server derives it from that."""
    return str(answer.get("ETag") or "").removeprefix("W/").strip('"')


class NothingInRangeError(PermanentError):
    """The object ends before the first byte asked for: it is empty."""


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Raise the project's errors for those of botocore and of the connection; `what` was asked for."""
    try:
        yield
    except GeoPinError as error:
        error.args = (f"{what}: {error}",)
        raise
    except Exception as error:
        verdict = _verdict(error, what)
        if verdict is None:
            raise
        raise verdict from None  # the cause may quote a request with its signature


def _verdict(error: Exception, what: str) -> GeoPinError | None:
    import botocore.exceptions as boto
    from urllib3.exceptions import HTTPError

    if isinstance(error, boto.ClientError):
        return _answered(error.response, what)
    said = f"{what}: {type(error).__name__}"
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return ConfigurationError(f"{said}: set {_SETTINGS}")
    if isinstance(error, boto.ParamValidationError | boto.ProfileNotFound | boto.NoRegionError | ValueError):
        return ConfigurationError(f"{said}: check GEOPIN_OWN_PHOTOS_DIR, GEOPIN_S3_ENDPOINT_URL and the AWS_ variables")
    passing = boto.HTTPClientError | boto.ConnectionError | boto.IncompleteReadError | boto.FlexibleChecksumError
    if isinstance(error, passing | HTTPError | OSError):
        return TransientError(said)
    if isinstance(error, boto.BotoCoreError):
        return PermanentError(said)
    return PayloadError(said) if type(error).__module__.startswith("botocore") else None


def _answered(answer: dict[str, Any], what: str) -> GeoPinError:
    """The error for an answer that is one."""
    code = str(answer.get("Error", {}).get("Code", ""))[:60]
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{what}: answered {status} {ascii(code)[1:-1]}"
    if code == "NoSuchBucket":
        return ConfigurationError(f"{said}: check the bucket in GEOPIN_OWN_PHOTOS_DIR, and GEOPIN_S3_ENDPOINT_URL")
    if status == 404:
        return PhotoGoneError(said)
    if status == 416:
        return NothingInRangeError(said)
    if status in _PASSING or status >= 500 or code in _PASSING_CODES:
        return TransientError(said)
    if code in _PLACE_CODES or 300 <= status < 400:
        return ConfigurationError(f"{said}: check AWS_DEFAULT_REGION and GEOPIN_S3_ENDPOINT_URL")
    if status in (401, 403) and code != _ARCHIVED:
        return ConfigurationError(f"{said}: access denied, check {_SETTINGS} and what they may list and read")
    return PhotoClosedError(said) if code == _ARCHIVED else PermanentError(said)
