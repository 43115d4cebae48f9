"""A real walk of 29 photos down one street in Lund, moved to Amsterdam at its true size.

Here: where the photos are, and a folder of them as an owner would lay it out. Not here: any assertion.
"""

import csv
import json
import shutil
from collections.abc import Iterable, Sequence
from math import cos, radians
from pathlib import Path

from geopin_assets.geo import distance_m

PHOTOS = Path(__file__).parents[3] / "shared" / "fixtures" / "photos"
WALK = "opensfm_lund"
START_LON, START_LAT = 4.894, 52.373  # beside the Dam; 4.8936 is the edge of two cells, which the walk crosses
CELLS = ("nh-amsterdam-r090c051", "nh-amsterdam-r090c052")
ATTRIBUTION = "© Mapillary / Meta, OpenSfM data; © Panoramax / GeoVisio authors"
ABSENT = "the collection of real photos is not beside this checkout"


def positions() -> dict[str, tuple[float, float]]:
    """Photo of the walk -> (lon, lat) in Amsterdam, in order of the walk; empty without the collection.

    Offsets from the first photo are kept in meters: a degree of longitude shrinks with cos(latitude).
    """
    manifest = PHOTOS / "manifest.json"
    rows = json.loads(manifest.read_text()) if manifest.is_file() else []
    true = {row["file"]: (row["lon"], row["lat"]) for row in rows if row["file"].startswith(f"{WALK}/")}
    lon0, lat0 = next(iter(true.values()), (0.0, 0.0))
    stretch = cos(radians(lat0)) / cos(radians(START_LAT))
    return {file: (START_LON + (lon - lon0) * stretch, START_LAT + lat - lat0) for file, (lon, lat) in true.items()}


def lay_out(folder: Path, places: Iterable[str], left_out: Sequence[str] = ()) -> None:
    """Copy the photos of these places, and state the walk's positions in `positions.csv`."""
    for place in places:
        shutil.copytree(PHOTOS / place, folder / place, copy_function=shutil.copyfile)
    for file in left_out:
        (folder / file).unlink()
    state_positions(folder, [file for file in positions() if file not in left_out])


def state_positions(folder: Path, files: Sequence[str]) -> None:
    """Write `positions.csv` for photos of the walk."""
    moved = positions()
    with (folder / "positions.csv").open("w", newline="", encoding="utf-8") as sheet:
        rows = csv.writer(sheet)
        rows.writerow(["file", "lat", "lon"])
        rows.writerows([file, f"{moved[file][1]:.7f}", f"{moved[file][0]:.7f}"] for file in files)


def meters_between(a: str, b: str) -> float:
    """Distance of two photos of the walk."""
    moved = positions()
    return distance_m(*moved[a], *moved[b])
