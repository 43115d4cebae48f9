"""Silhouettes and colors of the things that stand in a street, each drawn flat and facing the camera.

Here: one function per kind of thing, from meters right of its foot and up to (mask, colors). Not here:
which pixels those are (`rendering.py`), which things a street has (`scenes.py`).
"""

import numpy as np
from numpy.typing import NDArray

from geopin_assets.sandbox.days import Day
from geopin_assets.sandbox.scenes import Floats, Kind, Thing


def _tree(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    s, r = thing.seed, thing.radius_m
    ragged = 0.22 * np.sin(right * 5 + s) * np.sin(up * 4 + s * 2) + 0.14 * np.sin(right * 13 + s) * np.cos(up * 11 - s)
    inside = (right**2 + ((up - thing.height_m) * 0.9) ** 2) < (r * (1 + ragged)) ** 2
    warp = np.sin(up * 4.7 + s) + np.sin(right * 5.3 - s)
    speckle = np.sin(right * 11 + 2 * warp + s * 5) * np.sin(up * 9 - 2 * warp) + 0.5 * np.sin(
        (right + up) * 17 + 3 * warp
    )
    crown = inside & (speckle < 3.2 * day.leaf - 1.1)
    twigs = inside & (np.abs(np.sin(right * 6 + up * 2 * np.sign(right + 0.01) + s)) < 0.16)
    trunk = (np.abs(right) < 0.07 * r + 0.05) & (up > 0) & (up < thing.height_m)
    green = np.asarray(thing.color, np.float32)
    hue = green + (np.array([0.62, 0.34, 0.06], np.float32) - green) * day.autumn
    color = np.where(crown[..., None], hue * (0.85 + 0.5 * ragged + 0.2 * speckle)[..., None], (0.13, 0.10, 0.08))
    return crown | twigs | trunk, color.astype(np.float32)


def _lamp(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    pole = (np.abs(right) < 0.06) & (up > 0) & (up < thing.height_m)
    head = (np.abs(right) < 0.25) & (np.abs(up - thing.height_m) < 0.3)
    return pole | head, np.where(head[..., None], (0.8, 0.78, 0.7), thing.color).astype(np.float32)


def _sign(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    pole = (np.abs(right) < 0.04) & (up > 0) & (up < thing.height_m)
    board = (np.abs(right) < thing.radius_m) & (np.abs(up - thing.height_m) < thing.radius_m * 0.8)
    return pole | board, np.where(board[..., None], thing.color, (0.45, 0.45, 0.45)).astype(np.float32)


def _car(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    """Long when seen from the side (`side` near 1), narrow from ahead."""
    half = 0.85 + (thing.radius_m - 0.85) * side
    body = (np.abs(right) < half) & (up > 0.3) & (up < 0.85)
    cabin = (np.abs(right) < half * (0.62 + 0.2 * (0.85 - up))) & (up >= 0.85) & (up < thing.height_m)
    pane = cabin & (up < thing.height_m - 0.15) & (np.abs(right) < half * 0.55) & (up > 0.92)
    wheel = (np.abs(np.abs(right) - half * 0.62) < 0.3) & (up > 0) & (up < 0.55)
    color = np.where(pane[..., None], (0.10, 0.12, 0.14), np.asarray(thing.color))
    color = np.where((wheel & (up < 0.5))[..., None], (0.05, 0.05, 0.05), color)
    return body | cabin | wheel, color.astype(np.float32)


def _tower(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    shaft = (np.abs(right) < thing.radius_m) & (up < thing.height_m * 0.7)
    spire = (up >= thing.height_m * 0.7) & (np.abs(right) < thing.radius_m * (1 - up / thing.height_m) / 0.3)
    clock = np.hypot(right, up - thing.height_m * 0.6) < 1.6
    color = np.where(clock[..., None], (0.9, 0.85, 0.7), np.asarray(thing.color))
    color = np.where(spire[..., None], (0.22, 0.30, 0.28), color)
    return (shaft | spire) & (up > 0), color.astype(np.float32)


SHAPES = {Kind.TREE: _tree, Kind.LAMP: _lamp, Kind.SIGN: _sign, Kind.CAR: _car, Kind.TOWER: _tower}
