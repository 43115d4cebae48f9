"""What an object store's answers mean, by what a retry would change.

Messages name the object, the status and the code, nothing else that a server or the library wrote: that can hold a key
id, a signature or a token. Not here: asking (`object_store.py`), or the disk's own words (`damage.py`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from geopin_assets.errors import ConfigurationError, GeoPinError, PermanentError, TransientError
from geopin_assets.files.damage import of_disk

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_REGION = "redirect without LOCATION"  # what Amazon answers in the wrong region
_PASSING = {408, 425, 429}
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and what they may list, read and write"
SETTINGS = "check the address of the store, its endpoint and the AWS_ variables"


class NoSuchObjectError(PermanentError):
    """The object is not there."""


class ConflictError(TransientError):
    """Another process has written the object meanwhile: read it again and decide anew."""


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Raise the project's errors for those of obstore and of the disk; `what` was asked for."""
    try:
        yield
    except FileNotFoundError as error:
        raise _missing(str(error), what) from None
    except Exception as error:
        if type(error).__module__ == "obstore.exceptions":
            raise _refused(type(error).__name__, str(error), what) from None  # its text may quote a request
        if not isinstance(error, GeoPinError) and (meaning := of_disk(error, what)):
            raise meaning from error
        raise


def _missing(text: str, what: str) -> GeoPinError:
    if _code(text) == "NoSuchBucket":
        return ConfigurationError(f"{what}: there is no such bucket, {SETTINGS}")
    return NoSuchObjectError(f"{what}: not there")


def _refused(kind: str, text: str, what: str) -> GeoPinError:
    """By obstore's own class where it has one, by the status of the answer where all it says is "generic"."""
    nobody = "no answer" if kind == "GenericError" else kind
    status, said = _status(text), f"{what}: {_said(text) or nobody}"
    if kind in ("AlreadyExistsError", "PreconditionError") or status == 409:
        return ConflictError(f"{what}: another process has written it")
    if _code(text) == "NoSuchBucket":
        return ConfigurationError(f"{said}: {SETTINGS}")
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403):
        return ConfigurationError(f"{said}: access denied, {_CREDENTIALS}")
    if kind == "UnknownConfigurationKeyError" or 300 <= status < 400 or _REGION in text:
        return ConfigurationError(f"{said}: {SETTINGS}")
    if status in _PASSING or status >= 500 or (kind == "GenericError" and not status):
        return TransientError(said)  # without a status nobody answered
    return PermanentError(said)


def _said(text: str) -> str:
    return f"answered {_status(text)} {_code(text)}".rstrip() if _status(text) else ""


def _status(text: str) -> int:
    found = _STATUS.search(text)
    return int(found[1]) if found else 0


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""
