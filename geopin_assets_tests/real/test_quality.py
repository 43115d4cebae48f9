"""Each flaw of an image is found in real photos that were spoiled, and none in those that were not.

`python -m geopin_assets_tests.real.test_quality` prints the tables of docs/embedding.md. Photos are of two halves that
share no place, camera or creator, a walk and all else: limits that were chosen on one are measured on the other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pytest
from PIL import Image as Pillow

from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST
from geopin_assets.embedding.drives import MOST_BELOW, MOST_STAYING, Staying, glance, staying
from geopin_assets.embedding.protocol import FailureReason, Image
from geopin_assets.embedding.quality import LIMITS, Limit, Quality, flaw, quality
from geopin_assets.embedding.views import perspective_views
from geopin_assets_tests.depth import IS_LONG, some
from geopin_assets_tests.real.defects import DEFECTS, Spoil
from geopin_assets_tests.real.recall import ELSEWHERE, decoded
from geopin_assets_tests.real.walk import ABSENT, SPHERES, walk

pytestmark = pytest.mark.skipif(not walk(), reason=ABSENT)
CITY = ("amsterdam_panorama/pano_0001_000529_w4000.jpg", "amsterdam_panorama/pano_0005_001111_w4000.jpg")
HALVES = ("walk", "elsewhere")
GLASS = DEFECTS["rain"] | DEFECTS["windscreen"]
Limits = Mapping[FailureReason, Limit]


@cache
def half(name: str, step: int) -> list[Image]:
    """Every so-manieth flat photo of it, as large as a model sees it, and view of a panorama."""
    if name == "walk":
        return [_small(decoded(file)) for file in [*walk()][::step]]
    spheres = [decoded(file, PANORAMA_AT_LEAST) for file in (*SPHERES[::4], *CITY)[: 2 if step > 1 else None]]
    views = [view for sphere in spheres for view in perspective_views(sphere)[::step]]
    return [*(_small(decoded(file)) for file in ELSEWHERE[::step]), *views]


@cache
def drives(name: str, step: int) -> list[list[Image]]:
    """Sequences of real photos without a flaw: parts of the walk; a drive, and views of panoramas along another."""
    if name == "walk":
        photos = [_small(decoded(file)) for file in walk()]
        return [photos[start : start + 7] for start in range(0, len(photos) - 6, 2 * step)]
    along = [perspective_views(decoded(file, PANORAMA_AT_LEAST))[::step] for file in SPHERES]
    return [
        [_small(decoded(f"panoramax_geovisio/e{n}.jpg")) for n in range(1, 6)],
        *map(list, zip(*along, strict=True)),
    ]


def _small(photo: Image) -> Image:
    image = Pillow.fromarray(photo)
    scale = 512 / min(image.size)
    return np.asarray(image.resize((round(image.width * scale), round(image.height * scale))))


def measured(photos: Sequence[Image], spoil: Spoil = lambda photo: photo) -> list[Quality]:
    return [found for photo in photos if (found := quality(spoil(photo)))]


def compared(sequences: Sequence[Sequence[Image]], spoil: Spoil = lambda photo: photo) -> list[Staying]:
    return [staying([glance(spoil(photo)) for photo in photos]) for photos in sequences]


@pytest.fixture(scope="module")
def good() -> list[Image]:
    return [photo for name in HALVES for photo in half(name, 1 if IS_LONG else 5)]


def test_nothing_is_wrong_with_photos_that_were_not_spoiled(good: list[Image]) -> None:
    assert Counter(map(flaw, measured(good))) == {None: len(good)}


@pytest.mark.parametrize("reason", [reason for reason in DEFECTS if reason in LIMITS])
def test_each_defect_is_found_and_called_what_it_is(good: list[Image], reason: str) -> None:
    for name, spoil in DEFECTS[reason].items():
        said = Counter(map(flaw, measured(good, spoil)))
        assert said[FailureReason(reason)] >= 0.8 * len(good), (name, said)


@pytest.mark.parametrize("name", some(HALVES))
def test_what_stays_along_a_drive_is_told_from_a_street(name: str) -> None:
    every = drives(name, 1 if IS_LONG else 3)
    assert not any(one.is_glass for one in compared(every))
    for defect, spoil in GLASS.items():
        found = [one.is_glass for one in compared(every, spoil)]
        assert sum(found) >= (0.4 if "drops" in defect else 0.9) * len(found), (defect, found)


def chosen_on(name: str, step: int = 1) -> dict[FailureReason, Limit]:
    """The middle between the worst photo of a half that was not spoiled, and those of it that were."""
    clean = measured(half(name, step))
    limits = {}
    for reason, (measure, _, is_least) in LIMITS.items():
        if reason not in DEFECTS:
            continue
        sign = 1 if is_least else -1
        worst = min(sign * getattr(one, measure) for one in clean)
        spoiled = [
            getattr(one, measure) for spoil in DEFECTS[reason].values() for one in measured(half(name, step), spoil)
        ]
        near = float(np.quantile([sign * value for value in spoiled], 0.9))
        limits[reason] = Limit(measure, sign * (worst + min(near, worst)) / 2, is_least)
    return limits


def glass_chosen_on(name: str, step: int = 1) -> Staying:
    """The same of what stays along a drive."""
    clean, least = compared(drives(name, step)), compared(drives(name, step), GLASS["a third reflected"])
    below = compared(drives(name, step), GLASS["a dashboard"])
    return Staying(
        (max(one.everywhere for one in clean) + max(0, float(np.quantile([s.everywhere for s in least], 0.1)))) / 2,
        (max(one.below for one in clean) + float(np.quantile([one.below for one in below], 0.1))) / 2,
    )


def is_past(one: Staying, limit: Staying) -> bool:
    return one.everywhere > limit.everywhere or one.below > limit.below


def print_table(name: str, limits: Limits) -> None:
    """Of each defect of a half, how often it was found, and whether what was called so was it."""
    photos = half(name, 1)
    said = {
        (reason, defect): [flaw(one, limits) for one in measured(photos, spoil)]
        for reason, of in DEFECTS.items()
        if reason in LIMITS
        for defect, spoil in of.items()
    }
    unspoiled = Counter(flaw(one, limits) for one in measured(photos))
    print(f"{len(photos)} photos and views; called anything of those that were not spoiled: {dict(unspoiled)}")
    print("| reason | defect | recall | precision of the reason |\n|---|---|---|---|")
    called = Counter(each for answers in said.values() for each in answers) + unspoiled
    right = Counter({r: sum(answers.count(r) for (of, _), answers in said.items() if of == r) for r in DEFECTS})
    for (reason, defect), answers in said.items():
        others = {str(k): v for k, v in Counter(answers).items() if k and k != reason}
        share = f"{right[reason] / max(called[reason], 1):.2f}"
        print(f"| {reason} | {defect} | {answers.count(reason) / len(answers):.2f} {others or ''} | {share} |")


def print_glass(name: str, limit: Staying) -> None:
    """Of each defect of a half's sequences likewise."""
    clean = compared(drives(name, 1))
    wrong = sum(is_past(one, limit) for one in clean)
    print(f"{len(clean)} sequences, {wrong} of those that were not spoiled called a windscreen's; of these at most")
    print(f"{max(one.everywhere for one in clean):.3f} everywhere, {max(one.below for one in clean):.3f} below")
    for defect, spoil in GLASS.items():
        found = [is_past(one, limit) for one in compared(drives(name, 1), spoil)]
        print(f"| windscreen | {defect} | {np.mean(found):.2f} | {sum(found) / max(sum(found) + wrong, 1):.2f} |")


def main() -> None:
    """Limits chosen on one half and measured on the other, both ways, and ours on both."""
    for name, other in (HALVES, HALVES[::-1]):
        limits, glass = chosen_on(other), glass_chosen_on(other)
        print(f"\nchosen on: {other}; measured on: {name}\n{', '.join(map(str, limits.values()))}; {glass}")
        print_table(name, limits)
        print_glass(name, glass)
        print(f"\nours, measured on: {name}")
        print_table(name, LIMITS)
        print_glass(name, Staying(MOST_STAYING, MOST_BELOW))


if __name__ == "__main__":
    main()
