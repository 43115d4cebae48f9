"""What one running sandbox knows beside its world: faults, captures that vanished or moved, lowered caps, counts.

Here: the hook through which every request of every stand-in passes, and what a source has on offer: its shots under
the source's own ids, found by id and by box in no time. Not here: routes and wire formats.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from starlette.responses import Response
from starlette.types import ASGIApp

from geopin_assets.sandbox.faults import Box, Fault
from geopin_assets.sandbox.streets.world import Quirk, Shot, World


class Shelf:
    """The published shots of one source, in publication order. `vanished` and `moved` are read at each look."""

    def __init__(
        self,
        shots: Collection[Shot],
        id_of: Callable[[Shot], str],
        vanished: Collection[str],
        moved: Mapping[str, tuple[float, float]],
    ) -> None:
        self._shots = {id_of(shot): shot for shot in shots if shot.quirk is not Quirk.HIDDEN}
        self._ids = list(self._shots)
        self._vanished, self._moved = vanished, moved
        self._lons = np.array([shot.lon for shot in self._shots.values()])
        self._lats = np.array([shot.lat for shot in self._shots.values()])

    def get(self, id_: str) -> Shot | None:
        """The shot of an id, where it is now; None if there is none or it was taken down."""
        shot = None if id_ in self._vanished else self._shots.get(id_)
        if shot is not None and id_ in self._moved:
            lon, lat = self._moved[id_]
            return replace(shot, lon=lon, lat=lat)
        return shot

    def all(self) -> dict[str, Shot]:
        """Everything on offer, id -> shot, in publication order."""
        return {id_: shot for id_ in self._ids if (shot := self.get(id_)) is not None}

    def within(self, box: Box) -> dict[str, Shot]:
        """What lies in a box, edges included, in publication order."""
        west, south, east, north = box
        inside = (self._lons >= west) & (self._lons <= east) & (self._lats >= south) & (self._lats <= north)
        ids = [self._ids[n] for n in np.flatnonzero(inside)]
        if self._moved:
            inside_ids = set(ids)
            ids = [id_ for id_ in self._ids if id_ in self._moved or id_ in inside_ids]
        found = {id_: shot for id_ in ids if (shot := self.get(id_)) is not None}
        return {id_: s for id_, s in found.items() if west <= s.lon <= east and south <= s.lat <= north}

    def nearest_first(self, box: Box) -> dict[str, Shot]:
        """What lies in a box, nearest to its middle (in degrees) first: so cut answers lose the corners."""
        lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return dict(
            sorted(self.within(box).items(), key=lambda pair: (pair[1].lon - lon) ** 2 + (pair[1].lat - lat) ** 2)
        )


class CloudflareStandIn(Protocol):
    """What the sandbox asks of Cloudflare's stand-in, which comes with a checkout, beside the tests."""

    requests: Counter[str]
    """Calls by `service.operation`."""
    faults: list[Any]

    def app(self) -> ASGIApp: ...
    def add_fault(self, **fields: Any) -> None:
        """Raises TypeError or ValueError for fields that are no fault."""

    def clear_faults(self) -> None: ...


@dataclass(slots=True)
class Sandbox:
    """State shared by the stand-ins of one app. `base_url` has no trailing slash and starts every href."""

    world: World
    base_url: str
    faults: list[Fault] = field(default_factory=list)
    vanished: set[str] = field(default_factory=set)
    """Source's own ids of captures that were taken down."""
    moved: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Source's own id -> (lon, lat) where the capture is now."""
    caps: dict[str, int] = field(default_factory=dict)
    """Source -> most records it puts into one answer from now on, without a word about it."""
    requests: Counter[str] = field(default_factory=Counter)
    cloudflare: CloudflareStandIn | None = None

    def meet(self, source: str, kind: str, *, box: Box | None = None, capture: str | None = None) -> Response | None:
        """Count a request and return what it gets instead of an answer, or None to answer it."""
        self.requests[f"{source}.{kind}"] += 1
        fault = next((fault for fault in self.faults if fault.concerns(source, box, capture)), None)
        return fault.response() if fault else None

    def shelf(self, source: str, id_of: Callable[[Shot], str]) -> Shelf:
        """What a source has on offer, under its own ids; hidden shots are not."""
        return Shelf(self.world.of(source), id_of, self.vanished, self.moved)

    def cap(self, source: str, usual: int) -> int:
        """Most records of one answer: `usual`, unless it was lowered."""
        return min(usual, self.caps.get(source, usual))

    def clear(self) -> None:
        """Everything as it was."""
        for turned in (self.faults, self.vanished, self.moved, self.caps):
            turned.clear()
        if self.cloudflare is not None:
            self.cloudflare.clear_faults()
