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

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from typing import Any

from cachetools import LRUCache, cached

from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import ConfigurationError, PayloadError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient, Tally
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources import mapilio_answer as answers
from geopin_assets.sources.base import CrawlReport, Source, Work
from geopin_assets.sources.tiles import Point, Tile, TileCache, points_of, tiles_of

ENABLED_BY = "GEOPIN_ENABLE_MAPILIO"
DETAIL_ENDPOINT = "https://end.mapilio.com"
ZOOM = 14
LAYER = "map_points"
TILE_TTL_S = 6 * 86_400.0  # a weekly crawl sees new ones
IMAGES_KEPT = 100_000  # of sequences, about 1 kB each; the longest known has 18,824

_GRID = "EPSG:900913"
_TILE_QUERY = {
    "REQUEST": "GetTile",
    "SERVICE": "WMTS",
    "VERSION": "1.0.0",
    "LAYER": f"mapilio:{LAYER}",
    "STYLE": "",
    "TILEMATRIXSET": _GRID,
    "FORMAT": "application/vnd.mapbox-vector-tile",
}
_WHY_OFF = (
    "its license is contested and the operator forbids bulk download without permission;"
    f" set {ENABLED_BY}=1 if you have it"
)


class Mapilio(Source):
    """All points of the tiles under a cell, with their images from the sequences they belong to."""

    name = answers.NAME
    title = "Mapilio"
    homepage = answers.HOMEPAGE
    contribute_url = "https://mapilio.com"
    endpoint = "https://geo.mapilio.com"
    license = answers.LICENSE
    attribution = answers.ATTRIBUTION
    expected_captures = 50_000
    work = (Work(cells_per_request=0.5, captures_per_request=200),)  # tiles, then every sequence
    requests_per_second = 1.0
    concurrency = 2

    def __init__(
        self,
        client: HttpClient,
        *,
        endpoint: str = endpoint,
        detail_endpoint: str = DETAIL_ENDPOINT,
        images: str = answers.IMAGES,
        tiles_dir: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._images, self._now = client, images, now
        self._tile_url = f"{endpoint}/geoserver/gwc/service/wmts"
        self._detail_url = f"{detail_endpoint}/api/sequence-detail"
        self._tiles = TileCache(self._fetch_tile, folder=tiles_dir, ttl_s=TILE_TTL_S)
        kept: LRUCache[str, Mapping[str, Any]] = LRUCache(IMAGES_KEPT, getsizeof=lambda images: len(images) + 1)
        self._sequence = cached(kept, key=lambda uuid, report: uuid, condition=Condition())(self._fetch_sequence)

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        try:
            is_enabled = settings.flag(ENABLED_BY)
        except ConfigurationError as error:
            return str(error)
        return super().disabled_reason(settings) if is_enabled else _WHY_OFF

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Mapilio":
        if settings.is_sandbox:  # its world may change at any moment: tiles are not kept from run to run
            url = f"{settings.sandbox_url}/{cls.name}"
            return cls(client, endpoint=url, detail_endpoint=url, images=f"{url}/im")
        return cls(client, tiles_dir=settings.tiles_dir / cls.name)

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        for point in self._fetch_points(cell.bbox, report):
            record = answers.join(point, self._image(point, report))
            yield answers.parse_record(record, cell.bbox, self._now(), self._images)

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
        data = self._tiles.get(tile, report)
        try:
            return points_of(tile, data, LAYER)
        except PayloadError as error:
            raise PayloadError(f"{self.name}: {error}") from error

    def _image(self, point: Point, report: CrawlReport) -> Mapping[str, Any] | None:
        uuid, id_ = fields.source_id(point.properties.get("sequence_uuid")), _id(point)
        return self._sequence(uuid, report).get(id_) if uuid and id_ else None

    def _fetch_tile(self, tile: Tile, tally: Tally) -> bytes:
        place = {"TILEMATRIX": f"{_GRID}:{tile.z}", "TILECOL": tile.x, "TILEROW": tile.y}
        query = _TILE_QUERY | place
        return self._client.get_bytes(self._tile_url, params=query, judge=answers.tile_verdict, tally=tally)

    def _fetch_sequence(self, uuid: str, report: CrawlReport) -> Mapping[str, Any]:
        answer = self._client.get_json(self._detail_url, params={"sequence_uuid": uuid}, tally=report)
        return answers.parse_sequence(answer, where=f"{self.name}: sequence {uuid}")


def _id(point: Point) -> str | None:
    return fields.source_id(point.properties.get("id"))
