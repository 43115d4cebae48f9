"""JPEGs of shots, in the sizes that the sources serve: rendered small, enlarged, kept in memory.

Here: which camera took a shot, sizes, JPEG. Not here: scenes and rays, files on disk (`photos.py`).
The same shot and size give the same bytes, always. A demo that will ask for every picture has them painted ahead,
while it does other things.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from threading import BoundedSemaphore, Event
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from geopin_assets.embedding.protocol import Image
from geopin_assets.sandbox.streets import painting
from geopin_assets.sandbox.streets.indoors import room
from geopin_assets.sandbox.streets.painting import render
from geopin_assets.sandbox.streets.scenes import day_of, scene_of
from geopin_assets.sandbox.streets.world import Quirk, Shot

PANORAMAX_SIZES = ("hd", "sd", "thumb")
AMSTERDAM_WIDTHS = (8000, 4000, 2000)
FIELD_OF_VIEW_DEG = 62
_FLAT_RENDERED, _PANO_RENDERED_WIDTH = (256, 192), 640
_PANORAMAX_FLAT = {"hd": (1600, 1200), "sd": (2048, 1536), "thumb": (500, 375)}
_PANORAMAX_PANO = {"hd": (4096, 2048), "sd": (2048, 1024), "thumb": (500, 300)}
NORTH_DEG = 0.0
_CAMERA_HEIGHT_M = {"amsterdam": 2.4, "panoramax": 1.8}
_PHONE_HEIGHT_M = 1.6
_CAST = {
    "amsterdam": (1.0, 1.0, 1.06), "mapillary": (1.05, 1.0, 0.94), "kartaview": (0.94, 1.0, 1.05),
    "flickr": (1.08, 1.04, 1.0), "stac": (0.95, 1.02, 0.97),
}  # fmt: skip
"""How much red, green and blue the cameras of a source make of the same light."""
_QUALITY = 85


@lru_cache(maxsize=256)
def panoramax_jpeg(shot: Shot, size: str) -> bytes:
    """A Panoramax picture; `size` is one of PANORAMAX_SIZES. sd is always 2048 wide, thumb 500."""
    sizes = _PANORAMAX_PANO if shot.drive.is_pano else _PANORAMAX_FLAT
    return jpeg(draw(shot), sizes[size])


@lru_cache(maxsize=96)
def amsterdam_jpeg(shot: Shot, width: int) -> bytes:
    """An Amsterdam panorama, `width` by half of it, north in the middle column."""
    return jpeg(draw(shot, NORTH_DEG), (width, width // 2))


@lru_cache(maxsize=256)
def shot_jpeg(shot: Shot, width: int) -> bytes:
    """A shot as most sources serve it, `width` wide: 4:3, or 2:1 with its heading in the middle for a panorama."""
    return jpeg(draw(shot), (width, width // 2 if shot.drive.is_pano else width * 3 // 4))


@lru_cache(maxsize=16)
def draw(shot: Shot, center_deg: float | None = None) -> Image:
    """The shot as rendered, uint8 [H, W, 3]. `center_deg`: bearing of the middle column, by default its heading."""
    _is_asked.set()
    painted = _ahead.pop((shot, center_deg), None)
    return _rendered(shot, center_deg) if painted is None else painted


_Picture = tuple[Shot, float | None]
_ahead: dict[_Picture, Image] = {}
"""Painted, and not asked for yet: 0.6 MB a panorama."""
_is_asked = Event()


def paint_ahead(shots: Iterable[Shot], is_asked: Event = _is_asked) -> None:
    """Paint these shots as their sources serve them, until the first is asked for: from then on that takes all."""
    for shot in shots:
        if is_asked.is_set():
            return
        picture = shot, NORTH_DEG if shot.drive.source == "amsterdam" else None
        _ahead[picture] = _rendered(*picture)


def _rendered(shot: Shot, center_deg: float | None) -> Image:
    if shot.quirk is Quirk.INDOOR:
        return room(shot.name, _FLAT_RENDERED)
    street = shot.drive.street
    center_deg = shot.shows_deg if center_deg is None else center_deg
    yaw_deg = center_deg - street.bearing_deg
    height_m = _CAMERA_HEIGHT_M.get(shot.drive.source, _PHONE_HEIGHT_M)
    if shot.drive.is_pano:
        camera = painting.panorama(shot.right_m, shot.along_m, height_m, yaw_deg, _PANO_RENDERED_WIDTH)
    else:
        camera = painting.perspective(shot.right_m, shot.along_m, height_m, yaw_deg, FIELD_OF_VIEW_DEG, _FLAT_RENDERED)
    day = day_of(street, shot.drive.started_at)
    red, green, blue = np.multiply(day.gain, _CAST.get(shot.drive.source, 1.0))
    return render(scene_of(street), replace(day, gain=(float(red), float(green), float(blue))), camera)


_large = BoundedSemaphore(3)
"""A large panorama takes 50 MB while it is made, and a server may have forty threads."""


def jpeg(image: Image, size: tuple[int, int], **metadata: Any) -> bytes:
    """Enlarge to `size` (width, height) and encode. `metadata`: what Pillow writes along (exif, xmp)."""
    buffer = BytesIO()
    with _large:
        _enlarged(PillowImage.fromarray(image), size).save(buffer, "JPEG", quality=_QUALITY, **metadata)
    return buffer.getvalue()


def _enlarged(image: PillowImage.Image, size: tuple[int, int]) -> PillowImage.Image:
    """Smoothly up to half of a large size, and from there each pixel as four: as good, in a third of the time."""
    half = size[0] // 2, size[1] // 2
    if half[0] >= image.width:
        image = image.resize(half, PillowImage.Resampling.BILINEAR)
        return image.resize(size, PillowImage.Resampling.NEAREST)
    return image.resize(size, PillowImage.Resampling.BILINEAR)
