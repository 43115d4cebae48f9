"""Reading STAC items with the street-level extensions, as Panoramax instances and their catalog serve them.

Here: pure parsing of search answers and features. Not here: asking, or a platform's names, pages and
attribution.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.licenses import open_license
from geopin_assets.sources import fields

# EXIF can hold names, serial numbers and comments; only what helps to judge a capture is stored.
_EXIF_KEPT = (
    "Exif.Image.Make",
    "Exif.Image.Model",
    "Exif.Photo.DateTimeOriginal",
    "Exif.Photo.OffsetTimeOriginal",
    "Exif.Photo.FocalLength",
    "Exif.GPSInfo.GPSImgDirection",
    "Exif.GPSInfo.GPSImgDirectionRef",
    "Xmp.GPano.PoseHeadingDegrees",
    "Xmp.GPano.ProjectionType",
)
_FEATURE_DROPPED = {
    "links",
    "assets",
    "asset_templates",
    "providers",
    "stac_extensions",
    "stac_version",
    "type",
    "bbox",
}
_PROPERTIES_DROPPED = {"updated", "geovisio:image", "geovisio:thumbnail", "tiles:tile_matrix_sets"}  # volatile or bulky


@dataclass(frozen=True, slots=True, kw_only=True)
class StacItem:
    """The parts of a feature that every STAC source needs, checked."""

    id: str
    lon: float
    lat: float
    captured_at: datetime | None
    heading_deg: float | None
    is_pano: bool
    collection: str | None
    producer: str | None
    license: str
    image_url: str
    instance: str
    """Host that holds the picture: of the `via` link, else of the image."""
    file_size: int | None
    payload: str


def features(answer: Any, where: str) -> list[Any]:
    """The features of a search answer, unchecked. Raises PayloadError, saying `where`, if there is no such list."""
    found = fields.mapping(answer).get("features")
    if not isinstance(found, list):
        raise PayloadError(f"{where}: a search answer without a list of features ({type(answer).__name__})")
    return found


def feature_key(feature: Any) -> str:
    """What makes a feature the same when it is returned twice: its id, else its whole content."""
    id_ = fields.source_id(fields.mapping(feature).get("id"))
    return id_ if id_ is not None else f"~{fields.payload({'feature': feature})}"


def parse_feature(feature: Any, now: datetime) -> StacItem | Rejected:
    """Understand one feature; any wrong shape becomes a Rejected with its reason."""
    feature = fields.mapping(feature)
    properties = fields.mapping(feature.get("properties"))
    id_ = fields.source_id(feature.get("id"))
    name = id_ or fields.text(str(feature.get("id"))) or ""
    place = _position(feature)
    is_pano = _is_pano(properties)
    image_url = _image_url(feature, is_pano)
    license_id = open_license(properties["license"]) if isinstance(properties.get("license"), str) else None
    if not properties:
        return Rejected(Reason.MALFORMED, name)
    if id_ is None:
        return Rejected(Reason.BAD_ID, name)
    if properties.get("geovisio:status", "ready") != "ready":
        return Rejected(Reason.NOT_READY, name)
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, name)
    if license_id is None:
        return Rejected(Reason.LICENSE_NOT_OPEN, name)
    if image_url is None:
        return Rejected(Reason.NO_IMAGE, name)
    size = properties.get("original_file:size")
    return StacItem(
        id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=fields.plausible(fields.instant(properties.get("datetime")), now),
        heading_deg=fields.heading_deg(properties.get("view:azimuth")),
        is_pano=is_pano,
        collection=fields.source_id(feature.get("collection")),
        producer=_producer(feature, properties),
        license=license_id,
        image_url=image_url,
        instance=fields.host(_via(feature) or image_url),
        file_size=size if isinstance(size, int) and not isinstance(size, bool) else None,
        payload=_payload(feature, properties),
    )


def _position(feature: Mapping[str, Any]) -> tuple[float, float] | None:
    geometry = fields.mapping(feature.get("geometry"))
    coordinates = geometry.get("coordinates")
    if geometry.get("type") != "Point" or not isinstance(coordinates, list) or len(coordinates) < 2:
        return None
    return fields.position(coordinates[0], coordinates[1])


def _is_pano(properties: Mapping[str, Any]) -> bool:
    return fields.number(fields.mapping(properties.get("pers:interior_orientation")).get("field_of_view")) == 360


def _image_url(feature: Mapping[str, Any], is_pano: bool) -> str | None:
    """The asset to embed. `sd` is 2048 px wide: enough for a flat picture, 5.7 px/degree in a panorama."""
    assets = fields.mapping(feature.get("assets"))
    for name in ("hd", "sd") if is_pano else ("sd", "hd"):
        if url := fields.web_url(fields.mapping(assets.get(name)).get("href")):
            return url
    return None


def _via(feature: Mapping[str, Any]) -> str | None:
    links = feature.get("links")
    for link in links if isinstance(links, list) else ():
        if fields.mapping(link).get("rel") == "via" and (url := fields.web_url(link.get("href"))):
            return url
    return None


def _producer(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
    """The account; further providers come from the picture's EXIF and may be anybody."""
    providers = feature.get("providers")
    first = providers[0] if isinstance(providers, list) and providers else None
    return fields.text(properties.get("geovisio:producer")) or fields.text(fields.mapping(first).get("name"))


def _payload(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    exif = fields.mapping(properties.get("exif"))
    kept = {k: v for k, v in properties.items() if k not in _PROPERTIES_DROPPED}
    kept["exif"] = {k: exif[k] for k in _EXIF_KEPT if k in exif}
    return fields.payload({k: v for k, v in feature.items() if k not in _FEATURE_DROPPED} | {"properties": kept})
