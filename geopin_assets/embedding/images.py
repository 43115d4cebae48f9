"""Fetching images of untrusted origin: bytes, or the reason why not.

Here: http(s) and the scheme `own-photos:`, redirects, limits on size and time. Not here: which
addresses are allowed (`addresses.py`), decoding (`decode.py`), how many images are on the way (`reader.py`).

The only place outside `http_client.py` that talks HTTP: bulk images need another client (aiohttp takes
0.2 ms of CPU per image, httpx 2.4 to 6.8) and other rules (any public host, redirects).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

import aiohttp
from yarl import URL

from geopin_assets.embedding.addresses import AddressRule, ForbiddenAddressError, GuardedResolver
from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.photo_folder import PhotoFolder, PhotoGoneError, PhotoNotAllowedError, PhotoTooLargeError

MAX_BYTES = 32 * 2**20
MAX_REDIRECTS = 3
OWN_PHOTOS_SCHEME = "own-photos"

FetchImage = Callable[[str], Awaitable[bytes | Failure]]

_REASONS = {
    401: FailureReason.REFUSED,
    403: FailureReason.REFUSED,
    408: FailureReason.TIMEOUT,
    425: FailureReason.RATE_LIMITED,
    429: FailureReason.RATE_LIMITED,
}
_OF_OWN_PHOTOS: tuple[tuple[type[GeoPinError], FailureReason], ...] = (
    (PhotoGoneError, FailureReason.NOT_FOUND),
    (PhotoNotAllowedError, FailureReason.NOT_ALLOWED),
    (PhotoTooLargeError, FailureReason.TOO_LARGE),
    (TransientError, FailureReason.UNREACHABLE),
    (GeoPinError, FailureReason.REFUSED),  # not now: a folder that is not mounted, a key that was changed
)
_WORTH_REPEATING = (FailureReason.UNREACHABLE, FailureReason.SERVER_ERROR, FailureReason.RATE_LIMITED)


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
    """For one image in all: name, connection, redirects and body."""
    max_bytes: int = MAX_BYTES
    retry_after_s: float = 1.0
    """Pause before the second and last attempt when the server failed or could not be reached."""
    user_agent: str = "geopin-assets"

    def lanes(self, host: str) -> int:
        """Requests that may run at once against this host."""
        return min(self.per_host, self.host_limits.get(host, self.per_host))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[FetchImage]:
        """`fetch(url) -> bytes | Failure`, which never raises for a bad image; connections are reused within."""
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self.addresses), limit=0, ttl_dns_cache=300)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # images are not sent compressed; whatever is, is no image
            headers={"User-Agent": self.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=15),  # `deadline_s` covers the redirects too
        ) as http:
            yield partial(self._fetch, http)

    async def _fetch(self, http: aiohttp.ClientSession, url: str) -> bytes | Failure:
        if url.startswith(f"{OWN_PHOTOS_SCHEME}:"):
            return await asyncio.to_thread(self._read, url)
        result = await self._attempt(http, url)
        if isinstance(result, Failure) and result.reason in _WORTH_REPEATING:
            await asyncio.sleep(self.retry_after_s)
            result = await self._attempt(http, url)
        return result

    async def _attempt(self, http: aiohttp.ClientSession, url: str) -> bytes | Failure:
        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._follow(http, url)
        except TimeoutError:
            return Failure(FailureReason.TIMEOUT, f"not there within {self.deadline_s:g} s")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddressError):
                return Failure(FailureReason.NOT_ALLOWED, str(error.os_error))
            return Failure(FailureReason.UNREACHABLE, str(error))
        except (ForbiddenAddressError, ValueError) as error:
            return Failure(FailureReason.NOT_ALLOWED, str(error))
        except (aiohttp.ClientError, OSError) as error:
            return Failure(FailureReason.UNREACHABLE, f"{type(error).__name__}: {error}")

    async def _follow(self, http: aiohttp.ClientSession, url: str) -> bytes | Failure:
        """Fetch with redirects, each hop checked as if it were the first. Raises for forbidden addresses."""
        hop = _parse(url)
        for _ in range(1 + MAX_REDIRECTS):
            self.addresses.check_host(hop.raw_host or "")
            async with http.get(hop, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in (301, 302, 303, 307, 308) and location:
                    hop = _parse(str(hop.join(_quoted(location))))
                    continue
                if response.status != 200:
                    return Failure(_reason(response.status), f"status {response.status}")
                return await self._body(response)
        return Failure(FailureReason.TOO_MANY_REDIRECTS, f"more than {MAX_REDIRECTS}")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes | Failure:
        if (response.content_length or 0) > self.max_bytes:
            return Failure(FailureReason.TOO_LARGE, f"{response.content_length} bytes")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self.max_bytes:
                return Failure(FailureReason.TOO_LARGE, f"more than {self.max_bytes} bytes")
        return bytes(body)

    def _read(self, url: str) -> bytes | Failure:
        """A file of the own photos; links that lead out of their folder are refused like `..`."""
        if self.own_photos is None:
            return Failure(FailureReason.REFUSED, "no folder of own photos is configured")
        try:
            return self.own_photos.read(unquote(url.partition(":")[2]), self.max_bytes)
        except GeoPinError as error:
            reason = next((reason for class_, reason in _OF_OWN_PHOTOS if isinstance(error, class_)))
            return Failure(reason, str(error))


def _quoted(url: str) -> URL:
    """Leave a well-formed address as it is: requoting could break the signature in it."""
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def _parse(url: str) -> URL:
    """Raises ValueError unless it is http(s) with a host and without a user name."""
    parsed = _quoted(url)
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or parsed.user or parsed.password:
        raise ValueError(f"not an http(s) address: {parsed.scheme}")
    return parsed


def _reason(status: int) -> FailureReason:
    if status >= 500:
        return FailureReason.SERVER_ERROR
    return _REASONS.get(status, FailureReason.NOT_FOUND)
