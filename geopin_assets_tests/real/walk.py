"""A real walk of 29 photos down one street in Lund, and five real 360-degree photos, moved to Amsterdam at true size.

Here: where the photos are, and a folder of them as an owner would lay it out. Not here: any assertion.
"""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from math import cos, radians
from pathlib import Path
from typing import Any

from geopin_assets.geo import distance_m

PHOTOS = Path(__file__).parents[3] / "shared" / "fixtures" / "photos"
WALK, OTHERS = "opensfm_lund", ("mapillary_tools", "panoramax_geovisio")
WALK_START = (4.894, 52.373)  # beside the Dam; 4.8936 is the edge of two cells, which the walk crosses
SPHERES = tuple(f"panoramax_geovisio/{n}_w2048.jpg" for n in range(1, 6))
SPHERES_START = (4.9, 52.376)  # 500 m away
CELLS = ("nh-amsterdam-r090c051", "nh-amsterdam-r090c052")
ATTRIBUTION = "© Mapillary / Meta, OpenSfM data; © Panoramax / GeoVisio authors"
ABSENT = "the collection of real photos is not beside this checkout"

Place = tuple[float, float]
"""(lon, lat)."""


def walk() -> dict[str, Place]:
    """Photo of the walk -> its place in Amsterdam, in order of the walk; empty without the collection."""
    return _moved([row for row in _manifest() if row["file"].startswith(f"{WALK}/")], WALK_START)


def spheres() -> dict[str, Place]:
    """360-degree photo -> its place in Amsterdam."""
    return _moved([row for row in _manifest() if row["file"] in SPHERES], SPHERES_START)


def lay_out(folder: Path, left_out: Sequence[str]) -> None:
    """Copy the walk but for `left_out`, and everything else, and state the places in `positions.csv`."""
    for name in (WALK, *OTHERS):
        shutil.copytree(PHOTOS / name, folder / name, copy_function=shutil.copyfile)
    for file in left_out:
        (folder / file).unlink()
    places = {file: place for file, place in (walk() | spheres()).items() if file not in left_out}
    with (folder / "positions.csv").open("w", newline="", encoding="utf-8") as sheet:
        rows = csv.writer(sheet)
        rows.writerow(["file", "lat", "lon"])
        rows.writerows([file, f"{lat:.7f}", f"{lon:.7f}"] for file, (lon, lat) in places.items())


def meters_between(places: Mapping[str, Place], a: str, b: str) -> float:
    """Distance of two photos; infinite if one of them is not among the places."""
    return distance_m(*places[a], *places[b]) if a in places and b in places else float("inf")


def _manifest() -> list[dict[str, Any]]:
    manifest = PHOTOS / "manifest.json"
    return json.loads(manifest.read_text()) if manifest.is_file() else []


def _moved(rows: Sequence[dict[str, Any]], start: Place) -> dict[str, Place]:
    """Offsets from the first photo are kept in meters: a degree of longitude shrinks with cos(latitude)."""
    if not rows:
        return {}
    lon0, lat0 = rows[0]["lon"], rows[0]["lat"]
    stretch = cos(radians(lat0)) / cos(radians(start[1]))
    return {row["file"]: (start[0] + (row["lon"] - lon0) * stretch, start[1] + row["lat"] - lat0) for row in rows}
