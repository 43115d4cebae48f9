"""Fetching in tests: one call for a session, a time that passes when slept, names that resolve as told."""

import asyncio
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from geopin_assets.embedding.decoding import decode_image
from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.protocol import Failure, FailureReason, Image
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.http_client.addresses import AddressRule

LOOPBACK = AddressRule(allow_loopback=True)


def loopback_fetcher(**options: Any) -> ImageFetcher:
    """As in the sandbox, without a pause between two attempts."""
    return ImageFetcher(**{"addresses": LOOPBACK, "retry_after_s": 0, "deadline_s": 20} | options)


def fetch(fetcher: ImageFetcher, *urls: str, memory: TaskMemory | None = None) -> list[bytes | Failure]:
    """One image after another, in one session."""

    async def run() -> list[bytes | Failure]:
        async with fetcher.session(memory) as one:
            return [await one(url) for url in urls]

    return asyncio.run(run())


def fetch_at_once(fetcher: ImageFetcher, *urls: str, memory: TaskMemory | None = None) -> list[bytes | Failure]:
    async def run() -> list[bytes | Failure]:
        async with fetcher.session(memory) as one:
            return list(await asyncio.gather(*map(one, urls)))

    return asyncio.run(run())


def failure(fetcher: ImageFetcher, url: str) -> Failure:
    (result,) = fetch(fetcher, url)
    assert isinstance(result, Failure), "fetched what it should refuse"
    return result


def reason(fetcher: ImageFetcher, url: str) -> FailureReason:
    return failure(fetcher, url).reason


def outcome(url: str, **options: Any) -> Image | FailureReason:
    """What becomes of an image in the end: fetched and decoded."""
    (data,) = fetch(loopback_fetcher(**options), url)
    result = data if isinstance(data, Failure) else decode_image(data)
    return result.reason if isinstance(result, Failure) else result


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 1_750_000_000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
            self.now += seconds
        await asyncio.sleep(0)


class Names(AbstractResolver):
    """Resolves each name to one answer after another, the last for ever; others do not exist."""

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self.asked: Counter[str] = Counter()
        self._answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        answers = self._answers[host]
        addresses = answers[min(self.asked[host], len(answers) - 1)].split(",")
        self.asked[host] += 1
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Nothing to close."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
