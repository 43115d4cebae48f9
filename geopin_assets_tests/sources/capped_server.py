"""A server as the real ones are: inclusive edges, at most `limit` records an answer, nearest to the middle first."""

from dataclasses import dataclass, field

from geopin_assets.grid import Bbox

Point = tuple[int, float, float]
"""(id, lon, lat)"""


@dataclass
class CappedServer:
    points: list[Point]
    limit: int
    asked: list[Bbox] = field(default_factory=list)

    def within(self, box: Bbox) -> list[Point]:
        return [p for p in self.points if box.west <= p[1] <= box.east and box.south <= p[2] <= box.north]

    def fetch(self, box: Bbox) -> list[Point]:
        self.asked.append(box)
        lon, lat = box.center
        return sorted(self.within(box), key=lambda p: (p[1] - lon) ** 2 + (p[2] - lat) ** 2)[: self.limit]
