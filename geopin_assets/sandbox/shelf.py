"""What one source has on offer: its shots under the source's own ids, found by box in no time.

Here: lookup by id and by box, over a world of any size. Not here: what a shot looks like on the wire.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np

from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.world import Quirk, Shot


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
