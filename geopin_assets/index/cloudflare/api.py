"""One account at Cloudflare's API: where it is, who asks, how often anybody may, and what its answers mean.

Here: sending, with the token and the rate that all processes of this installation share, and reading the envelope.
Not here: any product's paths and bodies. The rate is one for all products, because the limit is the user's: whoever
exceeds it is refused everything for five minutes, the dashboard included. Failures are counted per product, by all
processes together: a D1 that is down does not keep vectors from being published.

The envelope is `{success, errors: [{code, message}], messages, result}`, and the status alone proves nothing:
`success: false` comes with 200 too, and a statement can fail inside a result. Messages are matched rather than codes
where one code means many things (7500 is every SQL error).

    429                          TransientError after Retry-After; without it after five minutes, the length of a block
    5xx, 408, "overloaded", …    TransientError
    413, "memory limit", …       RequestTooLarge: the same in smaller requests may succeed
    401, 403, code 10000, …      AccessDenied
    anything else                PermanentError
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from geopin_assets.errors import (
    ConfigurationError,
    GeoPinError,
    PayloadError,
    PermanentError,
    SourceUnavailable,
    TransientError,
)
from geopin_assets.files.losable import Place, clock_of
from geopin_assets.http_client import (
    AccessDenied,
    Answer,
    CircuitBreaker,
    How,
    HttpClient,
    Politeness,
    Quota,
    SharedBucket,
    SharedState,
    Tally,
    asked_wait_s,
    build_politeness,
)
from geopin_assets.index.limits import BLOCK_S, OUR_BURST, OUR_REQUESTS_PER_WINDOW, WINDOW_S

if TYPE_CHECKING:
    from geopin_assets.http_client.transport import Transport


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


BASE_URL = "https://api.cloudflare.com/client/v4"
JSON = "application/json"
NDJSON = "application/x-ndjson"
ATTEMPTS = 7  # 1.5 minutes with their waits: D1 is "a handful of errors every several hours" by its own word
_DEADLINE_S = 300.0  # one upsert is up to 100 MB
_UPLOADS = Quota(per_second=10.0)  # to storage, which has no part in the API's rate


@dataclass(slots=True)
class Requests:
    """A tally of calls, those included that had to be repeated."""

    requests: int = 0


class CloudflareApi:
    """Asks for results, and gets them or an error of `errors.py`. Thread-safe; close it or use it as a context manager.

    `rate_place` holds the account's rate for all who share it. At most `max_concurrency` calls are under way at once.
    `transport`, `clock`, `sleep` and `wall_clock` are the outside world.
    """

    def __init__(
        self,
        account_id: str,
        token: str,
        *,
        rate_place: Place,
        base_url: str = BASE_URL,
        contact: str = "",
        max_concurrency: int = 4,
        attempts: int = ATTEMPTS,
        max_wait_s: float = 900.0,
        transport: "Transport | None" = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        if not (account_id and token):
            raise ConfigurationError("Cloudflare needs an account id and an API token")
        wall_clock = wall_clock or clock_of(rate_place)
        self._account_id, self._wall_clock = account_id, wall_clock
        self._root = f"{base_url.rstrip('/')}/accounts/{quote(account_id, safe='')}"
        self._authorization = {"Authorization": f"Bearer {token}"}
        self._slots = BoundedSemaphore(max_concurrency)
        rate = SharedBucket(
            rate_place,
            "cloudflare",
            requests=OUR_REQUESTS_PER_WINDOW,
            period_s=WINDOW_S,
            burst=OUR_BURST,
            clock=wall_clock,
            sleep=sleep,
        )
        products = {}
        for product in ("vectorize", "d1"):
            state = SharedState(rate_place, f"cloudflare/{self.account_key}/{product}", wall_clock)
            breaker = CircuitBreaker(failures=2 * attempts, clock=wall_clock, state=state)
            products[product] = Politeness(rate, breaker)
        self._client = HttpClient(
            "cloudflare",
            contact=contact,
            politeness=products | build_politeness({"upload": _UPLOADS}, clock=clock, sleep=sleep),
            attempts=attempts,
            max_wait_s=max_wait_s,
            deadline_s=_DEADLINE_S,
            transport=transport,
            clock=clock,
            sleep=sleep,
            wall_clock=wall_clock,
            secrets=[token],
        )

    def __enter__(self) -> "CloudflareApi":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    @property
    def account_key(self) -> str:
        """Names the account where its id should not be read: 8 hex digits of its SHA-256."""
        return hashlib.sha256(self._account_id.encode()).hexdigest()[:8]

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        tally: Tally | None = None,
    ) -> Any:
        """The result of one call. `path` is below the account, its first word the product: `d1/database`.

        A body is sent as JSON, bytes as NDJSON. Raises TransientError, RequestTooLarge or PermanentError.
        """
        how: How = {"judge": self._judge, "label": path, "kind": path.partition("/")[0], "tally": tally}
        how |= {"ok": (200, 201, 202), "params": params or {}, "headers": self._authorization}
        if body is not None:
            is_ndjson = isinstance(body, bytes)
            how["content"] = body if is_ndjson else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
            how["headers"] = self._authorization | {"Content-Type": NDJSON if is_ndjson else JSON}
        with self._slots:
            return self._client.request_json(method, f"{self._root}/{path}", **how)["result"]

    def upload(self, url: str, content: bytes) -> str:
        """PUT a file where the API said, without the token; the ETag of what arrived, without its quotes.

        Raises SourceUnavailable for an address that is not accepted (any more): ask for another.
        """
        answer = self._client.send("PUT", url, content=content, kind="upload", label="upload", judge=_judge_upload)
        return answer.headers.get("etag", "").removeprefix("W/").strip('"')

    def _judge(self, answer: Answer) -> GeoPinError | None:
        return judge(answer, now_s=self._wall_clock(), private=self._account_id)


def _judge_upload(answer: Answer) -> GeoPinError | None:
    """Storage answers 403 for a signature that expired; asking again at the same address would not help."""
    return SourceUnavailable("the address for uploads is not accepted any more") if answer.status == 403 else None
