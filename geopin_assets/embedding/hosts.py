"""Hosts that images come from: which addresses they may have, and how long they are left alone.

Image addresses come from strangers' records. Here: the two places where aiohttp is held to the rule on them: when a
name is resolved (aiohttp connects to the very addresses that were checked, so that a name that resolves differently the
second time gains nothing) and when a socket is opened; and how long a host is left alone: by all runs, as 429 and 503
with Retry-After ask, or for good by the session that it failed too often in a row. Not here: the rule
(`http_client/addresses.py`), requests and redirects (`answers.py`), the metadata APIs (`http_client`).
"""

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from aiohttp.resolver import ThreadedResolver

from geopin_assets.embedding.protocol import BACK_OFF, Failure, FailureReason
from geopin_assets.http_client import MOMENT, OwnState, State, Values, asked_wait_s
from geopin_assets.http_client.addresses import AddressRule

MAX_WAIT_S = 120.0
"""A longer pause is not waited for: until it is nearly over nothing is sent to the host."""
HOST_PATIENCE = 20
"""Failures of a host in a row after which the rest of its images is given up in this run: with a deadline of a
minute each, a dead host with thousands of images would hold a run for hours."""
GIVEN_UP = Failure(FailureReason.HOST_DOWN, f"{HOST_PATIENCE} failures of the host in a row")
_LONGEST_S = BACK_OFF[-1].total_seconds()
_ASKING = (429, 503)
_LOOKS_EVERY_S = 1.0


class GuardedResolver(AbstractResolver):
    """Resolves names and refuses those with a forbidden address; opens no socket to one either."""

    def __init__(self, rule: AddressRule, resolver: AbstractResolver | None = None) -> None:
        self._rule = rule
        self._resolver = resolver or ThreadedResolver()
        self._trusted: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        addresses = [result["host"] for result in results]
        self._rule.check_addresses(host, addresses)
        if self._rule.trusts(host):
            self._trusted.update(addresses)
        return results

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """The `socket_factory` of a connector: sees every address before it is connected to."""
        family, kind, protocol, _, (address, *_) = info
        if address not in self._trusted:
            self._rule.check_addresses(address, [address])
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        await self._resolver.close()


@dataclass(frozen=True)
class Hosts:
    """Which hosts are left alone. `clock`: wall clock, seconds since the epoch; `sleep` waits seconds."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    state: State = field(default_factory=OwnState)
    """Pauses of all who share it; looked at every second."""
    _until_s: dict[str, float] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)
    _looked_s: list[float] = field(default_factory=lambda: [-inf])

    def count(self, hops: Sequence[str], *, has_failed: bool) -> None:
        """Hosts that were asked for one image, one led to by the other: all answered, unless the last `has_failed`."""
        for host in hops[: -1 if has_failed else None]:
            self._failures[host] = 0
        if has_failed:
            self._failures[hops[-1]] += 1

    def has_given_up(self, host: str) -> bool:
        """Whether it failed too often in a row."""
        return self._failures[host] >= HOST_PATIENCE

    def note(self, host: str, status: int, retry_after: str) -> datetime | None:
        """Take an answer to heart; a longer pause that is already running stays. Returns what `over` would."""
        asked_s = asked_wait_s(retry_after, self.clock()) if status in _ASKING else None
        if not asked_s:
            return None
        now_s, moment = self.clock(), f"{host}{MOMENT}"
        until_s = now_s + min(asked_s, _LONGEST_S)

        def longer(values: Values) -> None:
            for name in [name for name, until in values.items() if until <= now_s]:
                del values[name]
            values[moment] = max(until_s, values.get(moment, 0.0))

        self.state.change(longer)
        self._looked_s[0] = -inf
        return self._too_far(host)

    def is_paused(self, host: str) -> bool:
        """Whether it may not be asked now."""
        return self._left_s(host) > 0

    async def over(self, host: str) -> datetime | None:
        """Wait until a host may be asked, also if its pause grows meanwhile; or return when, if that is too far."""
        while 0 < self._left_s(host) <= MAX_WAIT_S:
            await self.sleep(self._left_s(host))
        return self._too_far(host)

    def _too_far(self, host: str) -> datetime | None:
        return datetime.fromtimestamp(self._until_s[host], UTC) if self._left_s(host) > MAX_WAIT_S else None

    def _left_s(self, host: str) -> float:
        now_s = self.clock()
        if abs(now_s - self._looked_s[0]) >= _LOOKS_EVERY_S:
            self._looked_s[0] = now_s
            self._until_s.update((name.removesuffix(MOMENT), until) for name, until in self.state.read().items())
        return self._until_s.get(host, 0.0) - now_s
