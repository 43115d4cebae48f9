"""One Panoramax picture as a STAC item, with the fields and nesting that geovisio 2.15 gives it.

Here: ids, links, assets, properties and license, as recorded from the real server. Not here: routes
(`panoramax.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sandbox.streets.images import FIELD_OF_VIEW_DEG
from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot

FLAT_SIZE, PANO_SIZE = (1600, 1200), (4096, 2048)
_JUNK_DATES = ("1970-01-01T00:00:00+00:00", "0026-05-01T08:00:00+00:00")
_NON_OPEN = ("CC-BY-NC-4.0", "https://creativecommons.org/licenses/by-nc/4.0/")
_IDS = UUID("5b7c1f6e-0d2a-4f3b-9c55-9a0e9a4d7c21")
_EXTENSIONS = ("view/v1.0.0", "perspective-imagery/v1.0.0")
_TILES_EXTENSION = "tiled-assets/v1.0.0"
_ASSETS = {
    "hd": ("Highest resolution available of this picture", "data", "HD picture"),
    "sd": ("Picture in standard definition (fixed width of 2048px)", "visual", "SD picture"),
    "thumb": ("Picture in low definition (fixed width of 500px)", "thumbnail", "Thumbnail"),
}


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


def picture_id(shot: Shot) -> str:
    """The picture's uuid, the same in every run."""
    return str(uuid5(_IDS, shot.name))


def collection_id(drive: Drive) -> str:
    """The uuid of a drive's collection."""
    return str(uuid5(_IDS, drive.name))


def root_link(base_url: str) -> dict[str, str]:
    """The one top-level link of every answer."""
    return {"href": f"{base_url}/api/", "rel": "root", "title": "Instance catalog", "type": "application/json"}


def feature(
    shot: Shot, base_url: str, neighbors: Mapping[str, Sequence[Shot]], *, is_detail: bool = False
) -> dict[str, Any]:
    """The item of a shot. `neighbors`: the shots under rel next and prev of its own links.

    `is_detail`: as answered to a question for this id, with status and visibility.
    """
    point = {"coordinates": [shot.lon, shot.lat], "type": "Point"}
    body: dict[str, Any] = {
        "assets": _assets(picture_id(shot), base_url),
        "bbox": [shot.lon, shot.lat, shot.lon, shot.lat],
        "collection": collection_id(shot.drive),
        "geometry": point,
        "id": picture_id(shot),
        "links": _links(shot, base_url, neighbors),
        "properties": properties_of(shot, f"{base_url}/api/pictures/{picture_id(shot)}", is_detail=is_detail),
        "providers": _providers(shot.drive),
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        "stac_version": "1.0.0",
        "type": "Feature",
    }
    if shot.drive.is_pano:
        body["asset_templates"] = {"tiles": _tiles_template(picture_id(shot), base_url)}
        body["properties"]["tiles:tile_matrix_sets"] = {"geovisio": _tile_matrix_set(picture_id(shot))}
        body["stac_extensions"].append(f"https://stac-extensions.github.io/{_TILES_EXTENSION}/schema.json")
    return body


def _assets(id_: str, base_url: str) -> dict[str, Any]:
    return {
        size: {
            "description": description,
            "href": f"{base_url}/api/pictures/{id_}/{size}.jpg",
            "roles": [role],
            "title": title,
            "type": "image/jpeg",
        }
        for size, (description, role, title) in _ASSETS.items()
    }


def _tiles_template(id_: str, base_url: str) -> dict[str, Any]:
    return {
        "description": "Highest resolution available of this picture, as tiles",
        "href": f"{base_url}/api/pictures/{id_}/tiled/{{TileCol}}_{{TileRow}}.jpg",
        "roles": ["data"],
        "title": "HD tiled picture",
        "type": "image/jpeg",
    }


def _tile_matrix_set(id_: str) -> dict[str, Any]:
    matrix = {
        "identifier": "0",
        "matrixHeight": 4,
        "matrixWidth": 8,
        "scaleDenominator": 1,
        "tileHeight": PANO_SIZE[1] / 4,
        "tileWidth": PANO_SIZE[0] / 8,
        "topLeftCorner": [0, 0],
        "type": "TileMatrixType",
    }
    return {
        "identifier": f"geovisio-{id_}",
        "tileMatrix": [matrix],
        "title": f"GeoVisio tile matrix for picture {id_}",
        "type": "TileMatrixSetType",
    }


def _providers(drive: Drive) -> list[dict[str, Any]]:
    """The account, then the artist that the picture's EXIF names."""
    account = {"id": str(uuid5(_IDS, drive.creator)), "name": drive.creator, "roles": ["producer"]}
    return [account, {"name": "nobody", "roles": ["producer"]}]


def _item_url(shot: Shot, base_url: str) -> str:
    return f"{base_url}/api/collections/{collection_id(shot.drive)}/items/{picture_id(shot)}"


def _links(shot: Shot, base_url: str, neighbors: Mapping[str, Sequence[Shot]]) -> list[dict[str, Any]]:
    collection = f"{base_url}/api/collections/{collection_id(shot.drive)}"
    links: list[dict[str, Any]] = [
        root_link(base_url),
        {"href": collection, "rel": "parent", "type": "application/json"},
        {"href": _item_url(shot, base_url), "rel": "self", "type": "application/geo+json"},
        {"href": collection, "rel": "collection", "type": "application/json"},
    ]
    if license_ := license_of(shot):
        links.append({"href": license_[1], "rel": "license", "title": f"License for this object ({license_[0]})"})
    links += [
        {
            "geometry": {"coordinates": [other.lon, other.lat], "type": "Point"},
            "href": _item_url(other, base_url),
            "id": picture_id(other),
            "rel": rel,
            "type": "application/geo+json",
        }
        for rel, others in neighbors.items()
        for other in others
    ]
    return links
