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
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from geopin_assets.embedding.hosts import (
    HOST_PATIENCE,
    MAX_WAIT_S,
    AddressRule,
    ForbiddenAddressError,
    GuardedResolver,
    Hosts,
)
from geopin_assets.embedding.opt_out import opted_out
from geopin_assets.embedding.protocol import LONGEST_WAIT, Failure, FailureReason, FetchImage
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.http_client import Body, asked_wait_s
from geopin_assets.photo_folder import PhotoFolder, PhotoGoneError, PhotoNotAllowedError, PhotoTooLargeError

MAX_BYTES = 32 * 2**20
MAX_REDIRECTS = 10
"""Browsers follow 20; what goes round in a circle is noticed earlier."""
EVERY_HOST = "*"
OWN_PHOTOS_SCHEME = "own-photos"

_Take = Callable[[int], Awaitable[None]]
"""Waits for so many bytes of memory, once."""
_Read = Callable[[str, _Take, list[str]], Awaitable[bytes | Failure]]
"""Reads an address, and notes the hosts that it asks one after the other."""
_GIVEN_UP = Failure(FailureReason.HOST_DOWN, f"{HOST_PATIENCE} failures of the host in a row")
_ACCEPT = "image/jpeg, image/png, image/webp, */*;q=0.1"
"""What can be decoded: some hosts answer `image/*` with AVIF."""
MAX_FIELD, MAX_HEADERS, ROOMS = 2**16, 500, 2
"""For hosts that say more than the 128 headers of 8 kB that are usual: with their policies and cookies some do. Were
they full they would take 32 MB an answer, so ROOMS at once."""
_IMAGES = (200, 203)
_REDIRECTS = (301, 302, 303, 307, 308)
_WHOLE = re.compile(r"bytes 0-(\d{1,15}+)/(\d{1,15}+)")
_UNSEEN = re.compile(rb"[\0-\x08\x0e-\x1f]")
_HEAD = 64
"""Bytes from the beginning in which no text has any of _UNSEEN, and every image has."""
_REASONS = {
    **dict.fromkeys((204, 205, 404, 410, 451, *_REDIRECTS), FailureReason.NOT_FOUND),  # a redirect to nowhere
    202: FailureReason.NOT_READY,
    **dict.fromkeys((425, 429), FailureReason.RATE_LIMITED),
    408: FailureReason.TIMEOUT,
}
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
            yield _Session(self, http, memory or TaskMemory(sys.maxsize), Hosts(self.clock, self.sleep)).fetch


@dataclass(frozen=True)
class _Session:
    """Connections, memory and what is known of hosts, shared by all fetches of a session."""

    of: ImageFetcher
    http: aiohttp.ClientSession
    memory: TaskMemory
    hosts: Hosts
    wordy: set[str] = field(default_factory=set)
    """Hosts with long headers."""
    rooms: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ROOMS))

    async def fetch(self, url: str) -> bytes | Failure:
        """The bytes, which stay taken from the memory, or why there are none."""
        is_ours = url.startswith(f"{OWN_PHOTOS_SCHEME}:")
        read = self._own_photo if is_ours else self._from_web
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

        async def take(amount: int) -> None:
            nonlocal taken
            await self.memory.take(amount)
            taken = amount

        try:
            result = await read(url, take, hops)
            kept = len(result) if isinstance(result, bytes) else 0
            return result
        finally:
            self.memory.give_back(taken, but=kept)

    async def _own_photo(self, url: str, take: _Take, hops: list[str]) -> bytes | Failure:
        """A file of the own photos; links that lead out of their folder are refused like `..`."""
        if self.of.own_photos is None:
            return Failure(FailureReason.REFUSED, "no folder of own photos is configured")
        if self.hosts.has_given_up(OWN_PHOTOS_SCHEME):
            return _GIVEN_UP
        hops.append(OWN_PHOTOS_SCHEME)
        await take(self.of.max_bytes)
        try:
            name = unquote(url.partition(":")[2])
            return await asyncio.to_thread(self.of.own_photos.read, name, self.of.max_bytes)
        except GeoPinError as error:
            reason = next(reason for class_, reason in _OF_OWN_PHOTOS if isinstance(error, class_))
            return Failure(reason, str(error))

    async def _from_web(self, url: str, take: _Take, hops: list[str]) -> bytes | Failure:
        """Every way in which an attempt can go wrong is a failure."""
        try:
            async with asyncio.timeout(self.of.deadline_s) as deadline:
                return await self._follow(url, take, deadline, hops)
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
        except aiohttp.ClientResponseError as error:
            is_wordy = _is_too_long(error)
            return Failure(FailureReason.NOT_UNDERSTOOD if is_wordy else FailureReason.UNREACHABLE, _said(error))
        except (aiohttp.ClientError, OSError) as error:
            return Failure(FailureReason.UNREACHABLE, _said(error))

    async def _follow(self, url: str, take: _Take, deadline: asyncio.Timeout, hops: list[str]) -> bytes | Failure:
        """Fetch with redirects, each hop checked as if it were the first. Raises for forbidden addresses."""
        hop, seen, against = _parse(url), set[URL](), ""
        while hop not in seen and len(seen) <= MAX_REDIRECTS:
            seen.add(hop)
            host = (hop.raw_host or "").casefold()
            self.of.addresses.check_host(host)
            with _not_counted(deadline):
                not_before = await self.hosts.over(host)
            if not_before:
                return Failure(FailureReason.HOST_DOWN, f"{host} wants to be left alone", not_before)
            if self.hosts.has_given_up(host):
                return _GIVEN_UP
            hops.append(host)
            async with self._answer(hop, host, deadline) as response:
                against = against or self._against(response, host)
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    return await self._understood(response, host, take, deadline, against)
            hop = _parse(str(hop.join(_quoted(location))))
        return Failure(FailureReason.TOO_MANY_REDIRECTS, "in a circle" if hop in seen else f"more than {MAX_REDIRECTS}")

    @asynccontextmanager
    async def _answer(self, hop: URL, host: str, deadline: asyncio.Timeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask once; a host whose headers turn out to be long again, and from then on with room for them."""
        if host not in self.wordy:
            try:
                response = await self.http.get(hop, allow_redirects=False)
            except aiohttp.ClientResponseError as error:
                if not _is_too_long(error):
                    raise
                self.wordy.add(host)
            else:
                async with response:
                    yield response
                return
        with _not_counted(deadline):
            await self.rooms.acquire()
        try:
            async with self.http.get(
                hop, allow_redirects=False, max_field_size=MAX_FIELD, max_headers=MAX_HEADERS
            ) as response:
                yield response
        finally:
            self.rooms.release()

    def _against(self, response: aiohttp.ClientResponse, host: str) -> str:
        """What the headers say against using the image."""
        if not self.of.obeys(host):
            return ""
        robots, reservations = (response.headers.getall(name, ()) for name in ("X-Robots-Tag", "tdm-reservation"))
        return opted_out(robots, reservations, self.of.user_agent) if robots or reservations else ""

    async def _understood(
        self, response: aiohttp.ClientResponse, host: str, take: _Take, deadline: asyncio.Timeout, against: str
    ) -> bytes | Failure:
        """What an answer that is no redirect means.

        Whatever is refused may be given later; only what the server says is not there is taken for gone.
        """
        status, retry_after = response.status, response.headers.get("Retry-After", "")
        if status in _IMAGES or (status == 206 and _is_whole(response)):
            return await self._body(response, take, deadline, against)
        reason = _REASONS.get(status, FailureReason.REFUSED if status >= 400 else FailureReason.NOT_UNDERSTOOD)
        if reason is FailureReason.NOT_READY:  # this image, not the host, wants to be left alone
            return Failure(reason, f"status {status}", self._not_before(retry_after))
        not_before = self.hosts.note(host, status, retry_after)
        if not_before or status >= 500:
            reason = FailureReason.RATE_LIMITED if not_before else FailureReason.SERVER_ERROR
        return Failure(reason, f"status {status}", not_before)

    def _not_before(self, retry_after: str) -> datetime | None:
        now_s = self.of.clock()
        asked_s = asked_wait_s(retry_after, now_s)
        longest_s = LONGEST_WAIT.total_seconds()
        return datetime.fromtimestamp(now_s + min(asked_s, longest_s), UTC) if asked_s else None

    async def _body(
        self, response: aiohttp.ClientResponse, take: _Take, deadline: asyncio.Timeout, against: str
    ) -> bytes | Failure:
        """The image; not of one that may not be used, which is known when its beginning is none of an error page's."""
        encoding, most = response.headers.get("Content-Encoding", ""), self.of.max_bytes
        announced = response.content_length
        if announced is not None and announced > most:
            return Failure(FailureReason.TOO_LARGE, f"{announced} bytes")
        with _not_counted(deadline):
            await take(most if announced is None or encoding else announced)
        body: Body | None = None
        try:
            async for chunk in response.content.iter_any():
                body = body or Body.unasked(encoding, chunk, most)
                body.add(chunk)
                if body.is_too_large:
                    return Failure(FailureReason.TOO_LARGE, f"more than {most} bytes")
                if against and _UNSEEN.search(body.head(_HEAD)):
                    return Failure(FailureReason.OPTED_OUT, against)
            return body.whole() if body else b""
        except TransientError as error:
            return Failure(FailureReason.DAMAGED, str(error))


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


def _is_too_long(error: aiohttp.ClientResponseError) -> bool:
    """Whether it is about an answer with more or longer headers than there was room for."""
    return error.message.startswith(("Got more than", "Too many headers"))


def _is_whole(response: aiohttp.ClientResponse) -> bool:
    """Whether a part of an image is all of it."""
    match = _WHOLE.fullmatch(response.headers.get("Content-Range", "").strip().lower())
    return match is not None and int(match[1]) + 1 == int(match[2])


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
