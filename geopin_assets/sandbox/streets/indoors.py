"""A room instead of a street: what some photos on every platform show though their position is in a street.

Here: its pixels, invented from a name. Not here: streets (`painting.py`).
"""

import numpy as np

from geopin_assets.embedding.protocol import Image

_FURNITURE = 14


def room(name: str, size: tuple[int, int]) -> Image:
    """A wall with pictures and furniture above a floor, uint8 [H, W, 3]; the same for the same name. `size`: w, h."""
    random = np.random.default_rng([13, *name.encode()])
    width, height = size
    floor = height * int(random.integers(60, 80)) // 100
    picture = np.empty((height, width, 3), np.float32)
    picture[:floor] = random.uniform(90, 235, 3)
    picture[floor:] = random.uniform(40, 150, 3)
    for _ in range(_FURNITURE):
        across, down = random.integers((width // 16, height // 12), (width // 3, height // 2))
        left, top = random.integers((0, 0), (width - across, height - down))
        picture[top : top + down, left : left + across] = random.uniform(20, 240, 3)
    dim = np.linspace(1, random.uniform(0.5, 0.9), width, dtype=np.float32)  # the light comes from one side
    return (picture * dim[:, None]).astype(np.uint8)
