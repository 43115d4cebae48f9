"""Which part of a sphere an image shows: what GPano says of it, or its shape and the camera that took it.

Here: the decision, for headers and for decoded images alike, so that a capture is called a panorama only if views can
be cut from it. Not here: reading XMP, cutting views, or where a view looks.

A whole equirectangular image is twice as wide as high. Of others it is assumed that they go all around, as strips do
that phones and cars make, and that what they lack is missing above and below alike, unless GPano says better.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

LEAST_WIDTH_PX = 600
"""A camera's own images have 3,000 or more, and previews of them are told from thumbnails here."""
SEEN_DEG = (-23.0, 37.0)
"""Elevations that the views of a panorama see."""
_TOLERANCE = 0.02
"""Of a length: what rounding and a line or two lost amount to."""
_ALL_AROUND = 0.98
_SIZES = ("FullPanoWidth", "FullPanoHeight", "CroppedAreaImageWidth", "CroppedAreaImageHeight", "CroppedAreaTop")
_CAMERAS = (
    *("ricoh theta", "ricoh360 theta", "gopro max", "gopro fusion", "keymission 360", "virb 360", "virb360"),
    *("insta360 one", "insta360 x", "insta360 pro", "insta360 nano", "insta360 air", "insta360 evo", "insta360 4k"),
    *("insta360 titan", "insta360 sphere", "gear 360", "gear360", "samsung sm-c200", "samsung sm-r210", "lg-r105"),
    *("360 cam", "qoocam", "kandao obsidian", "osmo 360", "madventure", "qjxj01fj", "mi sphere", "mijia panorama"),
    *("米家全景相机", "小蚁vr", "yi 360 vr", "yi vr360", "orbit360", "panono", "vuze", "bublcam", "giroptic", "rylo"),
    *("nokia ozo", "fxg seize", "fxg fm360", "akaso 360", "z cam s1", "z cam v1", "ladybug", "trimble mx", "trisio"),
    *("labpano", "pilot era", "pilot one", "istar fusion", "iris360", "detu max", "teche"),
)
"""Maker and model as their EXIF has them, small letters: what they call a photo is a sphere if it has the shape of one.
From Wikipedia's list of omnidirectional cameras and that of Panoramax' geopic-tag-reader."""


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a sphere that an image shows, in shares of the whole sphere's width and height.

    From side to side it lies in the middle: directions are those of the image's center.
    """

    width: float = 1.0
    top: float = 0.0
    height: float = 1.0

    @property
    def is_all_around(self) -> bool:
        """Whether it goes all around, and shows at least half of what views see."""
        low, high = SEEN_DEG
        top_deg = 90 - 180 * self.top
        seen_deg = min(high, top_deg) - max(low, top_deg - 180 * self.height)
        return self.width == 1 and seen_deg >= (high - low) / 2


WHOLE = Part()


def by_shape(width: int, height: int) -> Part:
    """The part that an equirectangular image of this size shows, if nothing else is known."""
    share = width / height / 2
    if share >= _ALL_AROUND:
        shown = min(1.0, 1 / share)
        return Part(1.0, (1 - shown) / 2, shown)
    return Part(share, 0.0, 1.0)


def by_gpano(width: int, height: int, gpano: Mapping[str, str]) -> Part | None:
    """The part by GPano properties (names without prefix) of an image that is so large; None: not equirectangular.

    Sizes are compared with each other, as resizing leaves them behind; those of an image of another shape are not of
    this image, and a whole that is not twice as wide as high is no sphere.
    """
    size = {name: _number(gpano.get(f"{name}Pixels")) for name in _SIZES}
    full_width, full_height = size["FullPanoWidth"], size["FullPanoHeight"]
    is_likely = full_width or full_height or (gpano and is_two_to_one(width, height))
    projection = gpano.get("ProjectionType", "equirectangular" if is_likely else "")
    if projection.strip().lower() != "equirectangular":
        return None
    is_true = not (full_width and full_height) or _is_near(full_width / full_height, 2)
    whole = full_width / 2 if full_width else full_height
    share, shown = (size[f"CroppedAreaImage{side}"] / whole if whole else 0 for side in ("Width", "Height"))
    share = share / 2 or shown * width / height / 2
    shown = shown or 2 * share * height / width
    if not share or not _is_near(2 * share / shown, width / height) or max(share, shown) > 1 + _TOLERANCE:
        return by_shape(width, height)
    shown = min(shown, 1.0)
    is_stated = is_true and "CroppedAreaTopPixels" in gpano
    top = min(size["CroppedAreaTop"] / whole, 1 - shown) if is_stated else (1 - shown) / 2
    return Part(1.0 if share >= _ALL_AROUND else share, top, shown)


def is_sphere(width: int, height: int, gpano: Mapping[str, str], camera: str | None) -> bool:
    """Whether an image is a panorama: as GPano says, or without it, if a 360-degree camera gave it the shape of one."""
    if part := by_gpano(width, height, gpano):
        return part.is_all_around
    is_known = width >= LEAST_WIDTH_PX and is_two_to_one(width, height) and not gpano.get("ProjectionType")
    return is_known and is_360_camera(camera or "")


def is_two_to_one(width: int, height: int) -> bool:
    """Whether an image has the shape of a whole sphere."""
    return _is_near(width / height, 2)


def is_360_camera(camera: str) -> bool:
    """Whether "maker model" is a camera that takes spheres."""
    name = " ".join(camera.lower().replace("arashi vision", "insta360").split())
    return any(known in name for known in _CAMERAS)


def _is_near(value: float, other: float) -> bool:
    return abs(value - other) <= _TOLERANCE * other


def _number(text: str | None) -> float:
    """A length in pixels; 0 where there is none."""
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if isfinite(number) and number > 0 else 0.0
