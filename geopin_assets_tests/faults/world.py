"""What sources show, how it changes from week to week, and how they lie about it; and the images behind it.

Here: the truth, sources that show it in pages, a web of images and a model that is cheap. Not here: what the platform
does with them (`weeks.py`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopin_assets.capture import Capture, Rejected
from geopin_assets.cells import cell
from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.protocol import Failure, FailureReason, Image, Model
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.embedding.views import perspective_views
from geopin_assets.errors import TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.paging import fetch_settled, next_page, page_size
from geopin_assets_tests.factories import capture
from geopin_assets_tests.platform import CELLS

NAMES = ("panoramax", "flickr")
PER_PAGE, MOST = 7, 40
OPEN, CLOSED = ("CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0"), "CC-BY-NC-4.0"
CHANGES = ("nothing", "vanish", "halve", "double", "move", "license", "new image", "come back")
DEEDS = ("honest", "honest", "fails", "ends early", "shifts", "repeats", "is blank")
PANORAMAS, MISSING, SLOW = 0.1, 0.06, 0.12
"""Parts of all captures, of all images, and of the images of a week."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A capture as its source shows it."""

    id: str
    cell_id: str
    lon: float
    lat: float
    license: str
    is_pano: bool
    version: int = 1

    @property
    def image(self) -> str:
        """What its address ends with."""
        return f"{self.id}-{'pano' if self.is_pano else 'flat'}-{self.version}"

    @property
    def credit(self) -> str:
        return f"by {self.id}, {self.license}"


@dataclass
class World:
    """What every source shows."""

    random: Random
    shown: dict[str, dict[str, Shown]] = field(default_factory=lambda: {name: {} for name in NAMES})
    gone: dict[str, list[Shown]] = field(default_factory=lambda: {name: [] for name in NAMES})
    made: int = 0

    @classmethod
    def first(cls, random: Random) -> "World":
        world = cls(random)
        for name in NAMES:
            for cell_id in CELLS:
                world.add(name, cell_id, random.randint(0, MOST))
        return world

    def in_cell(self, name: str, cell_id: str) -> dict[str, Shown]:
        return {id_: one for id_, one in self.shown[name].items() if one.cell_id == cell_id}

    def admitted(self) -> dict[str, Shown]:
        """What may be published of what is shown."""
        return {f"{name}:{one.id}": one for name in NAMES for one in self.shown[name].values() if one.license in OPEN}

    def add(self, name: str, cell_id: str, count: int) -> None:
        for _ in range(count):
            self.made += 1
            license_, is_pano = self.random.choice((*OPEN, CLOSED)), self.random.random() < PANORAMAS
            self.put(name, Shown(f"{self.made:05d}", cell_id, *self.place(cell_id), license_, is_pano))

    def put(self, name: str, one: Shown) -> None:
        self.shown[name][one.id] = one

    def place(self, cell_id: str) -> tuple[float, float]:
        box = cell(cell_id).bbox
        return self.random.uniform(box.west, box.east - 1e-6), self.random.uniform(box.south, box.north - 1e-6)

    def withdraw(self, name: str, ids: Sequence[str]) -> None:
        self.gone[name] += [self.shown[name].pop(id_) for id_ in ids]

    def change(self, name: str, cell_id: str, how: str) -> None:
        here = self.in_cell(name, cell_id)
        match how:
            case "vanish":
                self.withdraw(name, sorted(here))
            case "halve":
                self.withdraw(name, self.random.sample(sorted(here), len(here) // 2))
            case "double":
                self.add(name, cell_id, max(1, min(len(here), MOST)))
            case "come back":
                back, self.gone[name] = self.gone[name], []
                for one in back:
                    self.put(name, one)
            case _:
                for id_ in self.random.sample(sorted(here), len(here) // 3):
                    self.put(name, self.changed(here[id_], how))

    def changed(self, one: Shown, how: str) -> Shown:
        match how:
            case "move":
                there = next(other for other in CELLS if other != one.cell_id)
                lon, lat = self.place(there)
                return replace(one, cell_id=there, lon=lon, lat=lat)
            case "license":
                return replace(one, license=self.random.choice((*OPEN, CLOSED)))
            case "new image":
                return replace(one, version=one.version + 1)
        return one


class Lying(Source):
    """One source of a world, in pages by offset, the kind that shifts."""

    def __init__(self, name: str, world: World, deed: str) -> None:
        self.name, self._world, self._deed = name, world, deed  # type: ignore[misc]
        self.yielded = 0

    @classmethod
    def from_settings(cls, settings: Any, client: Any) -> "Lying":
        raise NotImplementedError

    def captures(self, where: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        records = fetch_settled(where.bbox, partial(self._fetch, where), report, id_of=lambda one: one.id)
        if self._deed == "ends early":
            report.miss(where.bbox, "the server stopped there")
            records = records[: len(records) // 2]
        for one in records * (2 if self._deed == "repeats" else 1):
            self.yielded += 1
            yield capture(
                one.id,
                source=self.name,
                lon=one.lon,
                lat=one.lat,
                license=one.license,
                attribution=one.credit,
                is_pano=one.is_pano,
                image_version=str(one.version),
                image_url=f"https://{self.name}.example/{one.image}",
            )

    def _fetch(self, where: Cell, box: Bbox, report: CrawlReport) -> list[Shown]:
        if self._deed == "is blank" and not report.reading:
            return []
        found: dict[str, Shown] = {}
        offset, size = 0, page_size(PER_PAGE, report)
        while True:
            if self._deed == "fails" and offset:
                raise TransientError("503")
            here = [one for _, one in sorted(self._world.in_cell(self.name, where.cell_id).items())]
            if offset:
                with next_page():
                    page = here[offset : offset + size]
            else:
                page = here[:size]
            report.requests += 1
            found |= {one.id: one for one in page}
            offset += size
            if offset >= len(here):
                return list(found.values())
            if self._deed == "shifts" and self._world.random.random() < 0.5:
                self._world.withdraw(self.name, [here[0].id])
                self._world.add(self.name, where.cell_id, self._world.random.randint(0, 1))


@dataclass(frozen=True, slots=True)
class Web:
    """Images by their addresses. Some are not there, for ever; some, other ones each week, come too late.

    `week` None: none is late.
    """

    week: int | None

    def lanes(self, host: str) -> int:
        return 4

    @asynccontextmanager
    async def session(self, memory: TaskMemory) -> AsyncIterator[Callable[[str], Awaitable[bytes | Failure]]]:
        async def fetch(url: str) -> bytes | Failure:
            image = url.rpartition("/")[2]
            if is_missing(image):
                return Failure(FailureReason.NOT_FOUND)
            if self.week is not None and _share(f"{image} in week {self.week}") < SLOW:
                return Failure(FailureReason.DAMAGED)
            await memory.take(len(image))
            return image.encode()

        yield fetch


def is_missing(image: str) -> bool:
    return _share(image) < MISSING


def _share(text: str) -> float:
    """Between 0 and 1, always the same."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest()) / 2**32


class InPlace(Decoders):
    """Pixels of images that were never encoded: no process decodes them."""

    @contextmanager
    def lent(self) -> Iterator[Any]:
        yield self

    def decode(self, data: bytes, **_: Any) -> Image:
        return pixels(data.decode())


def pixels(image: str) -> Image:
    """Noise that depends on the name; a panorama is twice as wide as high."""
    shape = (8, 16, 3) if "-pano-" in image else (SIDE_PX, SIDE_PX, 3)
    seed = int.from_bytes(blake2b(image.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


SIDE_PX, DIM = 4, 32


class Killed(Exception):
    """The process ended here."""


@dataclass
class Faint:
    """An embedder that looks at a few pixels; it dies with the batch after so many."""

    dies_after: int | None = None
    model = Model("faint-32-p1", DIM, is_place_recognition=False, side_px=SIDE_PX)
    batch_size = 16

    def preprocess(self, image: Image) -> Image:
        return image

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        if self.dies_after is not None:
            if not self.dies_after:
                raise Killed
            self.dies_after -= 1
        values = np.stack(batch).reshape(len(batch), -1)[:, :DIM].astype(np.float64) - 127.5
        return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)

    def of_image(self, image: str) -> NDArray[np.float32]:
        """The vectors of its views, as they are stored."""
        seen = pixels(image)
        views = perspective_views(seen, size_px=SIDE_PX) if "-pano-" in image else [seen]
        return self.embed(views).astype(np.float16).astype(np.float32)
