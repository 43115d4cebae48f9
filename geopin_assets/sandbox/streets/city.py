"""The city around the sandbox's own streets: one street in nearly every cell of Amsterdam, and telling gaps.

Here: which cells have which street, who drove along it and when, and the cells that fall short of what is expected of
them. Not here: the streets whose captures have quirks (`drives.py`), how a drive becomes shots (`world.py`).

An ordinary cell has captures of three sources, the newest of last year, and a panorama of the municipality. They look
the same way from the same corners, so that one source can be found by the pictures of the others; only every fifth
third source drove the other way. The gaps are those that real cities have, a few of each kind, so that the coverage map
shows what its checks speak of.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

from geopin_assets.grid import bounds
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Drive, Quirk, Street, World, shots

_CELLS = {
    82: (54, 56), 83: (53, 55), 84: (53, 55), 85: (53, 55), 86: (53, 55), 87: (50, 55), 88: (49, 53), 89: (49, 54),
    90: (47, 56), 91: (47, 57), 92: (50, 57), 93: (51, 56), 94: (52, 53),
}  # fmt: skip
"""Row -> first and last column of the land cells of nh-amsterdam."""
_OWN_STREETS = {(89, 51), (89, 52), (90, 51), (90, 52)}
"""Cells of `drives.py`; tests know what is in them."""
NO_CAPTURE = {(82, 54), (91, 51), (92, 53), (94, 53)}
SINGLE_SOURCE = {(85, 55), (91, 48), (93, 53)}
NOTHING_RECENT = {(88, 49), (90, 48), (91, 49)}
TOO_FEW = {(87, 53), (89, 53), (92, 50)}
NO_MUNICIPAL_PANORAMA = {(85, 54), (88, 53), (93, 52)}
_FIRST = (
    "Appel", "Bakker", "Draai", "Emmer", "Fiets", "Giraf", "Hamer", "Ijsco", "Kegel", "Ladder", "Mutsen", "Noten",
    "Ooievaar", "Pannen", "Regen", "Schommel", "Tol", "Vlieger",
)  # fmt: skip
_LAST = ("straat", "gracht", "laan", "kade")
_BESIDE = ("kartaview", "panoramax", "flickr", "stac", "wikimedia_commons")
"""The third source of a cell, by turns."""
_STEP_M = 24.0
_WRONG = {3: Quirk.MOVED, 8: Quirk.TURNED, 13: Quirk.INDOOR}
"""What is wrong with one capture of a cell: `quality/outliers` is to find it."""
_LICENSES = {"flickr": "CC-BY-SA-2.0", "stac": "CC0-1.0"}
_NEW, _OLD = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2017, 4, 3, 9, tzinfo=UTC)


@cache
def whole_world() -> World:
    """The sandbox's own streets and the city around them: what a running sandbox serves."""
    return World((*build_world().shots, *(shot for drive in _city() for shot in shots(drive))))


def _city() -> Iterator[Drive]:
    cells = [(row, column) for row, (first, last) in _CELLS.items() for column in range(first, last + 1)]
    for rank, cell in enumerate(cells):
        if cell not in _OWN_STREETS | NO_CAPTURE:
            yield from _drives(cell, rank, _street(cell, rank))


def _street(cell: tuple[int, int], rank: int) -> Street:
    """A straight street somewhere around the middle of a cell."""
    box, name = bounds(*cell), _FIRST[rank % len(_FIRST)] + _LAST[rank // len(_FIRST) % len(_LAST)]
    east, north = (rank * 7 % 11 - 5) / 20, (rank * 5 % 9 - 4) / 20
    lon = (box.west + box.east) / 2 + east * (box.east - box.west)
    lat = (box.south + box.north) / 2 + north * (box.north - box.south)
    return Street(name, round(lon, 5), round(lat, 5), rank * 150 % 360, 160, is_canal=name.endswith("gracht"))


def _drives(cell: tuple[int, int], rank: int, street: Street) -> Iterator[Drive]:
    """Who was there: of an ordinary cell all three, of one with a gap those that leave the gap."""
    started_at = (_OLD if cell in NOTHING_RECENT else _NEW) + timedelta(days=rank * 3)
    if cell in SINGLE_SOURCE:
        yield _drive("amsterdam", street, started_at, count=3, is_pano=True)
    elif cell in TOO_FEW:
        yield _drive("amsterdam", street, started_at, count=1, is_pano=True)
        yield _drive("mapillary", street, started_at, count=1)
    else:
        wrong = _WRONG.get(rank % 15)
        count = 3 + rank * 2 % 5
        quirks = ((2, wrong),) if wrong else ()
        yield _drive("mapillary", street, started_at + timedelta(days=40), count=count, quirks=quirks)
        turn_deg = 180.0 * (rank % 5 == 4)
        beside = _BESIDE[rank // 5 % len(_BESIDE)]
        yield _drive(beside, street, started_at - timedelta(days=200), count=3, turn_deg=turn_deg)
        if cell not in NO_MUNICIPAL_PANORAMA:
            yield _drive("amsterdam", street, started_at, count=1, is_pano=True)


def _drive(
    source: str,
    street: Street,
    started_at: datetime,
    *,
    count: int,
    turn_deg: float = 0.0,
    is_pano: bool = False,
    quirks: tuple[tuple[int, Quirk], ...] = (),
) -> Drive:
    return Drive(
        source=source,
        name=f"{street.name}-{source}".lower(),
        street=street,
        from_m=-_STEP_M * (count // 2),
        step_m=_STEP_M,
        count=count,
        started_at=started_at,
        right_m=1.5,
        turn_deg=turn_deg,
        is_pano=is_pano,
        creator="Stadsarchief" if source == "stac" else "stadsrijder",
        license=_LICENSES.get(source, "CC-BY-SA-4.0"),
        quirks=quirks,
    )
