"""More ids than memory holds: dealt out to heaps on disk, so that what is to be compared lies in one of them.

A heap is chosen by the capture: its row and all its views are in the heaps of one number, whatever they come from.
Not here: what is dealt out, or what is compared (`reconcile.py`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import polars as pl

from geopin_assets.files.damage import writing

IDS_PER_HEAP = 500_000
"""Held from three sides at once, of about 100 bytes each; a fourth of it waits to be dealt out."""


def heaps_for(ids: int) -> int:
    """How many heaps so many ids are dealt out to."""
    return 1 + ids // IDS_PER_HEAP


class Heaps:
    """Rows with an `id`, dealt out to `number` heaps, gone when it is closed. A single one stays in memory."""

    def __init__(self, number: int, schema: Mapping[str, pl.DataType]) -> None:
        self.number, self.schema = number, pl.Schema(schema)
        self._folder = TemporaryDirectory(prefix="geopin-") if number > 1 else None
        self._waiting: list[pl.DataFrame] = []
        self._dealt = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        if self._folder:
            self._folder.cleanup()

    def add(self, rows: pl.DataFrame) -> None:
        """Raises StorageFullError."""
        self._waiting.append(rows.select(self.schema.names()))
        if self._folder and sum(frame.height for frame in self._waiting) >= IDS_PER_HEAP // 4:
            self._deal(Path(self._folder.name))

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Heap by heap."""
        if not self._folder:
            yield pl.concat([self.schema.to_frame(), *self._waiting])
            return
        self._deal(folder := Path(self._folder.name))
        for heap in range(self.number):
            files = (folder / f"{heap}-{nth}" for nth in range(self._dealt))
            yield pl.concat([self.schema.to_frame(), *(pl.read_ipc(file) for file in files if file.exists())])

    def _deal(self, folder: Path) -> None:
        heap = pl.col("id").str.replace(r"/\d\d$", "").hash() % self.number
        rows = pl.concat([self.schema.to_frame(), *self._waiting]).with_columns(heap=heap)
        self._waiting.clear()
        with writing(str(folder)):
            for (number,), of_heap in rows.partition_by("heap", as_dict=True, include_key=False).items():
                of_heap.write_ipc(folder / f"{number}-{self._dealt}")
        self._dealt += 1
