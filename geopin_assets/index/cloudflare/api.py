"""One account at Cloudflare's API: where it is, who asks, and how often anybody may.

Here: sending, with the token and the rate that all processes of this installation share. Not here: what
an answer means (`answers.py`), or any product's paths and bodies.

The rate is one for all products, because the limit is the user's: whoever exceeds it is refused everything
for five minutes, the dashboard included. Failures are counted per product: a D1 that is down does
not keep vectors from being published.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote

import orjson

from geopin_assets.errors import ConfigurationError, GeoPinError, SourceUnavailable
from geopin_assets.http_client import (
    Answer,
    CircuitBreaker,
    How,
    HttpClient,
    Politeness,
    Quota,
    SharedBucket,
    Tally,
    Transport,
    build_politeness,
)
from geopin_assets.index.cloudflare.answers import judge
from geopin_assets.index.limits import OUR_BURST, OUR_REQUESTS_PER_WINDOW, WINDOW_S

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

    `rate_file` holds the account's rate for all processes. At most `max_concurrency` calls are under way at once.
    `transport`, `clock`, `sleep` and `wall_clock` are the outside world.
    """

    def __init__(
        self,
        account_id: str,
        token: str,
        *,
        rate_file: Path,
        base_url: str = BASE_URL,
        contact: str = "",
        max_concurrency: int = 4,
        attempts: int = ATTEMPTS,
        max_wait_s: float = 900.0,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if not (account_id and token):
            raise ConfigurationError("Cloudflare needs an account id and an API token")
        self._account_id, self._wall_clock = account_id, wall_clock
        self._root = f"{base_url.rstrip('/')}/accounts/{quote(account_id, safe='')}"
        self._authorization = {"Authorization": f"Bearer {token}"}
        self._slots = BoundedSemaphore(max_concurrency)
        rate = SharedBucket(
            rate_file,
            "cloudflare",
            requests=OUR_REQUESTS_PER_WINDOW,
            period_s=WINDOW_S,
            burst=OUR_BURST,
            clock=wall_clock,
            sleep=sleep,
        )
        products = {
            product: Politeness(rate, CircuitBreaker(failures=2 * attempts, clock=clock))
            for product in ("vectorize", "d1")
        }
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
