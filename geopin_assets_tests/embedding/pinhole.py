"""What a pinhole camera sees, by rotation matrices: the geometry that views are checked against.

Directions are unit vectors (east, north, up). Here is none of the code under test.
"""

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.views import FOV_DEG, PITCH_DEG, SIZE_PX

Vectors = NDArray[np.float64]


def direction(bearing_deg: float, elevation_deg: float) -> Vectors:
    """Where a bearing and an elevation point to."""
    bearing, elevation = np.radians(bearing_deg), np.radians(elevation_deg)
    return np.array([np.cos(elevation) * np.sin(bearing), np.cos(elevation) * np.cos(bearing), np.sin(elevation)])


def pixel_of(bearing_deg: float, elevation_deg: float, heading_deg: float) -> tuple[float, float]:
    """(column, row) at which a view of the pipeline's size, field of view and pitch shows a direction."""
    right, up, forward = _axes(heading_deg, PITCH_DEG) @ direction(bearing_deg, elevation_deg)
    assert forward > 0, "behind the camera"
    focal_px, middle = SIZE_PX / 2 / np.tan(np.radians(FOV_DEG / 2)), (SIZE_PX - 1) / 2
    return middle + focal_px * right / forward, middle - focal_px * up / forward


def rays(
    heading_deg: float, *, size_px: int = SIZE_PX, fov_deg: float = FOV_DEG, pitch_deg: float = PITCH_DEG
) -> Vectors:
    """The direction of every pixel of a view, [size, size, 3]."""
    middle, focal_px = (size_px - 1) / 2, size_px / 2 / np.tan(np.radians(fov_deg / 2))
    row, column = np.mgrid[:size_px, :size_px]
    seen = np.stack([(column - middle) / focal_px, (middle - row) / focal_px, np.ones(row.shape)], axis=-1)
    return seen / np.linalg.norm(seen, axis=-1, keepdims=True) @ _axes(heading_deg, pitch_deg)


def angle_deg(a: Vectors, b: Vectors) -> float:
    """Between two directions, of any length."""
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def _axes(heading_deg: float, pitch_deg: float) -> Vectors:
    """The camera's right, up and forward, one a row."""
    right, forward = direction(heading_deg + 90, 0), direction(heading_deg, pitch_deg)
    return np.stack([right, np.cross(right, forward), forward])
