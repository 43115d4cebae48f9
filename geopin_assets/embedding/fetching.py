"""Fetching images of untrusted origin: bytes, or the reason why not.

Here: the settings of fetching, a session, an attempt and its repetition, its memory, and the scheme `own-photos:`. Not
here: what web servers answer (`answers.py`), which addresses are allowed, and when (`hosts.py`), decoding
(`decoding.py`), how many images are on the way (`reading.py`).

The only place outside `http_client` that talks HTTP: bulk images need another client (aiohttp takes 0.2 ms of CPU per
image, httpx 2.4 to 6.8) and other rules (any public host, redirects).
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver

from geopin_assets.embedding.answers import Take, Web
from geopin_assets.embedding.hosts import GIVEN_UP, MAX_WAIT_S, GuardedResolver, Hosts
from geopin_assets.embedding.protocol import Failure, FailureReason, FetchImage
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.http_client import OwnState, State
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets.photo_folder import PhotoFolder, PhotoGoneError, PhotoNotAllowedError, PhotoTooLargeError

MAX_BYTES = 32 * 2**20
EVERY_HOST = "*"
OWN_PHOTOS_SCHEME = "own-photos"
_Read = Callable[[str, Take, list[str]], Awaitable[bytes | Failure]]
"""Reads an address, and notes the hosts that it asks one after the other."""

_ACCEPT = "image/jpeg, image/png, image/webp, */*;q=0.1"
"""What can be decoded: some hosts answer `image/*` with AVIF."""
_WORTH_REPEATING = (
    *(FailureReason.UNREACHABLE, FailureReason.SERVER_ERROR, FailureReason.RATE_LIMITED),
    FailureReason.NOT_READY,
)
_OF_OWN_PHOTOS: tuple[tuple[type[GeoPinError], FailureReason], ...] = (
    (PhotoGoneError, FailureReason.NOT_FOUND),
    (PhotoNotAllowedError, FailureReason.NOT_ALLOWED),
    (PhotoTooLargeError, FailureReason.TOO_LARGE),
    (TransientError, FailureReason.UNREACHABLE),
    (GeoPinError, FailureReason.REFUSED),  # not now: a folder that is not mounted, a key that was changed
)


@dataclass(frozen=True, kw_only=True)
class ImageFetcher:
    """How images are fetched. Holds no connection: those live as long as a `session`."""

    own_photos: PhotoFolder | None = None
    """Folder that `own-photos:{percent-quoted relative name}` is read from."""
    addresses: AddressRule = field(default_factory=AddressRule)
    per_host: int = 8
    """Requests that may run at once against one host."""
    host_limits: Mapping[str, int] = field(default_factory=dict)
    """Hosts whose owners ask for fewer, and how many; names in lower case."""
    deadline_s: float = 60.0
    """For one attempt in all: name, connection, redirects and body; without the time spent on our own waiting."""
    max_bytes: int = MAX_BYTES
    retry_after_s: float = 1.0
    """Pause before the second and last attempt when the server failed or could not be reached and says nothing else."""
    user_agent: str = "geopin-assets"
    ignore_opt_out: frozenset[str] = frozenset()
    """Hosts whose headers against use are not obeyed, in lower case; EVERY_HOST for all."""
    resolver: AbstractResolver | None = None
    """Resolves names; None for the system's own way."""
    pauses: Callable[[], State] = OwnState
    """Where it is kept which hosts want to be left alone, by `clock`, for all who share it."""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def obeys(self, host: str) -> bool:
        """Whether what a host says against the use of its images is obeyed."""
        return self.ignore_opt_out.isdisjoint((host, EVERY_HOST))

    def lanes(self, host: str) -> int:
        """Requests that may run at once against this host."""
        return min(self.per_host, self.host_limits.get(host, self.per_host))

    @asynccontextmanager
    async def session(self, memory: TaskMemory | None = None) -> AsyncIterator[FetchImage]:
        """`fetch(url) -> bytes | Failure`, which never raises for a bad image; connections are reused within.

        The bytes it returns are taken from `memory`; the caller gives back their number when done with them.
        """
        resolver = GuardedResolver(self.addresses, self.resolver)
        connector = aiohttp.TCPConnector(
            resolver=resolver, socket_factory=resolver.open_socket, limit=0, ttl_dns_cache=300
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would resolve names itself
            auto_decompress=False,  # not asked for, and without bounds: `Body` unpacks what comes packed all the same
            headers={"User-Agent": self.user_agent, "Accept": _ACCEPT, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=15),  # `deadline_s` covers the redirects too
        ) as http:
            hosts = Hosts(self.clock, self.sleep, self.pauses())
            yield _Session(self, memory or TaskMemory(sys.maxsize), hosts, Web(self, http, hosts)).fetch


@dataclass(frozen=True)
class _Session:
    """Connections, memory and what is known of hosts, shared by all fetches of a session."""

    of: ImageFetcher
    memory: TaskMemory
    hosts: Hosts
    web: Web

    async def fetch(self, url: str) -> bytes | Failure:
        """The bytes, which stay taken from the memory, or why there are none."""
        is_ours = url.startswith(f"{OWN_PHOTOS_SCHEME}:")
        read = self._own_photo if is_ours else self.web.read
        hops: list[str] = []
        result = await self._attempt(read, url, hops)
        if not is_ours and (wait_s := self._repeated_after_s(result)) <= MAX_WAIT_S:
            await self.of.sleep(wait_s)
            hops.clear()
            result = await self._attempt(read, url, hops)
        if hops:
            self.hosts.count(hops, has_failed=isinstance(result, Failure) and result.reason.is_of_host)
        return result

    def _repeated_after_s(self, result: bytes | Failure) -> float:
        """How long to wait before a second attempt; for ever where none would help."""
        if not isinstance(result, Failure) or result.reason not in _WORTH_REPEATING:
            return inf
        asked_s = result.not_before.timestamp() - self.of.clock() if result.not_before else 0.0
        return max(self.of.retry_after_s, asked_s)

    async def _attempt(self, read: _Read, url: str, hops: list[str]) -> bytes | Failure:
        """Of the memory that reading takes, what is not returned goes back, however it ends."""
        taken = kept = 0

        async def wait(amount: int) -> None:
            nonlocal taken
            await self.memory.take(amount)
            taken = amount

        def take(amount: int) -> Awaitable[None] | None:
            nonlocal taken
            if not self.memory.take_now(amount):
                return wait(amount)
            taken = amount
            return None

        try:
            result = await read(url, take, hops)
            kept = len(result) if isinstance(result, bytes) else 0
            return result
        finally:
            self.memory.give_back(taken, but=kept)

    async def _own_photo(self, url: str, take: Take, hops: list[str]) -> bytes | Failure:
        """A file of the own photos; links that lead out of their folder are refused like `..`."""
        if self.of.own_photos is None:
            return Failure(FailureReason.REFUSED, "no folder of own photos is configured")
        if self.hosts.has_given_up(OWN_PHOTOS_SCHEME):
            return GIVEN_UP
        hops.append(OWN_PHOTOS_SCHEME)
        if waiting := take(self.of.max_bytes):
            await waiting
        try:
            name = unquote(url.partition(":")[2])
            return await asyncio.to_thread(self.of.own_photos.read, name, self.of.max_bytes)
        except GeoPinError as error:
            reason = next(reason for class_, reason in _OF_OWN_PHOTOS if isinstance(error, class_))
            return Failure(reason, str(error))
