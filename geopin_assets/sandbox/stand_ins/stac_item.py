"""One shot of the STAC stand-in as an item, and its collections, as STAC 1.0 words them.

Here: ids, links, assets and properties. Not here: routes and pages (`stac.py`).

Each drive is a collection. A shot of NO_LICENSE leaves the license to its collection, as the standard suggests.
"""

from typing import Any

from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot

WIDTHS = {"image": 2048, "preview": 1024, "thumbnail": 256}
_ROLES = {"image": "data", "preview": "visual", "thumbnail": "thumbnail"}
_FIELD_OF_VIEW_DEG = 62
_EXTENSIONS = [
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "https://stac-extensions.github.io/perspective-imagery/v1.0.0/schema.json",
]


def item_id(shot: Shot) -> str:
    """The shot's id within its collection."""
    return f"opname-{shot.rank:04d}"


def collection_id(drive: Drive) -> str:
    """The id of a drive's collection."""
    return f"straatbeelden-{drive.name}"


def capture_id(shot: Shot) -> str:
    """The id under which the source reports a shot of the sandbox."""
    return f"sandbox/{collection_id(shot.drive)}/{item_id(shot)}"


def collection(drive: Drive, base_url: str) -> dict[str, Any]:
    """The collection of a drive."""
    url = f"{base_url}/collections/{collection_id(drive)}"
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection_id(drive),
        "title": drive.name,
        "description": f"Street-level images of {drive.street.name}",
        "license": drive.license,
        "extent": {
            "spatial": {"bbox": [[3.37, 50.75, 7.21, 53.47]]},
            "temporal": {"interval": [[drive.started_at.isoformat(), None]]},
        },
        "providers": [{"name": drive.creator, "roles": ["producer", "licensor"]}],
        "links": [
            {"rel": "self", "type": "application/json", "href": url},
            {"rel": "root", "type": "application/json", "href": f"{base_url}/"},
            {"rel": "items", "type": "application/geo+json", "href": f"{url}/items"},
        ],
    }


def item(shot: Shot, following: Shot | None, base_url: str) -> dict[str, Any]:
    """The item of a shot. `following`: the next one of its drive, which it links to."""
    url = f"{base_url}/collections/{collection_id(shot.drive)}/items"
    links = [
        {"rel": "self", "type": "application/geo+json", "href": f"{url}/{item_id(shot)}"},
        {"rel": "collection", "type": "application/json", "href": url.removesuffix("/items")},
    ]
    if following is not None:
        links.append({"rel": "next", "type": "application/geo+json", "href": f"{url}/{item_id(following)}"})
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": item_id(shot),
        "collection": collection_id(shot.drive),
        "geometry": {"type": "Point", "coordinates": [shot.lon, shot.lat]},
        "bbox": [shot.lon, shot.lat, shot.lon, shot.lat],
        "properties": _properties(shot),
        "assets": {
            name: {
                "href": f"{base_url}/images/{collection_id(shot.drive)}/{item_id(shot)}/{name}.jpg",
                "type": "image/jpeg",
                "roles": [role],
            }
            for name, role in _ROLES.items()
        },
        "links": links,
    }


def _properties(shot: Shot) -> dict[str, Any]:
    license_ = "CC-BY-NC-4.0" if shot.quirk is Quirk.NON_OPEN else shot.drive.license
    properties: dict[str, Any] = {
        "datetime": None if shot.quirk is Quirk.NO_DATE else shot.captured_at.isoformat().replace("+00:00", "Z"),
        "license": None if shot.quirk is Quirk.NO_LICENSE else license_,
        "providers": None
        if shot.quirk is Quirk.NO_CREATOR
        else [{"name": shot.drive.creator, "roles": ["producer", "licensor"]}],
        "pers:interior_orientation": {"field_of_view": 360 if shot.drive.is_pano else _FIELD_OF_VIEW_DEG},
        "view:azimuth": None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg, 1) % 360,
    }
    return {name: value for name, value in properties.items() if value is not None or name == "datetime"}
