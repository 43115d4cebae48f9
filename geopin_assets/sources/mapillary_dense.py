"""Captures of boxes that a Mapillary search does not answer for: from coverage tiles, and images one by one.

Here: which tiles, which of their points, and what has to be asked beside them. Not here: requests themselves.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import BudgetSpent
from geopin_assets.grid import Bbox
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.mapillary_border import is_deep, is_neighbors, widened
from geopin_assets.sources.mapillary_creators import Creators
from geopin_assets.sources.mapillary_graph import IMAGE_FIELDS, Graph
from geopin_assets.sources.mapillary_record import image_id, parse_image, parse_point
from geopin_assets.sources.mapillary_tiles import ZOOM, CoverageTiles
from geopin_assets.sources.tiles import Point, tiles_of


class DenseBoxes:
    """Reads dense boxes from tiles. What it learns about creators is kept for the run."""

    def __init__(self, graph: Graph, tiles: CoverageTiles) -> None:
        self._graph, self._tiles = graph, tiles
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
        report.incomplete += [f"{box} ({reason})" for box, reason in missing.items()]
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
            elif not is_neighbors(images[id_], cell):
                yield parse_image(images[id_], cell, now)

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
