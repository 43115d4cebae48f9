"""Mapillary's coverage tiles: captures of boxes that the Graph API refuses to look at, 1.5 x 1.5 km in one answer.

Here: asking for tiles and keeping them, which of their points belong to a cell, and what has to be asked beside them:
names, and images near a cell's border. Not here: understanding a point (`read.py`), vector tiles as such.

Tiles cost a budget that is small: an address was locked out for a day after 1,938 requests. A redirect to the
login page is how the host says so, and further requests prolong it.

A search or a tile may go by another position than the one a capture is given, at most EDGE_DEG (and a tile's raster)
away. So a cell is asked for with that margin around it, what turns out to lie beside the cell is left to its
neighbors without a word, and a tile's position decides only where the border is further away than that.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import BudgetSpent, GeoPinError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer, HttpClient, Tally
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.mapillary.ask import IMAGE_FIELDS, Graph, judge
from geopin_assets.sources.mapillary.read import EDGE_DEG, image_id, parse_image, parse_point, place_of
from geopin_assets.sources.tiles import Point, Tile, TileCache, points_of, tiles_of

ZOOM = 14  # the only one with images
LAYER = "image"
RASTER_DEG = 360 / 2**ZOOM / 4096
LOCKED_OUT_S = 86_400.0
_EMPTY = (204, 404)
_LOCKED_OUT = (
    "the tile host answered {} to the login page, which is how it locks out an address that asked too much;"
    " boxes that need no tiles are crawled as ever"
)
_MARGIN_DEG = EDGE_DEG + 2 * RASTER_DEG
_IMAGES_ASKED = 3  # of one creator at a time, because an image may be gone


class CoverageTiles:
    """The tiles with the device's positions. The token goes into the query: the tile host reads no header."""

    def __init__(self, client: HttpClient, *, endpoint: str, token: str, folder: Path | None, ttl_s: float) -> None:
        self._client, self._endpoint, self._params = client, endpoint, {"access_token": token}
        self._cache = TileCache(self._fetch, folder=folder, ttl_s=ttl_s)

    def points(self, tile: Tile, tally: Tally) -> list[Point]:
        """The images of a tile. Raises BudgetSpent when no tile may be asked for today."""
        return points_of(tile, self._cache.get(tile, tally), LAYER)

    def _fetch(self, tile: Tile, tally: Tally) -> bytes:
        answer = self._client.send(
            "GET",
            f"{self._endpoint}/maps/vtp/mly1_public/2/{tile.z}/{tile.x}/{tile.y}",
            params=self._params,
            ok=(200, *_EMPTY),
            judge=self._judge,
            tally=tally,
            kind="tiles",
        )
        return b"" if answer.status in _EMPTY else answer.body

    def _judge(self, answer: Answer) -> GeoPinError | None:
        if 300 <= answer.status < 400:
            return self._client.stop("tiles", LOCKED_OUT_S, _LOCKED_OUT.format(answer.status))
        return None if answer.status in _EMPTY else judge(answer)


def widened(box: Bbox) -> Bbox:
    """A box with the margin around it."""
    return Bbox(box.west - _MARGIN_DEG, box.south - _MARGIN_DEG, box.east + _MARGIN_DEG, box.north + _MARGIN_DEG)


def is_deep(point: Point, cell: Bbox) -> bool:
    """Whether a tile's point is so far within a cell that no better position of it lies elsewhere."""
    inward = point.lon - cell.west, cell.east - point.lon, point.lat - cell.south, cell.north - point.lat
    return min(inward) > _MARGIN_DEG


def is_neighbors(record: Any, cell: Bbox, prefers_computed: bool = True) -> bool:
    """Whether an image came only because a cell is asked for with a margin: another cell has it."""
    place = place_of(record, prefers_computed)
    return place is not None and not cell.contains(*place) and widened(widened(cell)).contains(*place)


class Creators:
    """User names by creator id, for one run. Thread-safe."""

    def __init__(self) -> None:
        self._names: dict[str, str | None] = {}
        self._lock = Lock()

    def learn(self, record: Any) -> None:
        """Note whom an image of the Graph API names."""
        creator = fields.mapping(fields.mapping(record).get("creator"))
        id_, name = fields.source_id(creator.get("id")), fields.text(creator.get("username"))
        if id_ and name:
            with self._lock:
                self._names[id_] = name

    def ask(
        self, images: Iterable[tuple[str, Any]], fetch: Callable[[list[str]], Mapping[str, Any]]
    ) -> Mapping[str, str | None]:
        """All known names, after asking for those of `images` (pairs of image id and creator id) that are unknown.

        `fetch` returns records of images by id; a creator whom none of them names stays unknown and is not asked
        for again.
        """
        examples: dict[str, list[str]] = {}
        for image, creator in images:
            id_ = fields.source_id(creator)
            if id_ is not None and id_ not in self._names and len(examples.setdefault(id_, [])) < _IMAGES_ASKED:
                examples[id_].append(image)
        asked = [image for group in examples.values() for image in group]
        for record in fetch(asked).values() if asked else ():
            self.learn(record)
        with self._lock:
            self._names = dict.fromkeys(examples) | self._names
            return dict(self._names)


class DenseBoxes:
    """Reads dense boxes from tiles. What it learns about creators is kept for the run."""

    def __init__(self, graph: Graph, tiles: CoverageTiles, *, prefers_computed: bool = True) -> None:
        self._graph, self._tiles, self._prefers_computed = graph, tiles, prefers_computed
        self.creators = Creators()

    def captures(
        self, cell: Bbox, boxes: Sequence[Bbox], known: Collection[str], report: CrawlReport, now: datetime
    ) -> Iterator[Capture | Rejected]:
        """Captures of a cell in its dense boxes, without the known ids.

        A box whose tiles may not be asked for today is reported as incomplete, with the reason.
        """
        points = self._fetch_points(cell, boxes, known, report)
        near_border = {id_: p for id_, p in points.items() if image_id(p.properties) and not is_deep(p, cell)}
        yield from self._by_image(cell, near_border, report, now)
        yield from self._by_tile(cell, {id_: p for id_, p in points.items() if id_ not in near_border}, report, now)

    def _fetch_points(
        self, cell: Bbox, boxes: Sequence[Bbox], known: Collection[str], report: CrawlReport
    ) -> dict[str, Point]:
        """What tiles hold in and around the boxes, by id; each tile is decoded once.

        Around them, because a capture that no search of the box beside returns may lie there on the tile.
        """
        wanted = {box: widened(box) for box in boxes}
        missing: dict[Bbox, str] = {}
        found: dict[str, Point] = {}
        for tile in sorted({tile for box in wanted.values() for tile in tiles_of(box, ZOOM)}):
            touched = {box: wide for box, wide in wanted.items() if wide.intersects(tile.bbox)}
            try:
                points = self._tiles.points(tile, report)
            except BudgetSpent as error:
                missing |= dict.fromkeys(touched, str(error))
                continue
            for point in _within(points, [*touched.values()], widened(cell)):
                id_ = image_id(point.properties)
                report.duplicates += id_ in known or id_ in found
                if id_ not in known:
                    found[id_ or f"~{point}"] = point
        for box, reason in missing.items():
            report.miss(box, reason)
        return found

    def _by_image(
        self, cell: Bbox, points: dict[str, Point], report: CrawlReport, now: datetime
    ) -> Iterator[Capture | Rejected]:
        """Points whose cell a better position may change: the image itself decides."""
        images = self._graph.images([*points], IMAGE_FIELDS, report)
        for id_, point in points.items():
            if id_ not in images:
                if cell.contains(point.lon, point.lat):
                    yield Rejected(Reason.REMOVED, id_)
            elif not is_neighbors(images[id_], cell, self._prefers_computed):
                yield parse_image(images[id_], cell, now, self._prefers_computed)

    def _by_tile(
        self, cell: Bbox, points: dict[str, Point], report: CrawlReport, now: datetime
    ) -> Iterator[Capture | Rejected]:
        names = self.creators.ask(
            ((id_, point.properties.get("creator_id")) for id_, point in points.items()),
            lambda ids: self._graph.images(ids, ("id", "creator"), report),
        )
        for point in points.values():
            if cell.contains(point.lon, point.lat):
                yield parse_point(point, names.get(str(point.properties.get("creator_id"))), cell, now)


def _within(points: Sequence[Point], boxes: Sequence[Bbox], around: Bbox) -> Iterator[Point]:
    for point in points:
        if around.contains(point.lon, point.lat) and any(box.contains(point.lon, point.lat) for box in boxes):
            yield point
