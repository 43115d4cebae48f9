"""A folder of real photos, as an owner would bring it, from files to "where was this taken?".

29 photos of one walk, 5 m apart on average, stand among files with broken or foreign EXIF. The embedder is the
sandbox's thumbnail, no place-recognition model: how well it does is asserted against chance, not against a wish.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.defs.local_run import LayerResult
from geopin_assets.geo import distance_m
from geopin_assets_tests.real.deployment import Deployment
from geopin_assets_tests.real.walk import ABSENT, ATTRIBUTION, CELLS, PHOTOS, WALK, lay_out, meters_between, positions

LEFT_OUT = f"{WALK}/15.jpg"
NEAR_M = 25

pytestmark = pytest.mark.skipif(not positions(), reason=ABSENT)


@dataclass(frozen=True)
class Walk:
    platform: Deployment
    instance: dg.DagsterInstance
    folder: Path
    layers: dict[str, LayerResult]

    def nearest_looking(self, file: str, top: int) -> list[str]:
        """Published photos that look most like one of the walk."""
        matches = self.platform.locate((PHOTOS / file).read_bytes(), top)
        return [capture_id.removeprefix("own_photos:") for capture_id in matches["capture_id"]]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Everything published but one photo of the walk."""
    home = tmp_path_factory.mktemp("walk")
    lay_out(home / "photos", [WALK, "mapillary_tools", "panoramax_geovisio"], left_out=[LEFT_OUT])
    stated = {"GEOPIN_OWN_PHOTOS_DIR": str(home / "photos"), "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0"}
    platform = Deployment(
        home, "own_photos", {"GEOPIN_PROFILE": "sandbox", "GEOPIN_OWN_PHOTOS_ATTRIBUTION": ATTRIBUTION} | stated
    )
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        layers = {layer.asset: layer for layer in platform.run(instance, CELLS)}
        yield Walk(platform, instance, home / "photos", layers)


def test_files_that_cannot_be_placed_are_counted_by_reason_and_stop_nothing(walk: Walk) -> None:
    assert not any(layer.failed for layer in walk.layers.values())
    reasons: Counter[str] = Counter()
    for text in walk.platform.storage.catalog().crawls()["rejected"]:
        reasons.update(json.loads(text))
    assert reasons == {
        "no_position": 5,  # four with corrupt or empty EXIF, one without any
        "bad_coordinates": 1,  # GPS tags that hold no numbers
        "outside_cell": 25,  # France, Malta and Oregon
    }


def test_the_walk_is_in_the_catalog_and_the_index_at_its_stated_positions(walk: Walk) -> None:
    held = {row["source_capture_id"]: row for row in walk.platform.captures().iter_rows(named=True)}
    stated = {file: place for file, place in positions().items() if file != LEFT_OUT}
    assert set(held) == set(stated)
    assert all(distance_m(held[f]["lon"], held[f]["lat"], *place) < 0.02 for f, place in stated.items())
    assert {row["cell_id"] for row in held.values()} == set(CELLS)
    assert {row["attribution"] for row in held.values()} == {ATTRIBUTION}
    assert walk.layers["publish/vectorize"].totals["upserted"] == len(stated)
    verdicts = {check.check_name: check.passed for layer in walk.layers.values() for check in layer.checks}
    assert {name for name, passed in verdicts.items() if not passed} <= {"coverage_gaps"}


def test_a_photo_that_was_left_out_is_found_among_its_neighbors(walk: Walk) -> None:
    distances_m = [meters_between(LEFT_OUT, file) for file in walk.nearest_looking(LEFT_OUT, top=3)]
    assert distances_m[0] < 15
    assert sum(distance < NEAR_M for distance in distances_m) >= 2


def test_every_photo_is_found_by_its_neighbors_far_more_often_than_by_chance(walk: Walk) -> None:
    """Each photo in turn is left out of the answer: the search is exact, so that equals leaving it out of the index."""
    files = [file for file in positions() if file != LEFT_OUT]
    at_1 = at_3 = 0
    expected_at_1 = 0.0
    for file in files:
        near = {other for other in files if other != file and meters_between(file, other) < NEAR_M}
        itself, *found = walk.nearest_looking(file, top=4)
        assert itself == file
        at_1 += found[0] in near
        at_3 += any(other in near for other in found)
        expected_at_1 += len(near) / (len(files) - 1)
    assert at_1 > 2 * expected_at_1  # measured: 20 of 28, where chance gives 6
    assert at_3 > 0.75 * len(files)  # measured: 26 of 28, where chance gives 15
