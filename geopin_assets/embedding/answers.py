"""One image from a web server: redirects, what every answer means, and limits on time and size.

Here: one attempt. Not here: connections, repetition and memory (`fetching.py`), which addresses are allowed and which
hosts are left alone (`hosts.py`), headers against the use of an image (`opt_out.py`), decoding (`decoding.py`).

Details of failures name the host and the kind of error only: a URL's query can hold a signature, and messages of
libraries quote URLs.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import aiohttp
from yarl import URL

from geopin_assets.embedding.hosts import GIVEN_UP, Hosts
from geopin_assets.embedding.opt_out import opted_out
from geopin_assets.embedding.protocol import LONGEST_WAIT, Failure, FailureReason
from geopin_assets.errors import TransientError
from geopin_assets.http_client import Body, asked_wait_s
from geopin_assets.http_client.addresses import AddressRule, ForbiddenAddressError

MAX_REDIRECTS = 10
"""Browsers follow 20; what goes round in a circle is noticed earlier."""
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

Take = Callable[[int], Awaitable[None] | None]
"""Takes so many bytes of memory, once; where there are not so many now, it returns what waits for them."""


class Manner(Protocol):
    """How a server is asked: what `fetching.ImageFetcher` says of it."""

    @property
    def addresses(self) -> AddressRule: ...
    @property
    def deadline_s(self) -> float: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def user_agent(self) -> str: ...
    @property
    def clock(self) -> Callable[[], float]: ...

    def obeys(self, host: str) -> bool: ...


@dataclass(frozen=True)
class Web:
    """All web servers, by the connections of one session."""

    of: Manner
    http: aiohttp.ClientSession
    hosts: Hosts
    wordy: set[str] = field(default_factory=set)
    """Hosts with long headers."""
    rooms: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ROOMS))

    async def read(self, url: str, take: Take, hops: list[str]) -> bytes | Failure:
        """An image, or why there is none: every way in which it can go wrong is a failure. Hosts asked go to `hops`."""
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

    async def _follow(self, url: str, take: Take, deadline: asyncio.Timeout, hops: list[str]) -> bytes | Failure:
        """Fetch with redirects, each hop checked as if it were the first. Raises for forbidden addresses."""
        hop, seen, against = _parse(url), set[URL](), ""
        while hop not in seen and len(seen) <= MAX_REDIRECTS:
            seen.add(hop)
            host = (hop.raw_host or "").casefold()
            self.of.addresses.check_host(host)
            if self.hosts.is_paused(host):
                with _not_counted(deadline):
                    not_before = await self.hosts.over(host)
                if not_before:
                    return Failure(FailureReason.HOST_DOWN, f"{host} wants to be left alone", not_before)
            if self.hosts.has_given_up(host):
                return GIVEN_UP
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
        self, response: aiohttp.ClientResponse, host: str, take: Take, deadline: asyncio.Timeout, against: str
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
        self, response: aiohttp.ClientResponse, take: Take, deadline: asyncio.Timeout, against: str
    ) -> bytes | Failure:
        """The image; not of one that may not be used, which is known when its beginning is none of an error page's."""
        encoding, most = response.headers.get("Content-Encoding", ""), self.of.max_bytes
        announced = response.content_length
        if announced is not None and announced > most:
            return Failure(FailureReason.TOO_LARGE, f"{announced} bytes")
        if waiting := take(most if announced is None or encoding else announced):
            with _not_counted(deadline):
                await waiting
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
