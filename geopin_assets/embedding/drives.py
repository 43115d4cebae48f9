"""What is the same in all images of a drive is the car, or its glass: drops, reflections, a dashboard.

One image alone does not say it: a street has blurred parts, mirrors and dark ground of its own. Images of one sequence
that were taken some meters apart do: streets change, and what stays in its place is none. Here: a small picture of
each image, how much of them stays, and the images of a cell by their sequences. Not here: what follows (`plan.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, hypot, radians
from typing import NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter

from geopin_assets.embedding.protocol import CaptureImage, Image

_WIDTH, _HEIGHT, _TILES, _LARGE_PX = 64, 48, 4, 3
_NOISE = 2.0
"""Levels of 255: what differs by less in a small picture is nothing that could stay."""
_APART_M, LEAST, _MOST = 8.0, 5, 12
"""Images of a drive that are compared: so far from each other (a car that waits sees the same), and so many."""
_M_PER_DEG = 111_320.0
MOST_STAYING, MOST_BELOW = 0.05, 0.4
"""Of sequences without a flaw none comes near: 0.01 and 0.06 at most."""
Glance = NDArray[np.int16]


class Staying(NamedTuple):
    """How alike images of a drive are, place by place: 0 as streets are, 1 the same picture."""

    everywhere: float
    """In three quarters of it at least."""
    below: float
    """All along its lower edge."""

    @property
    def is_glass(self) -> bool:
        """Whether drops or reflections are over most of it, or something of the car along its lower edge."""
        return self.everywhere > MOST_STAYING or self.below > MOST_BELOW


def glance(photo: Image) -> Glance:
    """Small and gray, and without what is large in it: every street is light above and dark below. 1 ms."""
    step = max(1, min(photo.shape[:2]) // (4 * _HEIGHT))
    small = Pillow.fromarray(np.ascontiguousarray(photo[::step, ::step, 1]))
    small = small.resize((_WIDTH, _HEIGHT), Pillow.Resampling.BOX)
    return np.asarray(small, np.int16) - np.asarray(small.filter(ImageFilter.BoxBlur(_LARGE_PX)), np.int16)


def staying(glances: Sequence[Glance]) -> Staying:
    """Of two images or more: the correlation of each of 4 x 4 places over them, in the median of pairs."""
    parts = np.stack(glances).astype(np.float32).reshape(-1, _TILES, _HEIGHT // _TILES, _TILES, _WIDTH // _TILES)
    parts = parts.transpose(1, 3, 0, 2, 4).reshape(_TILES**2, len(glances), -1)
    parts = parts - parts.mean(axis=2, keepdims=True)
    parts /= np.linalg.norm(parts, axis=2, keepdims=True) + _NOISE * parts.shape[2] ** 0.5
    pairs = np.triu_indices(len(glances), 1)
    alike = np.median((parts @ parts.transpose(0, 2, 1))[:, pairs[0], pairs[1]], axis=1)
    return Staying(float(np.sort(alike)[_TILES]), float(alike[-_TILES:].min()))


@dataclass(slots=True)
class _Drive:
    seen: list[CaptureImage] = field(default_factory=list)
    compared: list[tuple[float, float, Glance]] = field(default_factory=list)


@dataclass(slots=True)
class Drives:
    """Flat images of a cell by their sequences, while they are read: 75 kB of each sequence."""

    _places: Mapping[str, tuple[str, float, float]] = field(default_factory=dict)
    """Capture -> its sequence, lon, lat."""
    _drives: dict[str, _Drive] = field(default_factory=dict)

    @classmethod
    def of(cls, captures: pl.DataFrame) -> Self:
        """Captures that may be read; without sequences there are no drives."""
        if "sequence_id" not in captures.columns:
            return cls()
        of_drives = captures.filter(pl.col("sequence_id").is_not_null() & ~pl.col("is_pano"))
        key = pl.concat_str("source", pl.lit(" "), "sequence_id")
        return cls({id_: tuple(row) for id_, *row in of_drives.select("capture_id", key, "lon", "lat").iter_rows()})

    def add(self, image: CaptureImage, glance: Glance) -> None:
        """An image that was read."""
        if (place := self._places.get(image.capture_id)) is None:
            return
        sequence, lon, lat = place
        drive = self._drives.setdefault(sequence, _Drive())
        drive.seen.append(image)
        if len(drive.compared) < _MOST and all(_apart_m(lon, lat, *at) >= _APART_M for *at, _ in drive.compared):
            drive.compared.append((lon, lat, glance))

    def behind_glass(self) -> Iterator[CaptureImage]:
        """The images of drives in which the car or its glass is seen everywhere; of short ones nobody knows."""
        for drive in self._drives.values():
            if len(drive.compared) >= LEAST and staying([glance for *_, glance in drive.compared]).is_glass:
                yield from drive.seen


def _apart_m(lon: float, lat: float, other_lon: float, other_lat: float) -> float:
    return _M_PER_DEG * hypot((lon - other_lon) * cos(radians(lat)), lat - other_lat)
