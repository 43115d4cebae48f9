"""Points of references, kept so that the next photo of a place needs none of their images fetched and looked at again.

Here: one file of them, bounded: what was not needed for longest goes first. By capture, view, version of the image, and
model: what another model found is never taken for this one's. The file may be lost at any time. Not here: finding
points (`verify.py`), or images (`references.py`). Descriptors are kept with 16 bits, 0.14 MB for an image.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.losable import on_file
from geopin_assets.locate.verify import Features

FILE = "features.sqlite"
_DESCRIPTOR = 64
"""Numbers that describe one of XFeat's points."""
MAX_BYTES = 512 * 2**20
_SCHEMA = """
create table if not exists features (
  capture_id text not null, view integer not null, model_id text not null, image_version text not null,
  used_at real not null, size integer not null, points blob not null, descriptors blob not null,
  primary key (capture_id, view, model_id)
);
create index if not exists features_by_use on features (used_at, size);
"""
_USE = """
update features set used_at = ? where capture_id = ? and view = ? and image_version = ? and model_id = ?
returning points, descriptors
"""
_KEEP = """
insert or replace into features (capture_id, view, image_version, model_id, used_at, size, points, descriptors)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""
_OF_CAPTURES = "from features where capture_id in (select value from json_each(?))"
_EVICT = """
delete from features where rowid in (
  select rowid from (select rowid, sum(size) over (order by used_at desc, rowid desc) as kept from features)
  where kept > ?)
"""


class View(NamedTuple):
    """What points are of: a view of a capture, in a version of its image."""

    capture_id: str
    view: int
    image_version: str


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """The points that a model found, of MAX_BYTES in all with those of other models."""

    folder: Path
    model_id: str
    max_bytes: int = MAX_BYTES
    now: Callable[[], float] = time.time

    def read(self, views: Iterable[View]) -> dict[str, Features]:
        """By capture id, of those that are kept in this very version."""
        wanted = list(views)

        def work(connection: sqlite3.Connection) -> dict[str, Features]:
            found = {}
            for view in wanted:
                key = (self.now(), *view, self.model_id)
                row = connection.execute(_USE, key).fetchone()
                if row:
                    found[view.capture_id] = _unpacked(*row)
            return found

        return on_file(self.folder / FILE, _SCHEMA, work) if wanted and (self.folder / FILE).exists() else {}

    def keep(self, found: Mapping[View, Features]) -> None:
        """These too; what was not used for longest goes where that is too much."""
        now = self.now()
        rows = [(*view, self.model_id, now, *_packed(features)) for view, features in found.items()]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_KEEP, rows)
            connection.execute(_EVICT, (self.max_bytes,))

        if rows:
            on_file(self.folder / FILE, _SCHEMA, work)


def of_captures(folder: Path, capture_ids: Sequence[str], *, forget: bool = False) -> dict[str, int]:
    """How many views of these captures are kept in a folder, of whatever model; and forgotten, if asked for."""
    wanted = (orjson.dumps(list(capture_ids)).decode(),)

    def work(connection: sqlite3.Connection) -> dict[str, int]:
        held = dict(connection.execute(f"select capture_id, count(*) {_OF_CAPTURES} group by 1", wanted))
        if forget:
            connection.execute(f"delete {_OF_CAPTURES}", wanted)
        return held

    return on_file(folder / FILE, _SCHEMA, work) if (folder / FILE).exists() else {}


def _packed(features: Features) -> tuple[int, bytes, bytes]:
    points, descriptors = features.points.astype("<f4").tobytes(), features.descriptors.astype("<f2").tobytes()
    return len(points) + len(descriptors), points, descriptors


def _unpacked(points: bytes, descriptors: bytes) -> Features:
    try:
        found = np.frombuffer(points, "<f4").astype(np.float64).reshape(-1, 2)
        described = np.frombuffer(descriptors, "<f2").astype(np.float32).reshape(len(found), _DESCRIPTOR)
    except ValueError as error:
        raise DamagedFileError(f"{FILE}: {error}") from error
    return Features(found, described)
