"""Mapilio: drives by phone and 360-degree camera, sparse in the Netherlands. Off unless somebody switches it on.

Whether its images may be collected is contested: the marketing says CC BY-SA 4.0, the terms are narrower, and the
operator's own note on its public API forbids scraping and bulk download without permission. Ask first; whoever has
permission sets `GEOPIN_ENABLE_MAPILIO=1`, in the sandbox too.

API: vector tiles (z14) of a GeoServer, `GET https://geo.mapilio.com/geoserver/gwc/service/wmts?…`, layer
`map_points`, and for what tiles lack `GET https://end.mapilio.com/api/sequence-detail?sequence_uuid=…`, once for
each sequence; both without key.

License: CC-BY-SA-4.0 as advertised, not as proven (see above); shown as `© Mapilio contributors, CC BY-SA 4.0`.

Quirks: an empty tile is 200 without a body. A tile that is not cached and too dense answers 400 `Problem
communicating with GeoServer`: to be tried later, never empty. A removed sequence is `{"data": null}` while cached
tiles still show its points, and images that were found faulty are missing in it: both are left out as without
image. Times without zone are UTC, as tiles state the same ones. Panoramas are told by their size, 2 to 1. People are
known by number only.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from typing import Any
from urllib.parse import quote

from cachetools import LRUCache, cached
from google.protobuf.message import DecodeError

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import GeoPinError, PayloadError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import Answer, HttpClient, Tally
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import AS_IT_IS, CrawlReport, RequestCost, Source
from geopin_assets.sources.paging import settle_captures
from geopin_assets.sources.tiles import Point, Tile, TileCache, points_of, tiles_of

IMAGES = "https://cdn.mapilio.com/im"
FLAT_SIZE, PANO_SIZE = 1080, 2080
_LAYERS_TAG = b"\x1a"  # what every vector tile begins with
_RESOLUTION = re.compile(r"\s*+(\d{1,5})\s*+x\s*+(\d{1,5})\s*+", re.ASCII | re.IGNORECASE)
ENABLED_BY = "GEOPIN_ENABLE_MAPILIO"
DETAIL_ENDPOINT = "https://end.mapilio.com"
ZOOM = 14
LAYER = "map_points"
TILE_TTL_S = 6 * 86_400.0  # a weekly crawl sees new ones
IMAGES_KEPT = 100_000  # of sequences, about 1 kB each; the longest known has 18,824
_GRID = "EPSG:900913"
_TILE_QUERY = {"REQUEST": "GetTile", "SERVICE": "WMTS", "VERSION": "1.0.0", "LAYER": f"mapilio:{LAYER}", "STYLE": ""}
_TILE_FORM = {"TILEMATRIXSET": _GRID, "FORMAT": "application/vnd.mapbox-vector-tile"}
_WHY_OFF = (
    "its license is contested and the operator forbids bulk download without permission;"
    f" set {ENABLED_BY}=1 if you have it"
)


class Mapilio(Source):
    """All points of the tiles under a cell, with their images from the sequences they belong to."""

    name = "mapilio"
    title = "Mapilio"
    homepage = "https://mapilio.com"
    contribute_url = "https://mapilio.com"
    thumbnail = AS_IT_IS
    endpoint = "https://geo.mapilio.com"
    license = "CC-BY-SA-4.0"
    attribution = "© Mapilio contributors, CC BY-SA 4.0"
    expected_captures = 50_000
    costs = (RequestCost(cells_per_request=0.5, captures_per_request=200),)  # tiles, then every sequence
    requests_per_second = 1.0
    concurrency = 2

    def __init__(
        self,
        client: HttpClient,
        *,
        endpoint: str = endpoint,
        detail_endpoint: str = DETAIL_ENDPOINT,
        images: str = IMAGES,
        tiles_dir: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._images, self._now = client, images, now
        self._tile_url = f"{endpoint}/geoserver/gwc/service/wmts"
        self._detail_url = f"{detail_endpoint}/api/sequence-detail"
        self._tiles = TileCache(self._fetch_tile, folder=tiles_dir, ttl_s=TILE_TTL_S)
        kept: LRUCache[str, Mapping[str, Any]] = LRUCache(IMAGES_KEPT, getsizeof=lambda images: len(images) + 1)
        self._kept, self._changes = kept, Condition()
        self._sequence = cached(kept, key=lambda uuid, report: uuid, condition=self._changes)(self._fetch_sequence)

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        return super().disabled_reason(settings) or (None if settings.is_mapilio_enabled else _WHY_OFF)

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Mapilio":
        if settings.is_sandbox:  # its world may change at any moment: tiles are not kept from run to run
            url = f"{settings.sandbox_url}/{cls.name}"
            return cls(client, endpoint=url, detail_endpoint=url, images=f"{url}/im")
        return cls(client, tiles_dir=settings.tiles_dir / cls.name)

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        return settle_captures(cell.bbox, lambda: self._read(cell, report), report)

    def _read(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        points = list(self._fetch_points(cell.bbox, report))
        if report.reading:  # what was kept would only say the same again
            with self._changes:
                for point in points:
                    self._kept.pop(str(point.properties.get("sequence_uuid")), None)
        for point in points:
            yield parse_record(join(point, self._image(point, report)), cell.bbox, self._now(), self._images)

    def _fetch_points(self, bbox: Bbox, report: CrawlReport) -> Iterator[Point]:
        """The points in a box, each once; tiles do not follow cells, and share the points on their edges."""
        seen: set[str] = set()
        for tile in tiles_of(bbox, ZOOM):
            for point in self._points(tile, report):
                if not bbox.contains(point.lon, point.lat):
                    continue
                id_ = _id(point)
                if id_ in seen:
                    report.duplicates += 1
                    continue
                seen |= {id_} if id_ else set()
                yield point

    def _points(self, tile: Tile, report: CrawlReport) -> list[Point]:
        data = self._tiles.get(tile, report, anew=report.reading > 0)
        try:
            return points_of(tile, data, LAYER)
        except PayloadError as error:
            raise PayloadError(f"{self.name}: {error}") from error

    def _image(self, point: Point, report: CrawlReport) -> Mapping[str, Any] | None:
        uuid, id_ = fields.source_id(point.properties.get("sequence_uuid")), _id(point)
        return self._sequence(uuid, report).get(id_) if uuid and id_ else None

    def _fetch_tile(self, tile: Tile, tally: Tally) -> bytes:
        place = {"TILEMATRIX": f"{_GRID}:{tile.z}", "TILECOL": tile.x, "TILEROW": tile.y}
        query = _TILE_QUERY | _TILE_FORM | place
        return self._client.get_bytes(self._tile_url, params=query, judge=judge_tile, tally=tally)

    def _fetch_sequence(self, uuid: str, report: CrawlReport) -> Mapping[str, Any]:
        answer = self._client.get_json(self._detail_url, params={"sequence_uuid": uuid}, tally=report)
        return parse_sequence(answer, where=f"{self.name}: sequence {uuid}")


def judge_tile(answer: Answer) -> GeoPinError | None:
    """What is wrong with a tile; None leaves it to the status. An empty body is an empty tile, a 400 never is."""
    if answer.status == 400:
        return TransientError(f"answered 400 {answer.excerpt}, which is how a tile fails that is not cached")
    if answer.status != 200 or not answer.body:
        return None
    from mapbox_vector_tile.Mapbox import vector_tile_pb2

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


@fields.rejecting
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
        source=Mapilio.name,
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=fields.plausible(fields.instant(_either(image, tile, "capture_time")), now),
        heading_deg=fields.heading_deg(_either(image, tile, "heading")),
        is_pano=is_pano,
        sequence_id=fields.source_id(tile.get("sequence_uuid")),
        creator=fields.source_id(_either(image, tile, "created_by_id")),
        license=Mapilio.license,
        attribution=Mapilio.attribution,
        page_url=f"{Mapilio.homepage}/app?lat={place[1]:.6f}&lng={place[0]:.6f}&zoom=17&pId={quote(id_, safe='')}",
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


def _id(point: Point) -> str | None:
    return fields.source_id(point.properties.get("id"))
