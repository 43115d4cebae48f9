"""Each flaw of an image is found in real photos that were spoiled, and none in those that were not.

`python -m geopin_assets_tests.real.test_quality` prints the table of docs/embedding.md.
"""

from collections import Counter
from collections.abc import Sequence

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


def staying(frames: Sequence[Image]) -> float:
    """Share of the edges of a drive's frames that are in one place in nearly all of them: the car's, or the glass's.

    It was tried, and is not used: the end of a straight street stays as well.
    """
    small = [
        np.asarray(Pillow.fromarray(f).convert("L").resize((64, 48), Pillow.Resampling.BOX), float) for f in frames
    ]
    steps = np.array([[np.diff(one, axis=1)[:-1], np.diff(one, axis=0)[:, :-1]] for one in small])
    of_mean, mean = np.abs(steps.mean(axis=0)).sum(axis=0), np.abs(steps).sum(axis=1).mean(axis=0)
    is_edge = mean > 4
    return float((of_mean[is_edge] > 0.7 * mean[is_edge]).mean())


def print_staying() -> None:
    """Of a clean drive and a clean walk, and of the walk as through a windscreen."""
    drive = [decoded(f"panoramax_geovisio/e{n}.jpg") for n in range(1, 6)]
    first = [decoded(file) for file in [*walk()][:16:2]]
    print(f"edges that stay: of a clean drive {staying(drive):.2f}, a clean walk {staying(first):.2f}, the walk with")
    for name, spoil in (DEFECTS["rain"] | DEFECTS["windscreen"]).items():
        print(f"  {name}: {staying([spoil(photo) for photo in first]):.2f}")


def main() -> None:
    """A Markdown table: of each defect, how often it was found, and whether what was called so was it."""
    print_staying()
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
