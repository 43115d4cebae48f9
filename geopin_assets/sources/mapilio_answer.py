"""Reading Mapilio's answers: what a tile is, a sequence's images, and both together as captures.

Here: pure parsing. Not here: asking (`mapilio.py`), vector tiles as such (`tiles.py`).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from google.protobuf.message import DecodeError
from mapbox_vector_tile.Mapbox import vector_tile_pb2

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import GeoPinError, PayloadError, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer
from geopin_assets.sources import fields
from geopin_assets.sources.tiles import Point

NAME = "mapilio"
HOMEPAGE = "https://mapilio.com"
LICENSE = "CC-BY-SA-4.0"
ATTRIBUTION = "© Mapilio contributors, CC BY-SA 4.0"
IMAGES = "https://cdn.mapilio.com/im"
FLAT_SIZE, PANO_SIZE = 1080, 2080

_LAYERS_TAG = b"\x1a"  # what every vector tile begins with
_RESOLUTION = re.compile(r"\s*(\d{1,5})\s*x\s*(\d{1,5})\s*", re.ASCII | re.IGNORECASE)


def tile_verdict(answer: Answer) -> GeoPinError | None:
    """What is wrong with a tile; None leaves it to the status. An empty body is an empty tile, a 400 never is."""
    if answer.status == 400:
        return TransientError(f"answered 400 {answer.excerpt}, which is how a tile fails that is not cached")
    if answer.status != 200 or not answer.body:
        return None
    try:
        vector_tile_pb2.tile.FromString(answer.body)
    except DecodeError:
        return _no_tile(answer)
    return None


def _no_tile(answer: Answer) -> GeoPinError:
    if answer.body.startswith(_LAYERS_TAG):
        return TransientError(f"a vector tile that was cut after {len(answer.body)} bytes")
    try:
        answer.json()
    except GeoPinError as error:
        return error
    return PayloadError("JSON where a vector tile was asked for")


def parse_sequence(answer: Any, where: str) -> dict[str, Mapping[str, Any]]:
    """The images of a sequence by id, unchecked; none if it is gone. Raises PayloadError for another shape."""
    answer = fields.mapping(answer)
    images = answer.get("data", answer)  # without `data` it says nothing, least of all "gone"
    if not isinstance(images, list | None):
        raise PayloadError(f"{where}: a sequence without a list of images")
    found = [fields.mapping(image) for image in images or ()]
    return {id_: image for image in found if (id_ := fields.source_id(image.get("id"))) is not None}


def join(point: Point, image: Mapping[str, Any] | None) -> dict[str, Any]:
    """One record of what the tile and the sequence say."""
    return {"lon": point.lon, "lat": point.lat, "tile": point.properties, "image": image}


def parse_record(record: Any, bbox: Bbox, now: datetime, images: str = IMAGES) -> Capture | Rejected:
    """Understand one record of a box. `images` is the address of the image host."""
    record = fields.mapping(record)
    tile, image = fields.mapping(record.get("tile")), fields.mapping(record.get("image"))
    id_ = fields.source_id(tile.get("id"))
    if id_ is None:
        return Rejected(Reason.BAD_ID if "id" in tile else Reason.MALFORMED, str(tile.get("id"))[:200])
    place = fields.position(record.get("lon"), record.get("lat"))
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, id_)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, id_)
    is_pano = is_equirectangular(_either(image, tile, "resolution"), image.get("fov"))
    address = image_url(image, is_pano, images)
    if address is None:
        return Rejected(Reason.NO_IMAGE, id_)
    return Capture(
        source=NAME,
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=fields.plausible(fields.instant(_either(image, tile, "capture_time")), now),
        heading_deg=fields.heading_deg(_either(image, tile, "heading")),
        is_pano=is_pano,
        sequence_id=fields.source_id(tile.get("sequence_uuid")),
        creator=fields.source_id(_either(image, tile, "created_by_id")),
        license=LICENSE,
        attribution=ATTRIBUTION,
        page_url=f"{HOMEPAGE}/app?lat={place[1]:.6f}&lng={place[0]:.6f}&zoom=17&pId={quote(id_, safe='')}",
        image_url=address,
        image_version="",
        payload=fields.payload(record),
    )


def is_equirectangular(resolution: Any, fov: Any = None) -> bool:
    """Whether an image of a size like `5760x2880` is a panorama: twice as wide as high, and not known to see less.

    `fov` is the horizontal field of view in degrees; telephones take frames of 2 to 1 as well.
    """
    match = _RESOLUTION.fullmatch(resolution) if isinstance(resolution, str) else None
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    return width == 2 * height > 0 and not 0 < (fields.number(fov) or 0) <= 180


def image_url(image: Mapping[str, Any], is_pano: bool, images: str = IMAGES) -> str | None:
    """The smaller size; for a panorama, which is cut into views, the larger one.

    There is the original too, at the address without a size, but the operator does not promise that it is blurred.
    """
    hash_, name = _path(image.get("uploaded_hash")), _path(image.get("filename"))
    size = PANO_SIZE if is_pano else FLAT_SIZE
    return f"{images}/{hash_}/{name}/{size}" if hash_ and name else None


def _either(image: Mapping[str, Any], tile: Mapping[str, Any], key: str) -> Any:
    """The sequence's own value; tiles are kept for days and lack what was corrected since."""
    value = image.get(key)
    return tile.get(key) if value is None else value


def _path(value: Any) -> str | None:
    """A part of a path, quoted; None for what could lead elsewhere."""
    text = fields.source_id(value)
    if text is None or any(part in ("", ".", "..") for part in text.split("/")):
        return None
    return quote(text)
