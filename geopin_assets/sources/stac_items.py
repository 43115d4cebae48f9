"""Reading STAC items with the street-level extensions, as Panoramax and other STAC APIs serve them.

Here: pure parsing of search answers, their links and features, and which asset of an item is its image. Not here:
asking, or a platform's names, pages and attribution. `view:azimuth` is the direction of an image's middle column.

The role of an asset says how large it is: `visual` is one to look at, `data` the original, which is taken of
panoramas; else any other that is no thumbnail. On Panoramax `visual` is 2048 px wide, 5.7 px/degree of a panorama
where a view has 7.7; originals of common cameras have 5760, are ten times the bytes (3.3 MB) and reduced while
decoding. A panorama is what has a field of view of 360 degrees or is called equirectangular, unless it was cropped.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.licenses import is_restricted, license_of_url, newest, open_license
from geopin_assets.sources import fields

LONGEST_MOMENT = timedelta(days=1)
"""A range up to it has a middle that is no further off than a date without a time; longer ones are no shutter time."""
_IMAGE_TYPES = {"image/jpeg", "image/jpg", "image/pjpeg", "image/png", "image/webp"}
_ANYTHING = ("", "application/octet-stream", "binary/octet-stream")
_DIRECTION = re.compile(r"(?:direction|track|heading|yaw)(?:degrees?)?$", re.IGNORECASE)
_ROLES = {"hd": "data", "sd": "visual", "thumb": "thumbnail"}  # assets that state none, by Panoramax's names
_SMALL = {"thumbnail", "overview", "metadata"}
# EXIF can hold names, serial numbers and comments; only what helps to judge a capture is stored.
_EXIF_KEPT = (
    *("Exif.Image.Make", "Exif.Image.Model", "Exif.Photo.DateTimeOriginal", "Exif.Photo.OffsetTimeOriginal"),
    *("Exif.Photo.FocalLength", "Exif.GPSInfo.GPSImgDirection", "Exif.GPSInfo.GPSImgDirectionRef"),
    *("Xmp.GPano.PoseHeadingDegrees", "Xmp.GPano.ProjectionType"),
)
_DROPPED = {"links", "assets", "asset_templates", "providers", "stac_extensions", "stac_version", "type", "bbox"}
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
    attribution: str | None
    """Words of the item itself, which few have."""
    payload: str

    def capture(self, *, source: str, source_capture_id: str, attribution: str, page_url: str) -> Capture:
        """The item as a capture, with what every platform says its own way."""
        return Capture(
            source=source,
            source_capture_id=source_capture_id,
            lon=self.lon,
            lat=self.lat,
            captured_at=self.captured_at,
            heading_deg=self.heading_deg,
            is_pano=self.is_pano,
            sequence_id=self.collection,
            creator=self.producer,
            license=self.license,
            attribution=attribution,
            page_url=fields.page_address(page_url),
            image_url=self.image_url,
            image_version="" if self.file_size is None else str(self.file_size),
            payload=self.payload,
        )


def features(answer: Any, where: str) -> list[Any]:
    """The features of a search answer, unchecked. Raises PayloadError, saying `where`, if there is no such list."""
    found = fields.mapping(answer).get("features")
    if not isinstance(found, list):
        raise PayloadError(f"{where}: a search answer without a list of features ({type(answer).__name__})")
    return found


@dataclass(frozen=True, slots=True)
class NextPage:
    """The request for the page after this one; `body` is the JSON of a POST, laid over the last one if `is_merged`."""

    url: str
    body: Mapping[str, Any] | None = None
    is_merged: bool = False


def next_page(answer: Any, address: str = "") -> NextPage | None:
    """The following page of an answer from `address`, by its own links: those of its features lead to other features.

    Raises PayloadError for a link that cannot be followed: without it the rest would be missing.
    """
    link = next((link for link in _links(fields.mapping(answer)) if link.get("rel") == "next"), None)
    if link is None or link.get("href") in (None, ""):
        return None
    url, body, method = fields.web_url(link["href"], address), link.get("body"), link.get("method") or "GET"
    if url is None or not isinstance(method, str) or method.upper() not in ("GET", "POST"):
        raise PayloadError("a link to the next page that is no request")
    if method.upper() == "GET":
        return NextPage(url)
    return NextPage(url, fields.mapping(body), is_merged=link.get("merge") is True)


def stated_license(license_: Any, holder: Mapping[str, Any]) -> str | None:
    """What an item or collection (`holder` of the links) says of its license: an id if it is open; None: nothing.

    `various` leaves it to others to say, `other` to a link.
    """
    text = fields.text(license_)
    if text is None or open_license(text):
        return open_license(text)
    if text.casefold() not in ("other", "various"):
        return text
    urls = [fields.web_url(link.get("href")) for link in _links(holder) if link.get("rel") == "license"]
    if any(map(is_restricted, urls)):
        return text
    return newest(map(license_of_url, urls)) or (None if text.casefold() == "various" else text)


def item_license(feature: Mapping[str, Any]) -> str | None:
    """The open license of a feature, None if it states another or none."""
    return open_license(stated_license(fields.mapping(feature.get("properties")).get("license"), feature))


def parse_feature(
    feature: Any, now: datetime, address: str, license_of: Callable[[Mapping[str, Any]], str | None] = item_license
) -> StacItem | Rejected:
    """Understand one feature of an answer from `address`; any wrong shape becomes a Rejected with its reason."""
    feature = fields.mapping(feature)
    properties = fields.mapping(feature.get("properties"))
    id_ = fields.source_id(feature.get("id"))
    name = id_ or fields.text(str(feature.get("id"))) or ""
    geometry = fields.mapping(feature.get("geometry"))
    place = fields.point(geometry) if geometry.get("type") == "Point" else None
    is_pano = is_panorama(properties)
    address = link_of(feature, "self", address) or address  # what its own links are relative to
    image_url = find_image_url(feature, is_pano, address)
    license_id = license_of(feature)
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
        captured_at=_captured_at(properties, now),
        heading_deg=_heading_deg(feature, properties),
        is_pano=is_pano,
        collection=fields.source_id(feature.get("collection")),
        producer=_producer(feature, properties),
        license=license_id,
        image_url=image_url,
        instance=fields.host(link_of(feature, "via", address) or image_url),
        file_size=size if isinstance(size, int) and not isinstance(size, bool) else None,
        attribution=fields.text(properties.get("attribution")),
        payload=_payload(feature, properties),
    )


def _links(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = holder.get("links")
    return [fields.mapping(link) for link in links] if isinstance(links, list) else []


def link_of(feature: Mapping[str, Any], rel: str, address: str) -> str | None:
    """The first web address among a feature's links of one kind; they may be relative to `address`."""
    urls = (fields.web_url(link.get("href"), address) for link in _links(feature) if link.get("rel") == rel)
    return next(filter(None, urls), None)


def _captured_at(properties: Mapping[str, Any], now: datetime) -> datetime | None:
    """The stated moment, or the middle of a stated range that is short enough for one."""
    moment, start, end = (fields.instant(properties.get(f"{name}datetime")) for name in ("", "start_", "end_"))
    if fields.plausible(moment, now) or start is None or end is None:
        return fields.plausible(moment, now)
    is_short = timedelta(0) <= end - start <= LONGEST_MOMENT
    return fields.plausible(start + (end - start) / 2, now) if is_short else None


def _heading_deg(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> float | None:
    """The stated direction. Servers take it from the neighbors in the sequence where the image has none, and say 0
    where there are no neighbors either: north is believed only if something could have told it."""
    azimuth, exif = fields.heading_deg(properties.get("view:azimuth")), properties.get("exif")
    if azimuth or not isinstance(exif, dict) or any(link.get("rel") in ("next", "prev") for link in _links(feature)):
        return azimuth
    stated = (name for name, value in exif.items() if not str(value).endswith("/0"))
    return azimuth if any(map(_DIRECTION.search, stated)) else None


def _producer(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
    """The account; further providers come from the picture's EXIF and may be anybody."""
    providers = feature.get("providers") or properties.get("providers")
    first = providers[0] if isinstance(providers, list) and providers else None
    return fields.text(properties.get("geovisio:producer")) or fields.text(fields.mapping(first).get("name"))


def _payload(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    exif = fields.mapping(properties.get("exif"))
    kept = {k: v for k, v in properties.items() if k not in _PROPERTIES_DROPPED}
    kept["exif"] = {k: exif[k] for k in _EXIF_KEPT if k in exif}
    return fields.payload({k: v for k, v in feature.items() if k not in _DROPPED} | {"properties": kept})


def is_panorama(properties: Mapping[str, Any]) -> bool:
    """Whether it is a full sphere: `visible_area` has the margins that were cropped off."""
    camera = fields.mapping(properties.get("pers:interior_orientation"))
    margins = camera.get("visible_area")
    if isinstance(margins, list) and any(map(fields.number, margins)):
        return False
    names = (properties.get("pano:type"), properties.get("pers:projection"), camera.get("projection"))
    return fields.number(camera.get("field_of_view")) == 360 or "equirectangular" in names


def find_image_url(feature: Mapping[str, Any], is_pano: bool, address: str) -> str | None:
    """The address of the asset to embed; None where there is none. They may be relative to `address`."""
    images = list(_images(feature, address))
    wanted = ("data", "visual") if is_pano else ("visual", "data")
    ranked = [url for role in (*wanted, "") for roles, url in images if role in roles]
    return ranked[0] if ranked else None


def _images(feature: Mapping[str, Any], address: str) -> Iterator[tuple[set[str], str]]:
    """(roles, address) of the assets that are images to look at; every one also has the role ""."""
    for name, asset in fields.mapping(feature.get("assets")).items():
        asset = fields.mapping(asset)
        url, stated = fields.web_url(asset.get("href"), address), asset.get("roles")
        roles = {role.lower() for role in stated if isinstance(role, str)} if isinstance(stated, list) else set()
        roles = roles or {_ROLES.get(name, name)}
        if url is not None and _is_image(asset.get("type"), url) and not roles & _SMALL:
            yield roles | {""}, url


def _is_image(type_: Any, url: str) -> bool:
    """By its media type, parameters and capitals aside; by its name where the type says nothing."""
    stated = type_.partition(";")[0].strip().lower() if isinstance(type_, str) else type_
    if stated is None or stated in _ANYTHING:
        return urlsplit(url).path.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))
    return isinstance(stated, str) and stated in _IMAGE_TYPES
