"""Each flaw of an image is found in real photos that were spoiled, and none in those that were not.

`python -m geopin_assets_tests.real.test_quality` prints the table of docs/embedding.md.
"""

from collections import Counter

import numpy as np
import pytest
from PIL import Image as Pillow

from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST
from geopin_assets.embedding.protocol import FLAWS, FailureReason, Image
from geopin_assets.embedding.quality import flaw, quality
from geopin_assets.embedding.views import perspective_views
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.real.defects import DEFECTS
from geopin_assets_tests.real.recall import ELSEWHERE, decoded
from geopin_assets_tests.real.walk import ABSENT, SPHERES, walk

pytestmark = pytest.mark.skipif(not walk(), reason=ABSENT)
CITY = ("amsterdam_panorama/pano_0001_000529_w4000.jpg", "amsterdam_panorama/pano_0005_001111_w4000.jpg")


def photos(step: int) -> list[Image]:
    """Every so-manieth flat photo, as large as a model sees it, and view of a panorama."""
    flat = [*walk(), *ELSEWHERE, *(f"panoramax_geovisio/e{n}.jpg" for n in range(1, 6))][::step]
    spheres = [decoded(file, PANORAMA_AT_LEAST) for file in (*SPHERES[::4], *CITY)[: 2 if step > 1 else None]]
    return [*(_small(decoded(file)) for file in flat), *(v for s in spheres for v in perspective_views(s)[::step])]


def _small(photo: Image) -> Image:
    image = Pillow.fromarray(photo)
    scale = 512 / min(image.size)
    return np.asarray(image.resize((round(image.width * scale), round(image.height * scale))))


def found(photo: Image) -> FailureReason | None:
    known = quality(photo)
    return flaw(known) if known else None


@pytest.fixture(scope="module")
def good() -> list[Image]:
    return photos(1 if IS_LONG else 5)


def test_nothing_is_wrong_with_photos_that_were_not_spoiled(good: list[Image]) -> None:
    assert Counter(map(found, good)) == {None: len(good)}


@pytest.mark.parametrize("reason", [reason for reason in DEFECTS if reason in set(FLAWS)])
def test_each_defect_is_found_and_called_what_it_is(good: list[Image], reason: str) -> None:
    for name, spoil in DEFECTS[reason].items():
        said = Counter(found(spoil(photo)) for photo in good)
        assert said[FailureReason(reason)] >= 0.8 * len(good), (name, said)


def main() -> None:
    """A Markdown table: of each defect, how often it was found, and whether what was called so was it."""
    good = photos(1)
    said = {
        (reason, name): [found(spoil(p)) for p in good] for reason, of in DEFECTS.items() for name, spoil in of.items()
    }
    unspoiled = Counter(map(found, good))
    print(f"{len(good)} photos and views; called anything of those that were not spoiled: {dict(unspoiled)}")
    print("| reason | defect | recall | precision of the reason |\n|---|---|---|---|")
    called = Counter(each for answers in said.values() for each in answers) + unspoiled
    right = Counter({r: sum(answers.count(r) for (of, _), answers in said.items() if of == r) for r in DEFECTS})
    for (reason, name), answers in said.items():
        share = f"{right[reason] / called[reason]:.2f}" if called[reason] else "–"
        others = {str(k): v for k, v in Counter(answers).items() if k and k != reason}
        print(f"| {reason} | {name} | {answers.count(reason) / len(answers):.2f} {others or ''} | {share} |")


if __name__ == "__main__":
    main()
