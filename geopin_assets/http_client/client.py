"""The client itself: may a request go, send it, judge the answer, tell breaker and bucket what came of it.

Here: the sequence of steps and the errors they raise. Not here: what a call can say and how answers are
read (`exchange.py`), how often and how long to try (`politeness.py`, `rate.py`), sockets (`transport.py`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from geopin_assets.errors import (
    BudgetSpent,
    ConfigurationError,
    GeoPinError,
    OutOfTimeError,
    PayloadError,
    PermanentError,
    SourceUnavailable,
    TransientError,
)
from geopin_assets.http_client.body import ENCODING, Body
from geopin_assets.http_client.exchange import Answer, Ask, How, build_ask, plain_headers
from geopin_assets.http_client.politeness import (
    BREAKER_FAILURES,
    DailyUse,
    Politeness,
    Quota,
    build_politeness,
    retrying,
)
from geopin_assets.http_client.redaction import Redactor

if TYPE_CHECKING:  # whoever only knows a client's type does not wait for httpx, which brings a terminal's painter
    import httpx

    from geopin_assets.http_client.transport import Transport

T = TypeVar("T")

MIB = 1024 * 1024
ERROR_BODY_BYTES = 64 * 1024
_IDLE_S = 30.0  # longest silence on a connection, within the total deadline
_ACCEPTED, _OF_A_PROXY = 202, 203
_RETRIED = {408, 425, 429}
_REFUSED = {401, 403}
_GONE = {404, 410}


class HttpClient:
    """One source's client. Thread-safe; close it or use it as a context manager.

    `contact` goes into the User-Agent. `deadline_s` bounds one request from connect to last byte, `max_wait_s` one wait
    between requests, `max_bytes` a decoded body; after `left_s` nothing more is asked. `quotas` gives kinds of requests
    (`How.kind`) a rate and a daily budget of their own, counted in `daily_use`; `politeness` replaces all of these
    rates by ones that other clients share. `transport`, `clock`, `sleep` and `wall_clock` are the outside world.
    """

    def __init__(
        self,
        name: str,
        *,
        contact: str = "",
        requests_per_second: float = 1.0,
        quotas: Mapping[str, Quota] | None = None,
        daily_use: DailyUse | None = None,
        politeness: Mapping[str, Politeness] | None = None,
        transport: "Transport | None" = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
        attempts: int = 5,
        deadline_s: float = 60.0,
        max_wait_s: float = 300.0,
        left_s: float = inf,
        max_bytes: int = 64 * MIB,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        from geopin_assets.http_client.transport import build_client

        self.name = name
        self._clock, self._wall_clock = clock, wall_clock
        self._deadline_s, self._max_wait_s, self._max_bytes = deadline_s, max_wait_s, max_bytes
        self._redact = Redactor(secrets)
        self._attempts = attempts
        self._ends_at = clock() + left_s
        self._retrying = partial(retrying, max_wait_s=max_wait_s, sleep=lambda s: sleep(max(0.0, min(s, self._left_s))))
        self._daily_use = daily_use
        self._politeness = politeness or build_politeness(
            {"": Quota(per_second=requests_per_second), **(quotas or {})},
            failures=max(BREAKER_FAILURES, 2 * attempts),
            clock=clock,
            sleep=sleep,
        )
        own = {"User-Agent": user_agent(contact), "Accept-Encoding": ENCODING}
        self._client = build_client(plain_headers(own | dict(headers or {})), min(_IDLE_S, deadline_s), transport)

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def get_json(self, url: str, **how: Unpack[How]) -> Any:
        """GET and decode JSON. Raises as `send`, and PayloadError for something else."""
        return self.request_json("GET", url, **how)

    def get_bytes(self, url: str, **how: Unpack[How]) -> bytes:
        """GET a body as it is. Raises as `send`."""
        return self.send("GET", url, **how).body

    def request_json(self, method: str, url: str, **how: Unpack[How]) -> Any:
        """Any method, JSON answer. Raises as `send`, and PayloadError for something else."""
        return self._call(build_ask(self.name, method, url, how), Answer.json)

    def send(self, method: str, url: str, **how: Unpack[How]) -> Answer:
        """Send until there is an answer to take; keywords are those of `How`.

        Raises TransientError, SourceUnavailable (nothing was sent), PermanentError, or PayloadError for a
        body larger than `max_bytes`.
        """
        return self._call(build_ask(self.name, method, url, how), lambda answer: answer)

    def stop(self, kind: str, seconds: float, reason: str) -> BudgetSpent:
        """Let no request of a kind through for `seconds`, in later runs too; returns the error to raise now."""
        if self._daily_use is not None:
            self._daily_use.stop(self.name, kind, seconds, reason)
        return BudgetSpent(f"{kind} are not asked for any more for {seconds:.0f} s: {reason}")

    def _call(self, ask: Ask, understand: Callable[[Answer], T]) -> T:
        return self._retrying(attempts=ask.attempts or self._attempts)(self._attempt, ask, understand)

    def _attempt(self, ask: Ask, understand: Callable[[Answer], T]) -> T:
        """One request, from asking whether it may go to telling what came of it."""
        polite = self._politeness[ask.kind]
        if self._left_s > 0:
            self._await_turn(polite, ask.kind)
        if self._left_s <= 0:
            raise OutOfTimeError(f"{self.name}: no time is left for another request")
        try:
            with self._located(ask):
                answer = self._exchange(ask)
                self._raise_for(answer, ask)
                result = understand(answer)
        except SourceUnavailable:
            raise  # a stop that the provider asked for; it answers
        except NotReady:
            polite.breaker.succeeded()  # it works on it, and has said nothing about other requests
            raise
        except TransientError as error:
            if error.retry_after_s:
                polite.bucket.pause(error.retry_after_s)
            polite.breaker.failed(error)
            raise
        except AccessDenied as error:
            polite.breaker.failed(error, for_good=True)
            raise
        except GeoPinError:
            polite.breaker.succeeded()  # it answers, only not what was hoped for
            raise
        polite.breaker.succeeded()
        return result

    def _await_turn(self, polite: Politeness, kind: str) -> None:
        """Return when the request may go. Raises SourceUnavailable if that is not soon, BudgetSpent if not today."""
        polite.breaker.check()
        if self._daily_use is not None and kind:
            self._refuse_long(polite.bucket.paused_s)  # before the request is counted
            self._daily_use.spend(self.name, kind, polite.per_day)
        self._refuse_long(polite.bucket.acquire(min(self._max_wait_s, self._left_s)))

    @property
    def _left_s(self) -> float:
        return self._ends_at - self._clock()

    def _refuse_long(self, pause_s: float) -> None:
        if pause_s > self._max_wait_s:
            raise SourceUnavailable(f"{self.name}: asked to wait {pause_s:.0f} s", retry_after_s=pause_s)
        if pause_s > self._left_s:
            raise OutOfTimeError(f"{self.name}: asked to wait {pause_s:.0f} s, which is longer than there is time")

    @contextmanager
    def _located(self, ask: Ask) -> Iterator[None]:
        """Give every error its coordinates, in the project's classes and without secrets."""
        import httpx

        where = f"{self.name}: {ask.method} {ask.label}"
        try:
            yield
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
            raise PermanentError(self._redact(f"{where}: not a request that can be sent")) from None  # holds headers
        except httpx.TransportError as error:
            self._redact.error(error)
            if _is_too_long(error):
                raise PayloadError(f"{where}: headers larger than any answer's") from error
            raise TransientError(self._redact(f"{where}: {type(error).__name__} {error}".rstrip())) from error
        except GeoPinError as error:
            error.args = (self._redact(f"{where}: {error}"),)
            raise

    def _exchange(self, ask: Ask) -> Answer:
        """Send once and read the body, within the deadline and the size cap."""
        from geopin_assets.http_client.transport import deadline

        ends_at = self._clock() + self._deadline_s
        if ask.tally is not None:
            ask.tally.requests += 1
        with deadline(self._deadline_s), self._client.stream(ask.method, ask.url, **ask.options) as response:
            status = 200 if response.status_code == _OF_A_PROXY else response.status_code
            body = self._read(response, ends_at, is_ok=status in ask.ok and not ask.only_status)
            return Answer(status, self._headers(response), self._redact.body(body))

    def _headers(self, response: "httpx.Response") -> dict[str, str]:
        encoded = response.headers.encoding
        said = ((name.decode(encoded).lower(), self._redact.body(value)) for name, value in response.headers.raw)
        return {name: value.decode(encoded) for name, value in said}

    def _read(self, response: "httpx.Response", ends_at: float, *, is_ok: bool) -> bytes:
        """The body; of an error its beginning, or nothing where that cannot be read: the status says enough."""
        try:
            return self._body(response, ends_at, self._max_bytes if is_ok else ERROR_BODY_BYTES, is_ok=is_ok)
        except GeoPinError:
            if is_ok:
                raise
            return b""

    def _body(self, response: "httpx.Response", ends_at: float, limit: int, *, is_ok: bool) -> bytes:
        is_in_memory = response.is_stream_consumed  # a reply that a transport without network made
        body = Body("" if is_in_memory else self._headers(response).get("content-encoding", ""), limit)
        for chunk in response.iter_bytes() if is_in_memory else response.iter_raw():
            body.add(chunk)
            if body.is_too_large:
                if is_ok:
                    raise PayloadError(f"body larger than {limit} bytes")
                return body.beginning
            if self._clock() > ends_at:
                raise TransientError(f"not finished after {self._deadline_s:g} s")
        return body.whole()

    def _raise_for(self, answer: Answer, ask: Ask) -> None:
        if ask.judge is not None and (verdict := ask.judge(answer)) is not None:
            raise verdict
        status = answer.status
        if status in ask.ok:
            return
        said = f"answered {status} {answer.excerpt}".rstrip()
        if status == _ACCEPTED:
            raise NotReady(said, retry_after_s=answer.retry_after_s(self._wall_clock()))
        if status in _REFUSED:
            raise AccessDenied(f"{said}; access denied, check the key or ask the provider")
        if status in _RETRIED or status >= 500:
            raise TransientError(said, retry_after_s=answer.retry_after_s(self._wall_clock()))
        if status in _GONE:
            raise NotFound(said)
        raise PermanentError(f"{said}; redirects are not followed" if 300 <= status < 400 else said)


class NotReady(TransientError):
    """202: the answer is being made."""


class NotFound(PermanentError):
    """404 or 410."""


class AccessDenied(PermanentError):
    """401 or 403."""


class KeyRefused(AccessDenied, ConfigurationError):
    """The provider does not take the key; the message names the variable that holds it."""


def _is_too_long(error: BaseException) -> bool:
    """Whether it was caused by headers that no buffer was large enough for: h11 names the status for that."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return getattr(error, "error_status_hint", None) == 431


def user_agent(contact: str = "") -> str:
    """`geopin-assets/<version> (+<contact>)`: an honest identity, with somebody to write to."""
    try:
        product = f"geopin-assets/{version('geopin-assets')}"
    except PackageNotFoundError:  # a checkout that was never installed
        product = "geopin-assets"
    return f"{product} (+{contact})" if contact else product
