"""What an answer of Cloudflare's API means: its envelope, and its errors by what a retry would change.

Here: pure reading. Not here: sending (`api.py`), or any one product's results.

The envelope is `{success, errors: [{code, message}], messages, result}`, and the status alone proves
nothing: `success: false` comes with 200 too, and a statement can fail inside a result. Messages are
matched rather than codes where one code means many things (7500 is every SQL error).

    429                          TransientError after Retry-After; without it after five minutes, the length of a block
    5xx, 408, "overloaded", …    TransientError
    413, "memory limit", …       RequestTooLarge: the same in smaller requests may succeed
    401, 403, code 10000, …      AccessDenied
    anything else                PermanentError
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.http_client import AccessDenied, Answer, asked_wait_s
from geopin_assets.index.limits import BLOCK_S


class RequestTooLarge(PermanentError):
    """Too much for one request; the same content in smaller ones may succeed."""


_TOO_LARGE = re.compile(
    r"SQLITE_TOOBIG|memory limit|CPU time limit|storage operation exceeded timeout|too many vectors(?! in index)"
    r"|(payload|body|entity|upload) (is )?too large",
    re.IGNORECASE,
)
_TRY_AGAIN = re.compile(  # D1: failures of the service as "debug" lists them, and imports to begin again
    r"network connection lost|its code was updated|caused object to be reset|transient issue|overloaded"
    r"|client disconnected|long-running import|not currently importing|no poll\(\) received|missing or invalid",
    re.IGNORECASE,
)
_NOT_AUTHENTICATED = 10000
_RETRIED = {408, 425, 429}


def judge(answer: Answer, *, now_s: float, private: str) -> GeoPinError | None:
    """The error an answer means, or None for one to take. `now_s` is the wall clock; `private` is left out of messages.

    What is no JSON (a gateway's page) is left to the usual rules, but for its status.
    """
    envelope = _envelope(answer)
    problems = _problems(envelope)
    if answer.status < 300 and not problems:
        return None if envelope is None or envelope.keys() >= {"success", "result"} else PayloadError("no envelope")
    said = "; ".join(f"{code}: {text}" if code else text for code, text in problems) or answer.excerpt
    said = f"answered {answer.status} {said}".rstrip().replace(private, "***")
    wait_s = asked_wait_s(answer.headers.get("retry-after", ""), now_s)
    if answer.status == 429:
        return TransientError(said, retry_after_s=BLOCK_S if wait_s is None else wait_s)
    if answer.status == 413:
        return RequestTooLarge(said)
    if answer.status in {401, 403} or any(code == _NOT_AUTHENTICATED for code, _ in problems):
        return AccessDenied(f"{said}; check the API token, its permissions and the account id")
    if answer.status >= 500 or answer.status in _RETRIED:
        return RequestTooLarge(said) if _TOO_LARGE.search(said) else TransientError(said, retry_after_s=wait_s)
    return classify(said) if problems else None


def classify(message: str) -> GeoPinError:
    """The error that a message means, when there is nothing else to go by.

    Too large goes first: "storage operation exceeded timeout which caused object to be reset" is both.
    """
    if _TOO_LARGE.search(message):
        return RequestTooLarge(message)
    return TransientError(message) if _TRY_AGAIN.search(message) else PermanentError(message)


def field(result: Any, name: str) -> Any:
    """A field that a result must have. Raises PayloadError."""
    if not isinstance(result, Mapping) or result.get(name) is None:
        raise PayloadError(f"answered without {name}")
    return result[name]


@contextmanager
def unless(happened: Callable[[], bool]) -> Iterator[None]:
    """Pass over a PermanentError if what was asked for did happen.

    The answer may have been lost and the request repeated, or another process was first.
    """
    try:
        yield
    except PermanentError:
        if not happened():
            raise


def _envelope(answer: Answer) -> Mapping[str, Any] | None:
    """The JSON object in an answer, empty for other JSON; None for what is none."""
    try:
        body = answer.json()
    except GeoPinError:
        return None
    return body if isinstance(body, dict) else {}


def _problems(envelope: Mapping[str, Any] | None) -> list[tuple[int, str]]:
    """(code, message) of everything that went wrong; nothing for a success, or where there is no envelope."""
    if not envelope:
        return []
    if envelope.get("success") is not True:
        errors = [error for error in envelope.get("errors") or [] if isinstance(error, dict)]
        return [(error.get("code", 0), str(error.get("message", ""))) for error in errors] or [(0, "success: false")]
    results = envelope["result"] if isinstance(envelope.get("result"), list) else []
    failed = [result for result in results if isinstance(result, dict) and result.get("success") is False]
    return [(0, str(result.get("error", "a statement failed"))) for result in failed]
