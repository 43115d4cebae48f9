"""`geopin locate`: where photos were taken, how sure that is, and the published captures that say so.

Here: which files, where to look, and how an answer is told. Not here: answers (`locate/`).
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

from geopin_assets.cells import cell_ids
from geopin_assets.cli.console import console, print_json
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.location import FOUND, NOT_COVERED, Location, Reference
from geopin_assets.locate.opening import open_locator
from geopin_assets.locate.photo import read_photo, views_of
from geopin_assets.locate.search import Area
from geopin_assets.photo_folder import is_photo
from geopin_assets.platform.parts import Embedding, SearchIndex
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings

_TOLD = {FOUND: "found", NOT_COVERED: "not covered: nothing indexed looks like it", "uncertain": "uncertain"}


def locate_and_print(photos: Sequence[Path], top: int, region: str, near: str, *, is_json: bool) -> int:
    """Answer photo by photo; one that cannot be read is told, and makes the exit code 1.

    Raises ConfigurationError for an empty index, or a place that means nothing.
    """
    area, files = area_of(region, near), list(files_in(photos))
    embedding = Embedding()
    locator = open_locator(Settings.from_env(), embedding, SearchIndex())
    embedder = embedding.embedder()
    answers, failed = [], 0
    for file in files:
        try:
            location = locator.locate(views_of(read_photo(file), embedder), top=top, area=area)
        except ConfigurationError as error:
            if len(files) == 1:
                raise
            answers.append({"photo": str(file), "error": str(error)})
            console.print(f"{file}: {error}") if not is_json else None
            failed += 1
            continue
        answers.append({"photo": str(file)} | location.to_dict())
        if not is_json:
            _print(file, location, embedding.model().label)
    if is_json:
        print_json(answers)
    return int(failed > 0)


def files_in(photos: Sequence[Path]) -> Iterator[Path]:
    """The files, and those with a photo's name in the folders. Raises ConfigurationError for what is not there."""
    for photo in photos:
        if photo.is_dir():
            yield from sorted(file for file in photo.rglob("*") if is_photo(file.name) and file.is_file())
        elif photo.is_file():
            yield photo
        else:
            raise ConfigurationError(f"no photo at {photo}")


def area_of(region: str, near: str) -> Area | None:
    """Where to look; None: everywhere. Raises ConfigurationError."""
    cells = frozenset(cells_of(region) if region else cell_ids())
    if not near:
        return Area(cells) if region else None
    try:
        lat, lon, km = map(float, near.split(","))
    except ValueError:
        raise ConfigurationError(f"--near {near}: LAT,LON,KM, e.g. 52.37,4.89,2") from None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180 and isfinite(km) and km > 0):
        raise ConfigurationError(f"--near {near}: latitude -90 to 90, longitude -180 to 180, kilometers above 0")
    return Area(cells & frozenset(cells_of(f"around:{lat},{lon},{km}")), (lon, lat, km * 1000))


def _print(file: Path, location: Location, embedder: str) -> None:
    sure = "" if location.confidence is None else f", confidence {location.confidence:.0%}"
    within = "" if location.radius_m is None else f" within {location.radius_m:,.0f} m (68 %)"
    console.print(f"{file}: {_TOLD[location.status]}{sure}")
    if location.lat is not None:
        facing = "" if location.heading_deg is None else f", facing {location.heading_deg:.0f}°"
        console.print(f"  {location.lat:.6f},{location.lon:.6f}{within}{facing}")
    console.print(*(f"  · {term}" for term in (*location.terms, *location.notes)), sep="\n")
    for place in location.alternatives:
        console.print(f"  or {place.lat:.6f},{place.lon:.6f} ({place.confidence:.0%}, by likeness alone)")
    for match in location.matches:
        _print_match(match)
    console.print(f"  searched {location.index_version} with {embedder}\n")


def _print_match(match: Reference) -> None:
    taken = match.captured_at[:10] if match.captured_at else "unknown date"
    away = "best match" if match.rank == 1 else f"{match.distance_m:.0f} m from the best"
    points = "" if match.inliers is None else f", {match.inliers} matching points"
    copy = f", a copy of {match.copy_of}" if match.copy_of else ""
    console.print(
        f"  {match.rank}. {match.lat:.6f},{match.lon:.6f}  score {match.score:.3f}{points}  {away}, {taken},"
        f" {match.source}{copy}\n     {match.attribution} · {match.license}\n     {match.page_url}"
    )
