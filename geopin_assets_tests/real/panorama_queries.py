"""Photos cut out of real panoramas, as somebody else might have taken them on the spot.

Here: the panoramas, and queries of another direction, field of view, shape and light than any view in an index. Not
here: recall (`recall.py`). The queries stand where the panorama stood and when: another camera, another season or the
other side of the street is not in them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

import numpy as np

from geopin_assets.embedding.protocol import Image
from geopin_assets.embedding.views import PITCH_DEG, SIZE_PX, perspective_views
from geopin_assets_tests.real.walk import SPHERES

PANORAMAS = (
    *SPHERES,  # a few meters apart: telling them from each other is the hard part
    *("panoramax_geovisio/d1.jpg", "amsterdam_panorama/pano_0001_000529_w4000.jpg"),
    "amsterdam_panorama/pano_0005_001111_w4000.jpg",
)


@dataclass(frozen=True)
class Query:
    """A photo, the panorama it is cut out of, and its direction, clockwise of the panorama's middle."""

    image: Image
    panorama: str
    yaw_deg: float


def queries(panoramas: Mapping[str, Image], each: int, seed: int = 7) -> Iterator[Query]:
    """Photos of 800 x 600 in random directions, narrower or wider than a view, lower or higher, darker or brighter."""
    random = Random(seed)
    for file, panorama in panoramas.items():
        for _ in range(each):
            yaw_deg, fov_deg, pitch_deg = random.uniform(0, 360), random.uniform(50, 80), random.uniform(-4, 11)
            gamma, gain = random.uniform(0.7, 1.4), random.uniform(0.75, 1.25)
            photo = view(panorama, yaw_deg, fov_deg, pitch_deg, size_px=800)[100:700]
            light = np.clip((photo / 255) ** gamma * gain, 0, 1) * 255
            yield Query(light.astype(np.uint8), file, yaw_deg)


def view(
    panorama: Image, yaw_deg: float, fov_deg: float, pitch_deg: float = PITCH_DEG, size_px: int = SIZE_PX
) -> Image:
    """One view in any direction: what the pipeline cuts has a fixed step."""
    turned = np.roll(panorama, -round(panorama.shape[1] * yaw_deg / 360), axis=1)
    return perspective_views(turned, fov_deg=fov_deg, pitch_deg=pitch_deg, size_px=size_px)[0]
