"""What a model is shown of one decoded image: the image itself, or those views of a panorama that show something.

Here: which views, and why not the others. Not here: cutting (`views.py`), looking for emptiness (`content.py`) and
flaws (`quality.py`), what part of a sphere an image is (`geopin_assets/sphere.py`).
"""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

from geopin_assets.embedding.content import emptiness, filled
from geopin_assets.embedding.drives import Glance, glance
from geopin_assets.embedding.protocol import VIEWS, Failure, FailureReason, Image
from geopin_assets.embedding.quality import Quality, SceneOf, flaw, quality
from geopin_assets.embedding.views import is_equirectangular, perspective_views, shown
from geopin_assets.sphere import Part, by_gpano, by_shape
from geopin_assets.xmp import GPANO, properties

Flaws = Set[FailureReason]
_HALF = 0.5
_MOSTLY_THERE = 0.8
"""Of a sphere's height: of less, a clear sky at the upper end says nothing."""
_ONE_POINT = 10
"""Levels of 255 that pixels of one point differ by: 0 to 9 at the poles of real ones that no stitcher patched badly,
where in other rows it is 20 to 90."""
_LEAST_WIDTH = 1.5
"""Of a panorama, in sides of what the model sees: its views are enlarged four times then."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Views by number; an image that is not cut is number 0."""

    views: dict[int, Image]
    left_out: Counter[FailureReason] = field(default_factory=Counter)
    """Views that are missing, by reason."""
    quality: dict[int, Quality] = field(default_factory=dict)
    """Of the views, where they are large enough for it to be known."""
    glance: Glance | None = None
    """Of a flat image, where somebody wants to know what stays the same along a drive."""


def flat(pixels: Image, unwanted: Flaws = frozenset(), scene_of: SceneOf | None = None) -> Seen | Failure:
    """An image as it is, unless it shows nothing, or has one of these flaws."""
    reason, found = _judged(pixels, unwanted, scene_of)
    if reason:
        return Failure(reason, f"{pixels.shape[1]}x{pixels.shape[0]}")
    stays = glance(pixels) if FailureReason.WINDSCREEN in unwanted and found else None
    return Seen({0: pixels}, quality={0: found} if found else {}, glance=stays)


def _judged(view: Image, unwanted: Flaws, scene_of: SceneOf | None) -> tuple[FailureReason | None, Quality | None]:
    """Why a view is left out, if it is, and how good it is."""
    if reason := emptiness(view):
        return reason, None
    found = quality(view)
    reason = flaw(found) if found else None
    if scene_of and found and reason not in unwanted:
        found = found._replace(**scene_of(view)._asdict())
        reason = flaw(found)
    return (reason if reason in unwanted else None), found


def panorama(
    pixels: Image,
    data: bytes,
    side_px: int,
    unwanted: Flaws = frozenset(),
    scene_of: SceneOf | None = None,
    numbers: Sequence[int] = range(VIEWS),
) -> Seen | Failure:
    """The views of an image (`data`, decoded) that is said to go all around, by what the file says, or its shape; of
    them those with these numbers.

    What shows too little of a sphere for any view, or is too small to be cut, is taken as it is.
    """
    height, width = pixels.shape[:2]
    if width < _LEAST_WIDTH * side_px:
        return _uncut(pixels, unwanted, scene_of, FailureReason.TOO_SMALL)
    part = _part(pixels, properties(data, GPANO))
    seen = _views(pixels, part, side_px, unwanted, scene_of, numbers) if part else Seen({})
    if seen.views:
        return seen
    if empty := [reason for reason, _ in seen.left_out.most_common() if reason is not FailureReason.PADDING]:
        return Failure(empty[0], f"{width}x{height}")
    return _uncut(pixels, unwanted, scene_of, FailureReason.PADDING)


def _uncut(pixels: Image, unwanted: Flaws, scene_of: SceneOf | None, why: FailureReason) -> Seen | Failure:
    """What is said to go all around, as it is: its other views are missing."""
    whole = flat(pixels, unwanted, scene_of)
    return whole if isinstance(whole, Failure) else replace(whole, left_out=Counter({why: VIEWS - 1}))


def _part(pixels: Image, gpano: dict[str, str]) -> Part | None:
    """By what is said, or by shape; None if that is none of a sphere. Of a little that is cut off the ends tell where.

    At the zenith and at the nadir all pixels of a row are one point. Where the lower end is none the tripod or the car
    is missing, where only the upper is none the sky, and where neither is, as of a strip, as much of both.
    """
    height, width = pixels.shape[:2]
    stated, likely = by_gpano(width, height, gpano), by_shape(width, height)
    if stated is None and not is_equirectangular(width, height):
        return None
    part = stated or likely
    if part != likely or not _MOSTLY_THERE <= part.height < 1:
        return part
    zenith, nadir = (pixels[row].std(axis=0).max() <= _ONE_POINT for row in (0, -1))
    return replace(part, top=0.0 if zenith else 1 - part.height) if zenith or nadir else part


def _views(
    pixels: Image, part: Part, side_px: int, unwanted: Flaws, scene_of: SceneOf | None, numbers: Sequence[int]
) -> Seen:
    """Of views of which half or more is no padding, those that show something."""
    shares = shown(*filled(pixels), part)
    if part.width < _HALF or max(shares) < _HALF:
        return Seen({}, Counter({FailureReason.PADDING: VIEWS}))
    cut = perspective_views(pixels, part=part, size_px=side_px, numbers=numbers)
    views = dict(zip(numbers, cut, strict=True))
    judged = {
        number: _judged(view, unwanted, scene_of) if shares[number] >= _HALF else (FailureReason.PADDING, None)
        for number, view in views.items()
    }
    return Seen(
        {number: view for number, view in views.items() if judged[number][0] is None},
        Counter(reason for reason, _ in judged.values() if reason),
        {number: found for number, (reason, found) in judged.items() if found and reason is None},
    )
