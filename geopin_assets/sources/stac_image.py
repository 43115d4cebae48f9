"""The image of a STAC item: which of its assets is embedded, and whether it is a panorama.

The role of an asset says how large it is: `visual` is one to look at, `data` the original, which is taken of
panoramas; else any other that is no thumbnail. On Panoramax `visual` is 2048 px wide, 5.7 px/degree of a panorama
where a view has 7.7; originals of common cameras have 5760, are ten times the bytes (3.3 MB) and reduced while
decoding. A panorama is what has a field of view of 360 degrees or is called equirectangular, unless it was cropped.
Not here: the rest of an item (`stac.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from geopin_assets.sources import fields

_IMAGE_TYPES = {"image/jpeg", "image/jpg", "image/png", "image/webp"}
_ROLES = {"hd": "data", "sd": "visual", "thumb": "thumbnail"}  # assets that state none, by Panoramax's names
_SMALL = {"thumbnail", "overview", "metadata"}


def is_panorama(properties: Mapping[str, Any]) -> bool:
    """Whether it is a full sphere: `visible_area` has the margins that were cropped off."""
    camera = fields.mapping(properties.get("pers:interior_orientation"))
    margins = camera.get("visible_area")
    if isinstance(margins, list) and any(map(fields.number, margins)):
        return False
    names = (properties.get("pano:type"), properties.get("pers:projection"), camera.get("projection"))
    return fields.number(camera.get("field_of_view")) == 360 or "equirectangular" in names


def find_image_url(feature: Mapping[str, Any], is_pano: bool) -> str | None:
    """The address of the asset to embed; None where there is none."""
    images = list(_images(feature))
    wanted = ("data", "visual") if is_pano else ("visual", "data")
    ranked = [url for role in (*wanted, "") for roles, url in images if role in roles]
    return ranked[0] if ranked else None


def _images(feature: Mapping[str, Any]) -> Iterator[tuple[set[str], str]]:
    """(roles, address) of the assets that are images to look at; every one also has the role ""."""
    for name, asset in fields.mapping(feature.get("assets")).items():
        asset = fields.mapping(asset)
        url, type_, stated = fields.web_url(asset.get("href")), asset.get("type"), asset.get("roles")
        roles = {role for role in stated if isinstance(role, str)} if isinstance(stated, list) else set()
        roles = roles or {_ROLES.get(name, name)}
        is_image = (isinstance(type_, str) and type_ in _IMAGE_TYPES) or (
            type_ is None and _looks_like_image(url or "")
        )
        if url is not None and is_image and not roles & _SMALL:
            yield roles | {""}, url


def _looks_like_image(url: str) -> bool:
    return urlsplit(url).path.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))
