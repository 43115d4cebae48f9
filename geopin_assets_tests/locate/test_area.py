"""`--near` and `--region`: of what is inside the best is found, however much outside is more alike."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geopin_assets.cells import cell_at, cell_block
from geopin_assets.cli.locate import area_of
from geopin_assets.geo import distance_m
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.limits import MAX_TOP_K
from geopin_assets.locate.locator import NOT_DEEPER, Locator
from geopin_assets.locate.search import search
from geopin_assets_tests.locate.places import Shown, east, indexed, look

STEP_M = 37.0


def cell_of(at_m: float) -> str:
    cell = cell_at(*east(at_m))
    assert cell is not None
    return cell.cell_id


def street(count: int, looks: Sequence[NDArray[np.float32]]) -> list[Shown]:
    """Captures along 30 km: over several borders of cells, and of blocks of cells."""
    shown = []
    for number in range(count):
        at_m = STEP_M * (number - count // 2)
        cell = cell_of(at_m)
        shown.append(Shown(f"{number:04d}", "s", at_m, looks[number], cell_id=cell, cell_block=cell_block(cell)))
    return shown


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Shown], LanceIndex, SqliteStore]:
    random = np.random.default_rng(7)
    drawn = random.normal(size=(800, 32)).astype(np.float32)
    shown = street(800, list(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))
    return shown, *indexed(tmp_path_factory.mktemp("area"), shown)


def test_the_street_crosses_borders_of_blocks(everywhere: tuple[list[Shown], LanceIndex, SqliteStore]) -> None:
    assert len({each.cell_block for each in everywhere[0]}) >= 2


@pytest.mark.parametrize("middle_m", range(-14_000, 14_001, 1_750))
@pytest.mark.parametrize("km", [0.05, 0.4, 3.0])
def test_near_a_place_the_same_is_found_as_by_looking_at_everything(
    everywhere: tuple[list[Shown], LanceIndex, SqliteStore], middle_m: float, km: float
) -> None:
    shown, index, store = everywhere
    lon, lat = east(middle_m)
    asked = look(20_000 + middle_m)
    found = search(asked[None], index, store, 5, area=area_of("", f"{lat},{lon},{km}"))
    inside = [each for each in shown if distance_m(lon, lat, *east(each.at_m)) <= km * 1000]
    best = sorted(inside, key=lambda each: -float(asked @ each.looks))[:5]
    assert found["capture_id"].to_list() == [each.capture_id for each in best]


class Shallow(LanceIndex):
    """As Vectorize: no more than a hundred at once."""

    deepest = MAX_TOP_K


def test_where_an_index_cannot_be_asked_deeper_the_answer_says_so(tmp_path: Path) -> None:
    crowd = street(300, [look(1, 0.1, n) for n in range(300)])
    crowd[150] = replace(crowd[150], looks=look(1, 3.0))
    index, store = indexed(tmp_path, crowd)
    area = area_of("", "{1},{0},0.01".format(*east(crowd[150].at_m)))
    deep = Locator(index, store, "test", "v1", None).locate(look(1)[None], area=area)
    assert [match.capture_id for match in deep.matches] == ["s:0150"] and NOT_DEEPER not in deep.notes
    shallow = Locator(Shallow(tmp_path, "test", 32), store, "test", "v1", None).locate(look(1)[None], area=area)
    assert NOT_DEEPER in shallow.notes
