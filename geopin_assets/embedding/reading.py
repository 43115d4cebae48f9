"""Reading ahead: images are fetched and prepared in the background while the model works.

Here: the background loop, its threads, and the bounds on what is in memory. Not here: what is fetched and why
(`pipeline.py`), how one image is fetched (`fetching.py`) or decoded (`decoding.py`).

    submit → renewed links → lanes (asyncio, so many per host) → threads (decode, cut, preprocess) → next

An image holds one of IN_FLIGHT places from before its fetch until the caller has room for it in a bounded queue, so
a slow caller stops the fetching, and memory is bounded however many images are asked for. One that was being read when
a run ended holds all of them (`attempts.py`).
"""

import asyncio
import os
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event
from typing import Generic, Self, TypeVar
from urllib.parse import urlsplit

from geopin_assets.capture import addresses
from geopin_assets.embedding.attempts import RunAttempts
from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason, Fetcher
from geopin_assets.embedding.stages import StageClock, TaskMemory

IN_FLIGHT = 64
"""Images on the way or being prepared, at most."""
IN_FLIGHT_BYTES = 256 * 2**20
"""Undecoded bytes of those, at most: 64 images of 32 MB would be 2 GB."""
QUEUE = 16
"""Prepared captures that wait for the model, at most; a panorama's 12 views take 9.4 MB."""
THREADS = min(os.cpu_count() or 1, 16)
BACK_AT_ONCE = 16
"""Images that threads are done with before the loop hears of them, as long as the threads have others. What it does for
each, such as asking for another, takes less CPU for several in a row, while its code is in the caches."""
RENEWED_AT_ONCE = 500
"""Captures whose links are renewed together, just before they are fetched: on a CPU a large cell takes hours, and
links renewed at its start would have expired at its end."""
_POLL_S = 0.1

Prepared = TypeVar("Prepared")
Renew = Callable[[Sequence[CaptureImage]], Mapping[str, str | Failure]]
"""capture_id -> another address, or why there is none, for those whose address has expired."""
_Fetched = tuple[CaptureImage, bytes | Failure, int]
_Done = tuple[CaptureImage, int, int, BaseException | None]
"""An image, its bytes or their number, how many places it holds, and what went wrong here."""


@dataclass(slots=True)
class _Line:
    """Images that stand in line for one host, by the address they were stored with."""

    host: str
    waiting: deque[CaptureImage] = field(default_factory=deque)
    lanes: int = 0


@dataclass(slots=True)
class _Links:
    """Links of one source: images whose links were not looked at yet, in order, and those that were."""

    unknown: dict[CaptureImage, None] = field(default_factory=dict)
    known: dict[CaptureImage, str | Failure] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ReadAhead(Generic[Prepared]):
    """Fetches and prepares what is submitted. Use it as a context manager; leaving stops the background work.

    `prepare` runs in threads, on an image and its bytes; what it raises is raised by `next`. `renew` runs in a
    thread, never twice at once.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        prepare: Callable[[CaptureImage, bytes], Prepared | Failure],
        clock: StageClock,
        renew: Renew | None = None,
        attempts: RunAttempts | None = None,
    ) -> None:
        self._fetcher, self._prepare, self._clock, self._renew = fetcher, prepare, clock, renew
        self._attempts = attempts
        self.pending = 0
        """Images submitted and not returned by `next` yet."""
        self._ready: Queue[tuple[CaptureImage, Prepared | Failure] | None] = Queue(QUEUE)
        self._closed, self._started = Event(), Event()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prepare")
        self._fetched: SimpleQueue[_Fetched | None] = SimpleQueue()
        self._renewing = ThreadPoolExecutor(1, thread_name_prefix="renew")

    def __enter__(self) -> Self:
        for _ in range(THREADS):
            self._threads.submit(self._work)
        self._reading: Future[None] = self._background.submit(asyncio.run, self._run())
        self._reading.add_done_callback(self._ended)
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._task and not self._reading.done():
            self._loop.call_soon_threadsafe(self._task.cancel)
        for each in [None] * THREADS:
            self._fetched.put(each)
        for executor in (self._background, self._threads, self._renewing):
            executor.shutdown()

    def _ended(self, _: Future[None]) -> None:
        self._started.set()  # it may have ended before it started
        self._put(None)

    def submit(self, images: Sequence[CaptureImage]) -> None:
        """Have these read too."""
        if images and not self._reading.done():
            self._loop.call_soon_threadsafe(self._stand_in_line, images)
        self.pending += len(images)

    def next(self, wait_s: float | None = None) -> tuple[CaptureImage, Prepared | Failure]:
        """The next image that is ready, in no particular order; waits for it. Only while `pending`.

        Raises TimeoutError if none is ready within `wait_s`.
        """
        try:
            item = self._ready.get(timeout=wait_s)
        except Empty:
            raise TimeoutError from None
        if item is None:
            self._reading.result()
            raise RuntimeError("nothing is read any more")
        self.pending -= 1
        return item

    def _put(self, item: tuple[CaptureImage, Prepared | Failure] | None) -> None:
        while not self._closed.is_set():
            try:
                return self._ready.put(item, timeout=_POLL_S)
            except Full:
                continue

    async def _run(self) -> None:
        """The background loop: lanes come and go in it until the caller leaves or something raises."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._lines: dict[str, _Line] = {}
        self._places_at: dict[str, asyncio.Semaphore] = {}
        self._links: defaultdict[str, _Links] = defaultdict(_Links)
        self._places, self._memory = TaskMemory(IN_FLIGHT), TaskMemory(IN_FLIGHT_BYTES)
        self._handed_over = self._taken_back = 0
        self._done: deque[_Done] = deque()
        self._some_done = asyncio.Event()
        try:
            async with self._fetcher.session(self._memory) as self._fetch, asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._take_back())
                self._started.set()
                await self._loop.create_future()  # until the caller leaves, which cancels the lanes too
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    def _stand_in_line(self, images: Sequence[CaptureImage]) -> None:
        for image in images:
            host = _host(image.image_url)
            self._lines.setdefault(host, _Line(host)).waiting.append(image)
            if self._renew is not None:
                self._links[image.source].unknown[image] = None
        for name, line in self._lines.items():
            for _ in range(min(self._fetcher.lanes(name) - line.lanes, len(line.waiting))):
                line.lanes += 1
                self._tasks.create_task(self._lane(line))

    async def _lane(self, line: _Line) -> None:
        """Fetch one image of the line after another."""
        while line.waiting:
            image = line.waiting.popleft()
            link = await self._link(image)
            places = IN_FLIGHT if self._attempts and self._attempts.is_alone(image) else 1
            await self._places.take(places)
            data = link if isinstance(link, Failure) else await self._try(image, link, line)
            self._handed_over += 1
            self._fetched.put((image, data, places))
        line.lanes -= 1

    async def _link(self, image: CaptureImage) -> str | Failure:
        """Where the image is now. Asks for a portion of its source's links together, whatever their hosts are."""
        if self._renew is None:
            return image.image_url
        links = self._links[image.source]
        async with links.turn:
            if image not in links.known:
                some = list({image: None} | dict(islice(links.unknown.items(), RENEWED_AT_ONCE)))[:RENEWED_AT_ONCE]
                renewed = await self._loop.run_in_executor(self._renewing, self._renew, some)
                for one in some:
                    del links.unknown[one]
                    links.known[one] = renewed.get(one.capture_id, one.image_url)
        return links.known.pop(image)

    async def _try(self, image: CaptureImage, url: str, line: _Line) -> bytes | Failure:
        """Fetch an image that did not end two runs, after writing down that it is tried."""
        if self._attempts is not None:
            if blamed := self._attempts.blamed(image):
                return blamed
            self._attempts.begin(image)
        data: bytes | Failure = Failure(FailureReason.NOT_FOUND)
        for address in addresses(url):
            data = await self._ask(address, line.host if address == image.image_url else _host(address))
            if not (isinstance(data, Failure) and data.reason is FailureReason.NOT_FOUND):
                break
        return data

    async def _ask(self, url: str, host: str) -> bytes | Failure:
        """Fetch from a host that may be another than the line's: renewed links often lead elsewhere."""
        if (places := self._places_at.get(host)) is None:
            places = self._places_at[host] = asyncio.Semaphore(self._fetcher.lanes(host))
        async with places:
            with self._clock.stage("fetch"):
                return await self._fetch(url)

    def _work(self) -> None:
        """In a thread: one image after another, from a queue, so that none needs a future."""
        while fetched := self._fetched.get():
            self._tell(self._finish(*fetched))
            del fetched  # a thread that waits holds no bytes

    def _finish(self, image: CaptureImage, data: bytes | Failure, places: int) -> _Done:
        """Prepare it and put it into the caller's queue; only then is there room for another."""
        taken, error = 0 if isinstance(data, Failure) else len(data), None
        try:
            if not self._closed.is_set():
                self._put((image, data if isinstance(data, Failure) else self._prepare(image, data)))
        except BaseException as caught:  # noqa: BLE001 the caller gets it
            error = caught
        return image, taken, places, error

    def _tell(self, done: _Done) -> None:
        """A thread is done with an image. The loop hears of several at once, unless a thread would stand idle."""
        self._done.append(done)
        left = self._handed_over - self._taken_back - len(self._done)
        if len(self._done) >= BACK_AT_ONCE or left < THREADS:
            with suppress(RuntimeError):  # the loop is closed: the caller left
                self._loop.call_soon_threadsafe(self._some_done.set)

    async def _take_back(self) -> None:
        """Give back what images held that threads are done with."""
        while True:
            await self._some_done.wait()
            self._some_done.clear()
            while self._done:
                self._taken_back += 1  # first: who looks in between may count too few that are left, not too many
                image, taken, places, error = self._done.popleft()
                if error is not None:
                    raise error
                self._memory.give_back(taken)
                if self._attempts is not None:
                    self._attempts.end(image)
                self._places.give_back(places)


def _host(url: str) -> str:
    """What requests are counted against: the host, or the scheme of a local file."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.hostname or parts.scheme
