"""The `properties` and license of one Panoramax picture, as geovisio 2.15 words them.

Here: what is known about the picture and its camera. Not here: ids, links and assets (`panoramax_item.py`).
"""

from typing import Any
from zoneinfo import ZoneInfo

from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sandbox.images import FIELD_OF_VIEW_DEG
from geopin_assets.sandbox.world import Quirk, Shot

FLAT_SIZE, PANO_SIZE = (1600, 1200), (4096, 2048)
_JUNK_DATES = ("1970-01-01T00:00:00+00:00", "0026-05-01T08:00:00+00:00")
_NON_OPEN = ("CC-BY-NC-4.0", "https://creativecommons.org/licenses/by-nc/4.0/")


def license_of(shot: Shot) -> tuple[str, str] | None:
    """(id, url), or None for a picture without one."""
    if shot.quirk is Quirk.NO_LICENSE:
        return None
    if shot.quirk is Quirk.NON_OPEN:
        return _NON_OPEN
    return shot.drive.license, OPEN_LICENSES[shot.drive.license].url


def properties_of(shot: Shot, pictures: str, *, is_detail: bool) -> dict[str, Any]:
    """Properties in the order of the recorded ones; what is unknown is absent, never null.

    `pictures`: where its JPEGs are; `is_detail`: with status and visibility.
    """
    created = shot.drive.started_at.replace(day=28).isoformat()
    taken = shot.captured_at.isoformat()
    local = shot.captured_at.astimezone(ZoneInfo("Europe/Amsterdam")).isoformat()
    if shot.quirk is Quirk.JUNK_DATE:
        taken = local = _JUNK_DATES[shot.rank % 2]
    heading = None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg) % 360
    camera = _interior_orientation(shot)
    field_of_view, width = camera.get("field_of_view"), camera["sensor_array_dimensions"][0]
    license_ = license_of(shot)
    properties: dict[str, Any] = {
        "annotations": [],
        "collection": {"semantics": []},
        "created": created,
        "datetime": taken,
        "datetimetz": local,
        "exif": _exif(shot, heading),
        "geovisio:image": f"{pictures}/hd.jpg",
        "geovisio:producer": shot.drive.creator,
        "geovisio:rank_in_collection": shot.rank,
        "geovisio:status": "ready" if is_detail else None,
        "geovisio:thumbnail": f"{pictures}/thumb.jpg",
        "geovisio:visibility": "anyone" if is_detail else None,
        "license": license_[0] if license_ else None,
        "original_file:name": f"{shot.name}.jpg",
        "original_file:size": 160_000 + 997 * shot.rank,  # plausible: the picture is not drawn to be weighed
        "panoramax:horizontal_pixel_density": field_of_view and width // field_of_view,
        "pers:interior_orientation": camera,
        "pers:yaw": float(heading) if shot.drive.is_pano and heading is not None else None,
        "semantics": [],
        "updated": created,
        "view:azimuth": heading,
    }
    return {name: value for name, value in properties.items() if value is not None}


def _interior_orientation(shot: Shot) -> dict[str, Any]:
    camera: dict[str, Any] = {"camera_manufacturer": "Sandbox", "camera_model": "One"}
    if shot.drive.is_pano:
        camera["field_of_view"] = 360
    elif shot.quirk is not Quirk.NO_FIELD_OF_VIEW:
        camera["field_of_view"] = FIELD_OF_VIEW_DEG
    size = PANO_SIZE if shot.drive.is_pano else FLAT_SIZE
    return camera | {"focal_length": 2.4, "sensor_array_dimensions": list(size)}


def _exif(shot: Shot, heading: int | None) -> dict[str, str]:
    width, height = PANO_SIZE if shot.drive.is_pano else FLAT_SIZE
    exif = {
        "Exif.GPSInfo.GPSLatitudeRef": "N",
        "Exif.GPSInfo.GPSLongitudeRef": "E",
        "Exif.Image.Artist": "nobody",
        "Exif.Image.Make": "Sandbox",
        "Exif.Image.Model": "One",
        "Exif.Photo.PixelXDimension": str(width),
        "Exif.Photo.PixelYDimension": str(height),
    }
    if heading is not None:
        exif |= {"Exif.GPSInfo.GPSImgDirection": f"{heading}00/100", "Exif.GPSInfo.GPSImgDirectionRef": "T"}
    if shot.drive.is_pano:
        exif |= {"Xmp.GPano.ProjectionType": "equirectangular", "Xmp.GPano.FullPanoWidthPixels": str(width)}
    return exif
