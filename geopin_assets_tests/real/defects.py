"""Real photos spoiled on purpose, as cameras spoil them, so that it is known what is wrong with each.

Here: the defects, each in several strengths. Not here: what finds them (`embedding/quality.py`).
"""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from geopin_assets.embedding.protocol import Image

Spoil = Callable[[Image], Image]
"""Of a photo as the model would see it."""


def defocused(share: float) -> Spoil:
    """Blurred by so much of the shorter side."""
    return lambda photo: _pillow(photo, lambda it: it.filter(ImageFilter.GaussianBlur(share * min(it.size))))


def moved(share: float, along: int) -> Spoil:
    """By so much of the shorter side while the shutter was open; along 1 is sideways."""

    def spoil(photo: Image) -> Image:
        steps = range(0, max(2, int(share * min(photo.shape[:2]))), 2)
        return np.mean([np.roll(photo, step, along) for step in steps], axis=0).astype(np.uint8)

    return spoil


def darkened(gain: float, noise: float = 3.0) -> Spoil:
    """Underexposed, with a sensor's noise."""
    return lambda photo: _noisy(photo * gain, noise)


def overexposed(gain: float) -> Spoil:
    return lambda photo: _noisy(photo * gain + 20, 0)


def fogged(share: float) -> Spoil:
    """A wet or dirty windscreen all over: so much of every pixel is its gray."""
    return lambda photo: _noisy(photo * (1 - share) + 185.0 * share, 1)


def drops(count: int) -> Spoil:
    """So many drops of rain on the glass, each of which shows the scene small, upside down and soft."""

    def spoil(photo: Image) -> Image:
        random, image = np.random.default_rng(count), Pillow.fromarray(photo)
        inside = image.transpose(Pillow.Transpose.ROTATE_180).filter(ImageFilter.GaussianBlur(0.02 * min(image.size)))
        mask = Pillow.new("L", image.size)
        draw, side = ImageDraw.Draw(mask), min(image.size)
        for _ in range(count):
            x, y, r = random.uniform(0, image.width), random.uniform(0, image.height), side * random.uniform(0.01, 0.05)
            draw.ellipse((x - r, y - r, x + r, y + 1.3 * r), fill=255)
        image.paste(inside, (0, 0), mask.filter(ImageFilter.GaussianBlur(2)))
        return np.asarray(image)

    return spoil


def reflected(share: float) -> Spoil:
    """What lies behind the windscreen, mirrored in it: another picture over this one."""

    def spoil(photo: Image) -> Image:
        random = np.random.default_rng(1)
        other = random.integers(0, 255, (9, 16, 3)).astype(np.uint8)
        mirrored = Pillow.fromarray(other).resize(photo.shape[1::-1], Pillow.Resampling.BICUBIC)
        return _noisy(photo * (1 - share) + np.asarray(mirrored) * share, 0)

    return spoil


def dashboard(photo: Image) -> Image:
    """The lower third of it."""
    image = Pillow.fromarray(photo)
    draw, (width, height) = ImageDraw.Draw(image), image.size
    top = 0.66 * height
    edge = [(0, 1.05 * top), (0.3 * width, top), (0.7 * width, top), (width, 1.06 * top)]
    draw.polygon([(0, height), *edge, (width, height)], fill=(35, 33, 32))
    for n in range(6):
        left = width * (0.1 + 0.13 * n)
        draw.rectangle([left, top + 0.1 * height, left + 0.08 * width, top + 0.2 * height], (60, 58, 57), (120,) * 3, 3)
    return np.asarray(image)


def sky_only(photo: Image) -> Image:
    """A clear sky, from its brightest to its darkest blue."""
    rows = np.linspace(0, 1, photo.shape[0])[:, None, None]
    sky = (1 - rows) * np.array([90, 140, 210.0]) + rows * np.array([190, 215, 235.0])
    return _noisy(np.broadcast_to(sky, photo.shape), 1.5)


DEFECTS: Mapping[str, Mapping[str, Spoil]] = {
    "blurred": {
        "defocused by 4 px of 512": defocused(0.008),
        "by 8 px": defocused(0.016),
        "moved by 26 px": moved(0.05, 1),
        "by 51 px, down": moved(0.1, 0),
    },
    "dark": {"a seventh of the light": darkened(0.15), "a tenth": darkened(0.1)},
    "overexposed": {"three times the light": overexposed(3.0), "five times": overexposed(5.0)},
    "veiled": {"four fifths of gray": fogged(0.8), "six sevenths": fogged(0.857)},
    "no_detail": {"only sky": sky_only},
    "rain": {"80 drops": drops(80), "300 drops": drops(300)},
    "windscreen": {"a third reflected": reflected(0.33), "a half": reflected(0.5), "a dashboard": dashboard},
}


def _pillow(photo: Image, change: Callable[[Pillow.Image], Pillow.Image]) -> Image:
    return np.asarray(change(Pillow.fromarray(photo)))


def _noisy(photo: np.ndarray, noise: float) -> Image:
    random = np.random.default_rng(0)
    return np.clip(photo + noise * random.standard_normal(photo.shape), 0, 255).astype(np.uint8)
