"""Cells of many captures, as the catalog hands them to embedding; what a week changes in them; links, and one image."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from geopin_assets.embedding.plan import FAILURE_SCHEMA, CellTask
from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.files.object_store import open_store

NO_FAILURES = pl.DataFrame(schema=FAILURE_SCHEMA)


def captures(urls: Sequence[str], *, panoramas: int = 0, name: str = "") -> pl.DataFrame:
    """One capture per address, the first ones panoramas; `name` keeps the ids of several frames apart."""
    ids = [f"{name}{number:07d}" for number in range(len(urls))]
    return pl.DataFrame(
        {
            "capture_id": [f"street:{capture}" for capture in ids],
            "source": ["street"] * len(urls),
            "source_capture_id": ids,
            "image_url": urls,
            "image_version": ["1"] * len(urls),
            "is_pano": [number < panoramas for number in range(len(urls))],
            "heading_deg": [number % 360.0 for number in range(len(urls))],
        },
    )


def cell_task(captures: pl.DataFrame, folder: Path, cell_id: str = "E0100N0200", dim: int = 512) -> CellTask:
    """A cell that had no failures, and whose vectors are kept in `folder`."""
    return CellTask(cell_id, captures, NO_FAILURES, VectorFiles(open_store(folder), "model", dim).cell(cell_id))


@dataclass(frozen=True)
class Week:
    """The captures of some cells as one week's crawl found them."""

    cells: Mapping[str, pl.DataFrame]

    @classmethod
    def first(cls, cells: int, per_cell: int) -> "Week":
        names = [f"E{100 + number:04d}N0200" for number in range(cells)]
        return cls({name: captures(_links("1", name, per_cell), name=name) for name in names})

    def next(self, of_each: int) -> "Week":
        """A week later every link is another. In each cell so many captures have a newer image, as many are gone,
        and as many are new.
        """
        return Week({name: _a_week_later(name, frame, of_each) for name, frame in self.cells.items()})

    def tasks(self, folder: Path) -> list[CellTask]:
        return [cell_task(frame, folder, name) for name, frame in self.cells.items()]

    def __len__(self) -> int:
        return sum(map(len, self.cells.values()))


def _a_week_later(cell: str, frame: pl.DataFrame, of_each: int) -> pl.DataFrame:
    stay = len(frame) - of_each
    is_newer = pl.int_range(pl.len()) < of_each
    there = frame.head(stay).with_columns(
        image_url=pl.Series(_links("2", cell, stay)),
        image_version=pl.when(is_newer).then(pl.lit("2")).otherwise("image_version"),
    )
    return pl.concat([there, captures(_links("2", f"{cell}/new", of_each), name=f"{cell}new")])


def _links(week: str, cell: str, count: int) -> list[str]:
    return [f"http://street/{cell}/{number}?signature={week}" for number in range(count)]


@dataclass
class Links:
    """All links have expired: gives a new one to whoever asks, and counts."""

    renewed: int = 0

    def renew(self, images: Sequence[CaptureImage]) -> dict[str, str]:
        self.renewed += len(images)
        return {image.capture_id: f"{image.image_url}&renewed" for image in images}


@dataclass
class OneImage:
    """A fetcher that has the same bytes at every address, and counts."""

    data: bytes
    fetched: int = 0

    def lanes(self, host: str) -> int:
        return 8

    @asynccontextmanager
    async def session(self, memory: TaskMemory) -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
        async def fetch(url: str) -> bytes:
            await memory.take(len(self.data))
            self.fetched += 1
            return bytes(memoryview(self.data))  # a copy takes memory, as from a network

        yield fetch
