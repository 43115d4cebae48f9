"""One panorama, and one page of them, as the City of Amsterdam's API words them (HAL).

Here: ids, paths and wording, as recorded from the real code. Not here: routes (`amsterdam.py`).
Ids and paths of 2025 follow the new `recording_…` form; the folders of its images are a guess.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zlib import crc32

from geopin_assets.sandbox.streets.world import Shot

_FIRST_NEW_YEAR = 2025
_SIZES = {"full": 8000, "medium": 4000, "small": 2000}


def pano_id(shot: Shot) -> str:
    """`TMX…_pano_0000_000301` up to 2024, `recording_2025-09-04_06-44-53_01488` since."""
    return "_".join(_recording(shot))


def image_folder(shot: Shot) -> str:
    """Path of a panorama's images, without slashes at its ends."""
    return f"panorama/{shot.captured_at:%Y/%m/%d}/{'/'.join(_recording(shot))}"


def panorama(shot: Shot, base_url: str) -> dict[str, Any]:
    """The item of a shot. Its `heading` is the vehicle's; the images themselves have north in the middle."""
    id_, images, year = pano_id(shot), f"{base_url}/{image_folder(shot)}", str(shot.captured_at.year)
    here = f"{base_url}/panorama/panoramas/{id_}/"
    links = {"self": here}
    links |= {
        f"equirectangular_{size}": f"{images}/equirectangular/panorama_{width}.jpg" for size, width in _SIZES.items()
    }
    links["cubic_img_preview"] = f"{images}/cubic/preview.jpg"
    links["thumbnail"] = f"{base_url}/panorama/thumbnail/{id_}/"
    links["adjacencies"] = f"{here}adjacencies/"
    return {
        "_links": {name: {"href": href} for name, href in links.items()},
        "cubic_img_baseurl": f"{images}/cubic/",
        "cubic_img_pattern": f"{images}/cubic/{{z}}/{{f}}/{{y}}/{{x}}.jpg",
        "geometry": {"type": "Point", "coordinates": [shot.lon, shot.lat, 43 + _tilt(shot, "z")]},
        "pano_id": id_,
        "timestamp": f"{shot.captured_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "filename": f"{_recording(shot)[1]}.jpg",
        "surface_type": "L",
        "mission_distance": 5,
        "mission_type": "bi",
        "mission_year": year,
        "tags": ["mission-bi", f"mission-{year}", "surface-land"],
        "roll": _tilt(shot, "roll"),
        "pitch": _tilt(shot, "pitch"),
        "heading": shot.heading_deg,
    }


def page_of(
    panoramas: Sequence[dict[str, Any]], count: int, page: int, page_size: int, url: str, query: str
) -> dict[str, Any]:
    """One page of `count` panoramas. `url`, `query`: of the request, without and with what follows `?`."""
    following = page + 1 if page * page_size < count else None
    preceding = page - 1 if page > 1 else None
    links = {
        "self": f"{url}?{query}" if query else url,
        "next": _page_url(url, query, following),
        "previous": _page_url(url, query, preceding),
    }
    return {
        "_links": {name: {"href": href} for name, href in links.items()},
        "count": count,
        "_embedded": {"panoramas": list(panoramas)},
    }


def _page_url(url: str, query: str, page: int | None) -> str | None:
    if page is None:
        return None
    parameters = dict(parse_qsl(query, keep_blank_values=True)) | {"page": str(page)}
    return f"{url}?{urlencode(sorted(parameters.items()))}"


def _recording(shot: Shot) -> tuple[str, str]:
    """(recording, image): the two halves of the id."""
    number = 1000 * (crc32(shot.drive.name.encode()) % 100) + shot.rank
    if shot.captured_at.year >= _FIRST_NEW_YEAR:
        return f"recording_{shot.drive.started_at:%Y-%m-%d_%H-%M-%S}", f"{number:05d}"
    return f"TMX7316010203-{crc32(shot.drive.name.encode()) % 1000:06d}", f"pano_0000_{number:06d}"


def _tilt(shot: Shot, axis: str) -> float:
    """A steady angle of at most 2 degrees."""
    return crc32(f"{shot.name}/{axis}".encode()) / 2**32 * 4 - 2
