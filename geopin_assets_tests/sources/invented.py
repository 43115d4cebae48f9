"""Any truth served by any source's stand-in, with any fault: what property tests over all sources crawl."""

import importlib.util
import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from geopin_assets.geo import distance_m
from geopin_assets.grid import Bbox, Cell, bounds
from geopin_assets.http_client import HttpClient, Quota
from geopin_assets.sandbox.server import app_of
from geopin_assets.sandbox.state import Fault, Sandbox
from geopin_assets.sandbox.streets.drives import STRAAT
from geopin_assets.sandbox.streets.world import Drive, Shot, World
from geopin_assets.settings import Settings
from geopin_assets.sources.base import Source
from geopin_assets_tests.sandbox.transport import AsgiTransport

CELL = Cell("nh-amsterdam-r090c052", bounds(90, 52))
VARIABLES = {"GEOPIN_ENABLE_MAPILIO": "1"}
_LICENSES = {"flickr": "CC-BY-SA-2.0", "europeana": "CC-BY-4.0"}
_TILE_M = 0.5  # sources that show tiles round positions to their grid
_QUANTIZED = {"mapilio", "mapillary"}

Place = tuple[float, float]
"""(lon, lat)"""


def stand_in_of(source: type[Source]) -> Any:
    """The class that stands in for a source in the sandbox; None if nothing does."""
    if importlib.util.find_spec(f"geopin_assets.sandbox.stand_ins.{source.name}") is None:
        return None
    module = importlib.import_module(f"geopin_assets.sandbox.stand_ins.{source.name}")
    (found,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and getattr(value, "name", "") == source.name
    )
    return found


@dataclass(frozen=True)
class Truth:
    """What a source has: positions by the source's own ids."""

    source: type[Source]
    world: World

    @classmethod
    def at(cls, source: type[Source], places: Sequence[Place]) -> "Truth":
        """One shot at each place."""
        drive = Drive(
            source=source.name,
            name="truth",
            street=STRAAT,
            from_m=0,
            step_m=1,
            count=len(places),
            started_at=datetime(2024, 5, 1, 10, tzinfo=UTC),
            creator="77",
            license=_LICENSES.get(source.name, "CC-BY-SA-4.0"),
        )
        return cls(source, World(tuple(_shot(drive, n, place) for n, place in enumerate(places, start=1))))

    def ids(self, cell: Bbox) -> tuple[set[str], set[str]]:
        """(must, may): ids in the cell, and those so near to its edge that a rounded position may lie outside."""
        id_of: Callable[[Shot], str] = stand_in_of(self.source).id_of
        margin_m = _TILE_M if self.source.name in _QUANTIZED else 0.0
        near = {id_of(shot) for shot in self.world.shots if margin_m and _edge_m(cell, shot.lon, shot.lat) < margin_m}
        inside = {id_of(shot) for shot in self.world.shots if cell.contains(shot.lon, shot.lat)}
        return inside - near, inside | near

    def sandbox(self, *faults: Fault, cap: int | None = None) -> Sandbox:
        """A sandbox that serves this truth; `cap`: most records of any answer."""
        caps = {} if cap is None else {self.source.name: cap}
        return Sandbox(self.world, "http://127.0.0.1:1", list(faults), caps=caps)


def _shot(drive: Drive, rank: int, place: Place) -> Shot:
    return Shot(
        drive=drive,
        rank=rank,
        along_m=0.0,
        right_m=0.0,
        lon=place[0],
        lat=place[1],
        heading_deg=90.0,
        captured_at=drive.started_at + timedelta(seconds=4 * rank),
    )


def _edge_m(cell: Bbox, lon: float, lat: float) -> float:
    """Distance to the nearest edge line of a cell, for positions near the cell."""
    if not (cell.west - 0.01 < lon < cell.east + 0.01 and cell.south - 0.01 < lat < cell.north + 0.01):
        return 1e9
    return min(
        *(distance_m(lon, lat, edge, lat) for edge in (cell.west, cell.east)),
        *(distance_m(lon, lat, lon, edge) for edge in (cell.south, cell.north)),
    )


@contextmanager
def opened(
    source: type[Source],
    sandbox: Sandbox | ASGIApp,
    variables: Mapping[str, str] | None = None,
    *,
    deadline_s: float = 5.0,
) -> Iterator[Source]:
    """A source that asks a sandbox (or any app), without waiting between requests; its files go with the context."""
    with (
        tempfile.TemporaryDirectory() as folder,
        HttpClient(
            source.name,
            contact="test@example.org",
            transport=AsgiTransport(app_of(sandbox) if isinstance(sandbox, Sandbox) else sandbox),
            requests_per_second=1e9,
            quotas={kind: Quota(per_second=1e9) for kind in source.quotas},
            sleep=lambda _: None,
            deadline_s=deadline_s,
        ) as client,
    ):
        settings = Settings(
            data_dir=Path(folder),
            sandbox_port=1,
            contact="test@example.org",
            variables=VARIABLES | dict(variables or {}),
        )
        yield source.from_settings(settings, client)
