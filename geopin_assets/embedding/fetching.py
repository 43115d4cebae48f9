"""Fetching images of untrusted origin: bytes, or the reason why not.

Here: the settings of fetching, a session, an attempt and its repetition, redirects, limits on time and size, what every
answer means, and the scheme `own-photos:`. Not here: which addresses are allowed, and when (`hosts.py`), decoding
(`decoding.py`), how many images are on the way (`reading.py`).

The only place outside `http_client` that talks HTTP: bulk images need another client (aiohttp takes 0.2 ms of CPU per
image, httpx 2.4 to 6.8) and other rules (any public host, redirects).

Details of failures name the host and the kind of error only: a URL's query can hold a signature, and messages of
libraries quote URLs.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from geopin_assets.embedding.hosts import AddressRule, ForbiddenAddressError, GuardedResolver, Pauses
from geopin_assets.embedding.protocol import Failure, FailureReason, FetchImage
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.photo_folder import PhotoFolder, PhotoGoneError, PhotoNotAllowedError, PhotoTooLargeError

MAX_BYTES = 32 * 2**20
MAX_REDIRECTS = 3
OWN_PHOTOS_SCHEME = "own-photos"

_Take = Callable[[int], Awaitable[None]]
"""Waits for so many bytes of memory, once."""
_ACCEPT = "image/jpeg, image/png, image/webp, */*;q=0.1"
"""What can be decoded: some hosts answer `image/*` with AVIF."""
_REASONS = {
    **dict.fromkeys((404, 410, 451), FailureReason.NOT_FOUND),
    **dict.fromkeys((425, 429), FailureReason.RATE_LIMITED),
    408: FailureReason.TIMEOUT,
}
_WORTH_REPEATING = (FailureReason.UNREACHABLE, FailureReason.SERVER_ERROR, FailureReason.RATE_LIMITED)
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
    resolver: AbstractResolver | None = None
    """Resolves names; None for the system's own way."""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

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
            auto_decompress=False,  # images are not sent compressed; whatever is, is no image
            headers={"User-Agent": self.user_agent, "Accept": _ACCEPT, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=15),  # `deadline_s` covers the redirects too
        ) as http:
            yield _Session(self, http, memory or TaskMemory(sys.maxsize), Pauses(self.clock, self.sleep)).fetch


@dataclass(frozen=True)
class _Session:
    """Connections, memory and pauses of hosts, shared by all fetches of a session."""

    of: ImageFetcher
    http: aiohttp.ClientSession
    memory: TaskMemory
    pauses: Pauses

    async def fetch(self, url: str) -> bytes | Failure:
        """The bytes, which stay taken from the memory, or why there are none."""
        if url.startswith(f"{OWN_PHOTOS_SCHEME}:"):
            return await self._attempt(self._own_photo, url)
        result = await self._attempt(self._from_web, url)
        if isinstance(result, Failure) and result.reason in _WORTH_REPEATING and result.not_before is None:
            await self.of.sleep(self.of.retry_after_s)
            result = await self._attempt(self._from_web, url)
        return result

    async def _attempt(self, read: Callable[[str, _Take], Awaitable[bytes | Failure]], url: str) -> bytes | Failure:
        """Of the memory that reading takes, what is not returned goes back, however it ends."""
        taken = kept = 0

        async def take(amount: int) -> None:
            nonlocal taken
            await self.memory.take(amount)
            taken = amount

        try:
            result = await read(url, take)
            kept = len(result) if isinstance(result, bytes) else 0
            return result
        finally:
            self.memory.give_back(taken, but=kept)

    async def _own_photo(self, url: str, take: _Take) -> bytes | Failure:
        """A file of the own photos; links that lead out of their folder are refused like `..`."""
        if self.of.own_photos is None:
            return Failure(FailureReason.REFUSED, "no folder of own photos is configured")
        await take(self.of.max_bytes)
        try:
            name = unquote(url.partition(":")[2])
            return await asyncio.to_thread(self.of.own_photos.read, name, self.of.max_bytes)
        except GeoPinError as error:
            reason = next(reason for class_, reason in _OF_OWN_PHOTOS if isinstance(error, class_))
            return Failure(reason, str(error))

    async def _from_web(self, url: str, take: _Take) -> bytes | Failure:
        """Every way in which an attempt can go wrong is a failure."""
        try:
            async with asyncio.timeout(self.of.deadline_s) as deadline:
                return await self._follow(url, take, deadline)
        except TimeoutError:
            return Failure(FailureReason.TIMEOUT, f"not there within {self.of.deadline_s:g} s")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddressError):
                return Failure(FailureReason.NOT_ALLOWED, str(error.os_error))
            return Failure(FailureReason.UNREACHABLE, f"{error.host}:{error.port}: {_said(error.os_error)}")
        except ForbiddenAddressError as error:
            return Failure(FailureReason.NOT_ALLOWED, str(error))
        except ValueError:  # aiohttp's InvalidURL too
            return Failure(FailureReason.NOT_ALLOWED, "not an http(s) address of a host")
        except (aiohttp.ClientError, OSError) as error:
            return Failure(FailureReason.UNREACHABLE, _said(error))

    async def _follow(self, url: str, take: _Take, deadline: asyncio.Timeout) -> bytes | Failure:
        """Fetch with redirects, each hop checked as if it were the first. Raises for forbidden addresses."""
        hop = _parse(url)
        for _ in range(1 + MAX_REDIRECTS):
            host = (hop.raw_host or "").casefold()
            self.of.addresses.check_host(host)
            with _not_counted(deadline):
                not_before = await self.pauses.over(host)
            if not_before:
                return Failure(FailureReason.HOST_DOWN, f"{host} wants to be left alone", not_before)
            async with self.http.get(hop, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return await self._understood(response, host, take, deadline)
            hop = _parse(str(hop.join(_quoted(location))))
        return Failure(FailureReason.TOO_MANY_REDIRECTS, f"more than {MAX_REDIRECTS}")

    async def _understood(
        self, response: aiohttp.ClientResponse, host: str, take: _Take, deadline: asyncio.Timeout
    ) -> bytes | Failure:
        """What an answer that is no redirect means.

        Whatever is refused may be given later; only what the server says is not there is taken for gone.
        """
        status = response.status
        if status == 200:
            return await self._body(response, take, deadline)
        not_before = self.pauses.note(host, status, response.headers.get("Retry-After", ""))
        reason = _REASONS.get(status, FailureReason.REFUSED if status >= 400 else FailureReason.NOT_FOUND)
        if not_before or status >= 500:
            reason = FailureReason.RATE_LIMITED if not_before else FailureReason.SERVER_ERROR
        return Failure(reason, f"status {status}", not_before)

    async def _body(self, response: aiohttp.ClientResponse, take: _Take, deadline: asyncio.Timeout) -> bytes | Failure:
        announced = self.of.max_bytes if response.content_length is None else response.content_length
        if announced > self.of.max_bytes:
            return Failure(FailureReason.TOO_LARGE, f"{announced} bytes")
        with _not_counted(deadline):
            await take(announced)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self.of.max_bytes:
                return Failure(FailureReason.TOO_LARGE, f"more than {self.of.max_bytes} bytes")
        return bytes(body)


@contextmanager
def _not_counted(deadline: asyncio.Timeout) -> Iterator[None]:
    """Stop the clock: what we wait for ourselves is not the server's fault."""
    loop = asyncio.get_running_loop()
    left_s = (deadline.when() or 0.0) - loop.time()
    deadline.reschedule(None)
    try:
        yield
    finally:
        deadline.reschedule(loop.time() + left_s)


def _quoted(url: str) -> URL:
    """Leave a well-formed address as it is: requoting could break the signature in it."""
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def _parse(url: str) -> URL:
    """Raises ValueError unless it is http(s) with a host and without a user name."""
    parsed = _quoted(url)
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or parsed.user or parsed.password:
        raise ValueError("not http(s)")
    return parsed


def _said(error: OSError | aiohttp.ClientError) -> str:
    """The kind of an error; its message could quote the URL."""
    return " ".join(filter(None, (type(error).__name__, getattr(error, "strerror", None))))
