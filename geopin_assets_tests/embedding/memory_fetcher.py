"""A fetcher without a network: bytes from a dict, counting."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets.embedding.stages import TaskMemory

NOT_FOUND = Failure(FailureReason.NOT_FOUND)


@dataclass
class MemoryFetcher:
    images: Mapping[str, bytes | Failure]
    per_host: int = 4
    host_limits: Mapping[str, int] = field(default_factory=dict)
    pause_s: float = 0.0
    otherwise: Failure = NOT_FOUND
    fetched: Counter[str] = field(default_factory=Counter)
    active: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)

    def lanes(self, host: str) -> int:
        return self.host_limits.get(host, self.per_host)

    @asynccontextmanager
    async def session(self, memory: TaskMemory) -> AsyncIterator[Callable[[str], Awaitable[bytes | Failure]]]:
        async def fetch(url: str) -> bytes | Failure:
            data = await self._fetch(url)
            if not isinstance(data, Failure):
                await memory.take(len(data))
            return data

        yield fetch

    async def _fetch(self, url: str) -> bytes | Failure:
        host = url.split("/")[2]
        self.fetched[url] += 1
        self.active[host] += 1
        self.peak[host] = max(self.peak[host], self.active[host])
        await asyncio.sleep(self.pause_s)
        self.active[host] -= 1
        return self.images.get(url, self.otherwise)
