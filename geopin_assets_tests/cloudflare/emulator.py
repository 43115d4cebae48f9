"""The front door of the stand-in: who may ask, how often, which fault a call meets, and what was asked.

Here: one request in, one answer out, in the order of the real API. Not here: sockets (`wire.py`), what the services
do (`vectorize.py`, `d1.py`, `d1_transfer.py`).

State lives in a folder, or in memory without one. What a client was told is on disk before it is told: a sandbox
that is killed and started again has lost nothing but pages of lists, uploads that no import used, and bookmarks.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.d1 import D1
from geopin_assets_tests.cloudflare.d1_transfer import Transfer
from geopin_assets_tests.cloudflare.faults import CloudflareFault
from geopin_assets_tests.cloudflare.limits import Lag, Limits, RateBlock
from geopin_assets_tests.cloudflare.routes import API, Call, Service, routed
from geopin_assets_tests.cloudflare.vectorize import Vectorize
from geopin_assets_tests.cloudflare.wire import Answer, CloudflareApp, Refused, Request, refused

ACCOUNT_ID = "5a4db0c5" * 4
TOKEN = "sandbox"
_ACCOUNT = re.compile(rf"{API}/accounts/([0-9a-f]{{32}})/")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CloudflareEmulator:
    """One account. Thread-safe; close it or use it as a context manager.

    `origin` is where clients reach it, without `/client/v4`: it starts the addresses for uploads and exports.
    `clock` moves lags, limits and expiry; `stopwatch` (seconds) measures how long a query of D1 takes.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        origin: str = "http://cloudflare.test",
        account_id: str = ACCOUNT_ID,
        token: str = TOKEN,
        limits: Limits | None = None,
        lag: Lag | None = None,
        faults: Iterable[CloudflareFault] = (),
        clock: Callable[[], datetime] = _utc_now,
        stopwatch: Callable[[], float] = monotonic,
    ) -> None:
        self.account_id, self.token, self.origin = account_id, token, origin
        self.faults = list(faults)
        self.requests: Counter[str] = Counter()
        """Calls by `service.operation`, refused ones included."""
        limits, lag = limits or Limits(), lag or Lag()

        def seconds() -> float:
            return clock().timestamp()

        self._lock, self._opened = threading.RLock(), ExitStack()
        self._rate = RateBlock(limits, seconds)
        self._vectorize = self._opened.enter_context(Vectorize(folder, limits, lag, seconds))
        self._d1 = self._opened.enter_context(D1(folder, limits, seconds, stopwatch))
        self._transfer = Transfer(self._d1, limits, lag, seconds, origin)

    def __enter__(self) -> "CloudflareEmulator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._opened.close()

    @property
    def base_url(self) -> str:
        """What a client puts before `/accounts/…`."""
        return self.origin + API

    def app(self) -> Starlette:
        """An ASGI app over this state, for any mount point."""
        return Starlette(routes=[Mount("/", app=CloudflareApp(self.answer))])

    def add_fault(self, **fields: Any) -> None:
        """One more fault, last in the row. Raises TypeError or ValueError for fields that are none."""
        self.faults.append(CloudflareFault(**fields))

    def clear_faults(self) -> None:
        """Nothing goes wrong any more, and mutations that were stuck go on."""
        with self._lock:
            self.faults.clear()
            self._vectorize.release()

    def answer(self, request: Request) -> Answer:
        """What the service answers; the answer's `ending` says how much of it arrives."""
        with self._lock:
            call = routed(request)
            if call is not None:
                self.requests[f"{call.service}.{call.operation}"] += 1
            if call is not None and call.service is Service.FILES:
                return self._met(call)
            wait_s = self._rate.spend()
            if wait_s is None:
                answer, more = self._admitted(request, call), {}
            else:
                answer, more = refused(refusals.TOO_MANY_REQUESTS()), {"retry-after": str(max(1, round(wait_s)))}
            return replace(answer, headers={**self._rate.headers(), **answer.headers, **more})

    def _admitted(self, request: Request, call: Call | None) -> Answer:
        try:
            self._check_access(request)
            if call is None:
                raise refusals.NO_ROUTE(request.path)
        except Refused as error:
            return refused(error)
        return self._met(call)

    def _met(self, call: Call) -> Answer:
        """The call as the first fault that meets it lets it be."""
        fault = next((fault for fault in self.faults if fault.meets(call)), None)
        if fault is None:
            return self._performed(call)
        if fault.is_before:
            return fault.spoil(Answer(200, b""))
        return fault.spoil(self._performed(replace(call, fate=fault.fate)))

    def _performed(self, call: Call) -> Answer:
        try:
            if call.service is Service.VECTORIZE:
                return self._vectorize.answer(call)
            if call.service is Service.FILES or call.operation in ("import", "export"):
                return self._transfer.answer(call)
            self._transfer.check_free(call)
            return self._d1.answer(call)
        except Refused as error:
            return refused(error)

    def _check_access(self, request: Request) -> None:
        account = _ACCOUNT.match(request.path)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise refusals.NO_TOKEN()
        if account is not None and account[1] != self.account_id:
            raise refusals.NO_PERMISSION()
        if account is None:
            raise refusals.NO_ROUTE(request.path)
