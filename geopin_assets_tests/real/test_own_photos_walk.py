"""A folder of real photos, as an owner would bring it, from files to "where was this taken?".

29 photos of one walk and five of 360 degrees stand among files with broken or foreign EXIF. The embedder is the
sandbox's thumbnail, no place-recognition model: how well it does is asserted against chance, not against a wish.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from geopin_assets.defs.running.local_run import LayerResult
from geopin_assets.geo import distance_m
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.real.deployment import Deployment
from geopin_assets_tests.real.walk import (
    ABSENT,
    ATTRIBUTION,
    CELLS,
    PHOTOS,
    SPHERES,
    WALK,
    lay_out,
    meters_between,
    spheres,
    walk,
)

LEFT_OUT = f"{WALK}/15.jpg"
NEAR_M = 25

pytestmark = pytest.mark.skipif(not walk(), reason=ABSENT)


@dataclass(frozen=True)
class Published:
    platform: Deployment
    layers: dict[str, LayerResult]

    def nearest_looking(self, file: str, top: int) -> list[str]:
        """Published photos that look most like a photo of the collection."""
        matches = self.platform.locate((PHOTOS / file).read_bytes(), top)
        return [capture_id.removeprefix("own_photos:") for capture_id in matches["capture_id"]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Everything of the folder but one photo of the walk."""
    home = tmp_path_factory.mktemp("walk")
    lay_out(home / "photos", left_out=[LEFT_OUT])
    variables = {
        "GEOPIN_PROFILE": "sandbox",
        "GEOPIN_OWN_PHOTOS_DIR": str(home / "photos"),
        "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0",
        "GEOPIN_OWN_PHOTOS_ATTRIBUTION": ATTRIBUTION,
    }
    platform = Deployment(home, "own_photos", variables)
    with instance_in(home) as instance:
        yield Published(platform, {layer.asset: layer for layer in platform.run(instance, CELLS)})


def test_files_that_cannot_be_placed_are_counted_by_reason_and_stop_nothing(published: Published) -> None:
    assert not any(layer.failed for layer in published.layers.values())
    reasons: Counter[str] = Counter()
    for text in published.platform.storage.catalog().crawls()["rejected"]:
        reasons.update(json.loads(text))
    assert reasons == {
        "no_position": 5,  # four with corrupt or empty EXIF, one without any
        "bad_coordinates": 1,  # GPS tags that hold no numbers
        "outside_cell": 20,  # France, Malta and Oregon
    }


def test_photos_are_in_the_catalog_and_the_index_at_their_stated_places(published: Published) -> None:
    held = {row["source_capture_id"]: row for row in published.platform.captures().iter_rows(named=True)}
    stated = {file: place for file, place in (walk() | spheres()).items() if file != LEFT_OUT}
    assert set(held) == set(stated)
    assert all(distance_m(held[f]["lon"], held[f]["lat"], *place) < 0.02 for f, place in stated.items())
    assert {row["cell_id"] for file, row in held.items() if file in walk()} == set(CELLS)
    assert {file for file, row in held.items() if row["is_pano"]} == set(SPHERES)
    assert {row["attribution"] for row in held.values()} == {ATTRIBUTION}

    assert published.layers["index/embeddings"].totals["failed_images"] == 0
    assert published.layers["publish/vectorize"].totals["upserted"] == 28 + 12 * len(SPHERES)
    verdicts = {check.check_name: check.passed for layer in published.layers.values() for check in layer.checks}
    assert {name for name, passed in verdicts.items() if not passed} <= {"coverage_gaps", "amsterdam_baseline"}


def test_a_photo_that_was_left_out_is_found_among_its_neighbors(published: Published) -> None:
    distances_m = [meters_between(walk(), LEFT_OUT, file) for file in published.nearest_looking(LEFT_OUT, top=3)]
    assert distances_m[0] < 15
    assert sum(distance < NEAR_M for distance in distances_m) >= 2


def test_photos_are_found_by_their_neighbors_far_more_often_than_by_chance(published: Published) -> None:
    """Each photo in turn is left out of the answer: the search is exact, so that equals leaving it out of the index."""
    places = {file: place for file, place in walk().items() if file != LEFT_OUT}
    at_1 = at_3 = by_chance = 0.0
    for file in places:
        near = {other for other in places if other != file and meters_between(places, file, other) < NEAR_M}
        itself, *found = published.nearest_looking(file, top=4)
        assert itself == file
        at_1 += found[0] in near
        at_3 += any(other in near for other in found)
        by_chance += len(near) / (len(places) - 1 + len(SPHERES))
    assert at_1 > 2 * by_chance, (at_1, at_3, by_chance)
    assert at_3 > 0.75 * len(places), (at_1, at_3, by_chance)
