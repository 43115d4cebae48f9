"""One session of fetching images over HTTP from servers that nobody vouches for.

Here: an attempt and its repetition, redirects, limits on time and size, what every answer means. Not here: which
addresses are allowed (`addresses.py`), settings and other schemes (`images.py`), decoding (`decode.py`).

Details of failures name the host and the kind of error only: a URL's query can hold a signature, and messages of
libraries quote URLs.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from geopin_assets.embedding.addresses import AddressRule, ForbiddenAddressError
from geopin_assets.embedding.budget import Budget, Share
from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.pauses import Pauses

MAX_REDIRECTS = 3

_REASONS = {
    404: FailureReason.NOT_FOUND,
    408: FailureReason.TIMEOUT,
    410: FailureReason.NOT_FOUND,
    425: FailureReason.RATE_LIMITED,
    429: FailureReason.RATE_LIMITED,
    451: FailureReason.NOT_FOUND,
}
_WORTH_REPEATING = (FailureReason.UNREACHABLE, FailureReason.SERVER_ERROR, FailureReason.RATE_LIMITED)


@dataclass(frozen=True, kw_only=True)
class WebImages:
    """Fetches images as `images.ImageFetcher` says; connections and pauses of hosts are shared."""

    http: aiohttp.ClientSession
    addresses: AddressRule
    budget: Budget
    pauses: Pauses
    deadline_s: float
    max_bytes: int
    retry_after_s: float

    async def fetch(self, url: str) -> bytes | Failure:
        """The bytes, which stay taken from the budget, or why there are none."""
        result = await self._attempt(url)
        if isinstance(result, Failure) and result.reason in _WORTH_REPEATING and result.not_before is None:
            await self.pauses.sleep(self.retry_after_s)
            result = await self._attempt(url)
        return result

    async def _attempt(self, url: str) -> bytes | Failure:
        with Share(self.budget) as share:
            result = await self._guarded(url, share)
            share.keep(len(result) if isinstance(result, bytes) else 0)
            return result

    async def _guarded(self, url: str, share: Share) -> bytes | Failure:
        """Every way in which an attempt can go wrong is a failure."""
        try:
            async with asyncio.timeout(self.deadline_s) as deadline:
                return await self._follow(url, share, deadline)
        except TimeoutError:
            return Failure(FailureReason.TIMEOUT, f"not there within {self.deadline_s:g} s")
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

    async def _follow(self, url: str, share: Share, deadline: asyncio.Timeout) -> bytes | Failure:
        """Fetch with redirects, each hop checked as if it were the first. Raises for forbidden addresses."""
        hop = _parse(url)
        for _ in range(1 + MAX_REDIRECTS):
            host = (hop.raw_host or "").casefold()
            self.addresses.check_host(host)
            with _not_counted(deadline):
                not_before = await self.pauses.over(host)
            if not_before:
                return Failure(FailureReason.HOST_DOWN, f"{host} wants to be left alone", not_before)
            async with self.http.get(hop, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return await self._understood(response, host, share, deadline)
            hop = _parse(str(hop.join(_quoted(location))))
        return Failure(FailureReason.TOO_MANY_REDIRECTS, f"more than {MAX_REDIRECTS}")

    async def _understood(
        self, response: aiohttp.ClientResponse, host: str, share: Share, deadline: asyncio.Timeout
    ) -> bytes | Failure:
        """What an answer that is no redirect means."""
        if response.status == 200:
            return await self._body(response, share, deadline)
        not_before = self.pauses.note(host, response.status, response.headers.get("Retry-After", ""))
        reason = FailureReason.RATE_LIMITED if not_before else _reason(response.status)
        return Failure(reason, f"status {response.status}", not_before)

    async def _body(self, response: aiohttp.ClientResponse, share: Share, deadline: asyncio.Timeout) -> bytes | Failure:
        announced = self.max_bytes if response.content_length is None else response.content_length
        if announced > self.max_bytes:
            return Failure(FailureReason.TOO_LARGE, f"{announced} bytes")
        with _not_counted(deadline):
            await share.take(announced)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self.max_bytes:
                return Failure(FailureReason.TOO_LARGE, f"more than {self.max_bytes} bytes")
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


def _reason(status: int) -> FailureReason:
    """Whatever is refused may be given later; only what the server says is not there is taken for gone."""
    if status >= 500:
        return FailureReason.SERVER_ERROR
    return _REASONS.get(status, FailureReason.REFUSED if status >= 400 else FailureReason.NOT_FOUND)


def _said(error: OSError | aiohttp.ClientError) -> str:
    """The kind of an error; its message could quote the URL."""
    return " ".join(filter(None, (type(error).__name__, getattr(error, "strerror", None))))
