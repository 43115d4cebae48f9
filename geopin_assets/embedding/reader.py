"""Reading ahead: images are fetched and prepared in the background while the model works.

Here: the background loop, its threads, and the bound on what is in memory. Not here: what is fetched and why
(`pipeline.py`), how one image is fetched (`images.py`) or decoded (`decode.py`).

    lanes (asyncio, so many per host) → threads (decode, cut, preprocess) → bounded queue → the caller

A thread that finds the queue full waits, its lane waits for it, and nothing more is fetched: memory is bounded
by the number of lanes and the length of the queue, however many images are asked for.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from queue import Full, Queue
from threading import Event
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.stages import StageClock

IN_FLIGHT = 64
"""Images on the way or being prepared, at most."""
QUEUE = 16
"""Prepared captures that wait for the model, at most; a panorama's 12 views take 9.4 MB."""
THREADS = min(os.cpu_count() or 1, 16)
HOST_PATIENCE = 20
"""Failures of a host in a row after which the rest of its images is given up in this run: with a deadline of a
minute each, a dead host with thousands of images would hold a run for hours."""
_POLL_S = 0.1

Prepared = TypeVar("Prepared")
_GIVEN_UP = Failure(FailureReason.HOST_DOWN, f"{HOST_PATIENCE} failures of the host in a row")


class Fetcher(Protocol):
    """Where image bytes come from; `images.ImageFetcher` for real."""

    def lanes(self, host: str) -> int:
        """Requests that may run at once against a host (a scheme for local files)."""
        ...

    def session(self) -> AbstractAsyncContextManager[Callable[[str], Awaitable[bytes | Failure]]]:
        """Yields `fetch(url)`, which returns a Failure and does not raise for a bad image."""
        ...


@dataclass
class _Host:
    """The images of one host that nobody has taken yet, shared by its lanes."""

    keys: Iterator[str]
    failures: int = 0

    @property
    def is_down(self) -> bool:
        return self.failures >= HOST_PATIENCE

    def note(self, result: bytes | Failure) -> None:
        self.failures = self.failures + 1 if isinstance(result, Failure) and result.reason.is_of_host else 0


@dataclass
class ReadAhead(Generic[Prepared]):
    """Iterate over `(key, prepared or Failure)` of all urls, in the order in which they get ready.

    Use it in `contextlib.closing(iter(...))`: leaving early stops the background work.
    What `prepare` raises is raised to the caller.
    """

    urls: Mapping[str, str]
    """Key of each image and where it is."""
    fetcher: Fetcher
    prepare: Callable[[str, bytes], Prepared | Failure]
    """Runs in threads, on a key and its bytes."""
    clock: StageClock
    _queue: Queue[tuple[str, Prepared | Failure] | None] = field(default_factory=lambda: Queue(QUEUE))
    _closed: Event = field(default_factory=Event)

    def __iter__(self) -> Generator[tuple[str, Prepared | Failure]]:
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as background:
            reading = background.submit(asyncio.run, self._read())
            reading.add_done_callback(lambda _: self._put(None))
            try:
                while (item := self._queue.get()) is not None:
                    yield item
                reading.result()
            finally:
                self._closed.set()

    def _put(self, item: tuple[str, Prepared | Failure] | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_S)
            except Full:
                continue

    async def _read(self) -> None:
        """Run all lanes; cut off what is on the way when the caller has left."""
        lanes = asyncio.ensure_future(self._run_lanes())
        while not lanes.done():
            if self._closed.is_set():
                lanes.cancel()
            await asyncio.wait([lanes], timeout=_POLL_S)
        if not lanes.cancelled():
            lanes.result()

    async def _run_lanes(self) -> None:
        by_host: defaultdict[str, list[str]] = defaultdict(list)
        for key, url in self.urls.items():
            by_host[_host(url)].append(key)
        gate = asyncio.Semaphore(IN_FLIGHT)
        async with self.fetcher.session() as fetch:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="prepare") as threads:
                try:
                    async with asyncio.TaskGroup() as group:
                        for name, keys in by_host.items():
                            host = _Host(iter(keys))
                            for _ in range(min(self.fetcher.lanes(name), len(keys))):
                                group.create_task(self._lane(host, fetch, gate, threads))
                except ExceptionGroup as failed:
                    raise failed.exceptions[0] from failed

    async def _lane(
        self,
        host: _Host,
        fetch: Callable[[str], Awaitable[bytes | Failure]],
        gate: asyncio.Semaphore,
        threads: ThreadPoolExecutor,
    ) -> None:
        """Fetch and prepare one image of the host after another."""
        for key in host.keys:
            async with gate:
                if self._closed.is_set():
                    return
                if host.is_down:
                    data: bytes | Failure = _GIVEN_UP
                else:
                    data = await self._fetch(key, fetch)
                    host.note(data)
                await asyncio.get_running_loop().run_in_executor(threads, self._finish, key, data)

    async def _fetch(self, key: str, fetch: Callable[[str], Awaitable[bytes | Failure]]) -> bytes | Failure:
        with self.clock.stage("fetch"):
            return await fetch(self.urls[key])

    def _finish(self, key: str, data: bytes | Failure) -> None:
        self._put((key, data if isinstance(data, Failure) else self.prepare(key, data)))


def _host(url: str) -> str:
    """What requests are counted against: the host, or the scheme of a local file."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.hostname or parts.scheme
