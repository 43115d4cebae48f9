"""`geopin locate`: where photos were taken, how sure that is, and the published captures that say so.

Here: which files, where to look, and how an answer is told. Not here: answers (`locate/`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from geopin_assets.cells import cell_ids
from geopin_assets.cli.console import Facts, console, print_json, stand_ins
from geopin_assets.embedding.protocol import Image
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.atomic import write_text
from geopin_assets.locate import asking
from geopin_assets.locate.location import FOUND, NOT_COVERED, Location, Reference
from geopin_assets.locate.photo import read_photo
from geopin_assets.locate.report import picture, report
from geopin_assets.locate.search import Area
from geopin_assets.photo_folder import is_photo
from geopin_assets.regions import MAX_RADIUS_KM
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings

_TOLD = {FOUND: "found", NOT_COVERED: "not covered", "uncertain": "uncertain"}


def locate_and_print(
    photos: Sequence[Path], top: int, area: Area | None, verify: int, page: Path | None, *, is_json: bool
) -> int:
    """Answer photo by photo, and write them to a `page` where one is asked for.

    One of several that cannot be read is told, and makes the exit code 1. Raises ConfigurationError for an empty
    index, weights that cannot be had, or a page that cannot be written.
    """
    if page and not page.absolute().parent.is_dir():
        raise ConfigurationError(f"--report {page}: no folder {page.parent}")
    settings, files = Settings.from_env(), list(files_in(photos))
    answers: list[tuple[str, str, Location]] = []
    unread: dict[str, str] = {}
    photos_read = map(_read, files)
    first = next(photos_read)  # before anything is opened
    if len(files) == 1 and isinstance(first, ConfigurationError):
        if not is_json:
            raise first
        print_json(_facts(files, [], {str(files[0]): str(first)}))
        return 1
    with stand_ins(settings), asking(settings, top=top, area=area, verify=verify) as ask:
        for file, image in zip(files, chain([first], photos_read), strict=True):
            if isinstance(image, ConfigurationError):
                unread[str(file)] = str(image)
                continue
            answers.append((str(file), picture(image) if page else "", ask(image)))
            if not is_json:
                _print(file, answers[-1][2])
    if is_json:
        print_json(_facts(files, answers, unread))
    elif unread:
        console.print(f"{len(unread)} files could not be read:", *unread.values(), sep="\n  ")
    if page:
        write_text(page, report(answers, unread, datetime.now(UTC)))
        console.print(f"written to {page}", soft_wrap=True) if not is_json else None
    return int(bool(unread))


def _read(file: Path) -> Image | ConfigurationError:
    try:
        return read_photo(file)
    except ConfigurationError as error:
        return error


def _facts(
    files: Sequence[Path], answers: Sequence[tuple[str, str, Location]], unread: Mapping[str, str]
) -> list[Facts]:
    """In the order of the files."""
    found = {name: location.to_dict() for name, _, location in answers}
    return [{"photo": str(file)} | found.get(str(file), {"error": unread.get(str(file))}) for file in files]


def files_in(photos: Sequence[Path]) -> Iterator[Path]:
    """The files, and those with a photo's name in the folders. Raises ConfigurationError for what is not there."""
    for photo in photos:
        if photo.is_dir():
            found = sorted(file for file in photo.rglob("*") if is_photo(file.name) and file.is_file())
            if not found:
                raise ConfigurationError(f"no photo in {photo}")
            yield from found
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
    if not (-90 <= lat <= 90 and -180 <= lon <= 180 and 0 < km <= MAX_RADIUS_KM):
        most = f"kilometers above 0, {MAX_RADIUS_KM:,.0f} at most"
        raise ConfigurationError(f"--near {near}: latitude -90 to 90, longitude -180 to 180, {most}")
    if not (there := cells & frozenset(cells_of(f"around:{lat},{lon},{km}"))):
        raise ConfigurationError(f"--near {near}: nothing of {f'--region {region}' if region else 'the grid'} is there")
    return Area(there, (lon, lat, km * 1000))


def _print(file: Path, location: Location) -> None:
    sure = "" if location.confidence is None else f", confidence {location.confidence:.0%}"
    within = "" if location.radius_m is None else f" within {location.radius_m:,.0f} m (68 %)"
    unlike = ": nothing indexed looks like it" if location.status == NOT_COVERED and location.matches else ""
    console.print(f"{file}: {_TOLD[location.status]}{unlike}{sure}")
    if location.lat is not None:
        known = f" ({location.heading_from})" if location.heading_from else ""
        facing = "" if location.heading_deg is None else f", facing {location.heading_deg:.0f}°{known}"
        console.print(f"  {location.lat:.6f},{location.lon:.6f}{within}{facing}")
    console.print(*(f"  · {term}" for term in (*location.terms, *location.notes)), sep="\n")
    for place in location.alternatives:
        console.print(f"  or {place.lat:.6f},{place.lon:.6f} ({place.confidence:.0%}, by likeness alone)")
    for match in location.matches:
        _print_match(match)
    console.print(f"  searched {location.index_version}\n")


def _print_match(match: Reference) -> None:
    taken = match.captured_at[:10] if match.captured_at else "unknown date"
    away = "best match" if match.rank == 1 else f"{match.distance_m:.0f} m from the best"
    points = "" if match.inliers is None else f", {match.inliers} matching points"
    known = f", a copy of {match.copy_of}" if match.copy_of else ""
    known += ", contradicted by other sources" if match.trust < 1 else ""
    console.print(
        f"  {match.rank}. {match.lat:.6f},{match.lon:.6f}  score {match.score:.3f}{points}  {away}, {taken},"
        f" {match.source}{known}\n     {match.attribution} · {match.license}\n     {match.page_url}"
    )
