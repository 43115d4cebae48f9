"""What botocore raises, in the project's errors: by what another attempt, or another setting, would change.

Messages name the object, the code and the status of the answer, nothing that the server or the library wrote:
that can hold a key id, a signature or a token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from geopin_assets.errors import ConfigurationError, GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.photo_folder.protocol import PhotoGoneError

_PASSING = {408, 425, 429}
_PASSING_CODES = {"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "ThrottlingException"}
_PLACE_CODES = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}
_ARCHIVED = "InvalidObjectState"  # a 403 that is about one object, not about who asks
_SETTINGS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class NothingInRangeError(PermanentError):
    """The object ends before the first byte asked for: it is empty."""


@contextmanager
def understood(what: str) -> Iterator[None]:
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
    return PermanentError(said)
