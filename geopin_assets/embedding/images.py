"""Fetching images of untrusted origin: bytes, or the reason why not.

Here: the settings of fetching, a session, and the scheme `own-photos:`. Not here: http(s) (`web_images.py`), which
addresses are allowed (`addresses.py`), decoding (`decode.py`), how many images are on the way (`reader.py`).

With `web_images.py` the only place outside `http_client` that talks HTTP: bulk images need another client (aiohttp
takes 0.2 ms of CPU per image, httpx 2.4 to 6.8) and other rules (any public host, redirects).
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver

from geopin_assets.embedding.addresses import AddressRule, GuardedResolver
from geopin_assets.embedding.budget import Budget, Share
from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.pauses import Pauses
from geopin_assets.embedding.web_images import WebImages
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.photo_folder import PhotoFolder, PhotoGoneError, PhotoNotAllowedError, PhotoTooLargeError

MAX_BYTES = 32 * 2**20
OWN_PHOTOS_SCHEME = "own-photos"
_ACCEPT = "image/jpeg, image/png, image/webp, */*;q=0.1"
"""What can be decoded: some hosts answer `image/*` with AVIF."""

FetchImage = Callable[[str], Awaitable[bytes | Failure]]

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
    async def session(self, budget: Budget | None = None) -> AsyncIterator[FetchImage]:
        """`fetch(url) -> bytes | Failure`, which never raises for a bad image; connections are reused within.

        The bytes it returns are taken from `budget`; the caller gives back their number when done with them.
        """
        budget = budget or Budget(sys.maxsize)
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
            web = self._web(http, budget)

            async def fetch(url: str) -> bytes | Failure:
                if url.startswith(f"{OWN_PHOTOS_SCHEME}:"):
                    return await self._own_photo(url, budget)
                return await web.fetch(url)

            yield fetch

    def _web(self, http: aiohttp.ClientSession, budget: Budget) -> WebImages:
        return WebImages(
            http=http,
            addresses=self.addresses,
            budget=budget,
            pauses=Pauses(self.clock, self.sleep),
            deadline_s=self.deadline_s,
            max_bytes=self.max_bytes,
            retry_after_s=self.retry_after_s,
        )

    async def _own_photo(self, url: str, budget: Budget) -> bytes | Failure:
        with Share(budget) as share:
            await share.take(self.max_bytes)
            result = await asyncio.to_thread(self._read, url)
            share.keep(len(result) if isinstance(result, bytes) else 0)
            return result

    def _read(self, url: str) -> bytes | Failure:
        """A file of the own photos; links that lead out of their folder are refused like `..`."""
        if self.own_photos is None:
            return Failure(FailureReason.REFUSED, "no folder of own photos is configured")
        try:
            return self.own_photos.read(unquote(url.partition(":")[2]), self.max_bytes)
        except GeoPinError as error:
            reason = next((reason for class_, reason in _OF_OWN_PHOTOS if isinstance(error, class_)))
            return Failure(reason, str(error))
