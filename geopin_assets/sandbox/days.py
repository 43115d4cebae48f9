"""What changes in a street: season, light and parked cars on the day that a drive passed.

Here: one day in one street, as data. Not here: what stays (`scenes.py`), pixels (`rendering.py`).
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np

from geopin_assets.sandbox.scenes import Kind, Scene, Thing, scene_of
from geopin_assets.sandbox.world import Street

_PAINTS = ((0.75, 0.75, 0.77), (0.12, 0.12, 0.14), (0.55, 0.08, 0.08), (0.10, 0.20, 0.42), (0.85, 0.85, 0.85),
           (0.20, 0.33, 0.25))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Day:
    """Season and light on one day: `leaf` in [0, 1], `autumn` in [0, 1], `sun` in [0, 1], cars along the kerb."""

    leaf: float
    autumn: float
    sun: float
    gain: tuple[float, float, float]
    clouds: float
    things: tuple[Thing, ...]


@lru_cache(maxsize=256)
def day_of(street: Street, captured_at: datetime) -> Day:
    """Season, light and parked cars when a drive passed; `captured_at`: start of the drive."""
    rng = np.random.default_rng([11, *street.name.encode(), captured_at.toordinal()])
    month = captured_at.month
    sun = float(rng.uniform(0.25, 1.0))
    warmth = float(rng.normal(0, 0.03))
    exposure = 0.86 + 0.2 * sun + float(rng.normal(0, 0.03))
    return Day(
        leaf={11: 0.35, 12: 0.0, 1: 0.0, 2: 0.0, 3: 0.15, 4: 0.6}.get(month, 1.0),
        autumn={9: 0.25, 10: 0.8, 11: 1.0}.get(month, 0.0),
        sun=sun,
        gain=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        clouds=float(rng.uniform(0, 100)),
        things=tuple(_cars(rng, street, scene_of(street))),
    )


def _cars(rng: np.random.Generator, street: Street, scene: Scene) -> list[Thing]:
    lane = 8.6 if street.is_canal else scene.half_width_m - 4.3
    reach = street.length_m / 2 + 40
    return [
        Thing(Kind.CAR, side * lane, float(z + rng.normal(0, 0.6)), 2.1, float(rng.uniform(1.4, 1.7)),
              _PAINTS[int(rng.integers(0, len(_PAINTS)))])
        for side in (-1, 1)
        for z in np.arange(-reach, reach, 6.5)
        if rng.random() < 0.2
    ]  # fmt: skip
