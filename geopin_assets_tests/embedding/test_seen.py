"""What the model is shown: panoramas laid into their spheres, what shows something, queries seen both ways."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from geopin_assets.embedding.content import emptiness
from geopin_assets.embedding.protocol import Failure, FailureReason, Image
from geopin_assets.embedding.seen import Seen, flat, panorama
from geopin_assets.embedding.views import perspective_views
from geopin_assets.xmp import GPANO
from geopin_assets_tests.embedding.pictures import Pixels, encoded, smooth

SPHERE, SIDE_PX = smooth(960, 480), 64
PHOTOS = Path(__file__).parents[3] / "shared" / "fixtures" / "photos"


def with_poles(pixels: Pixels) -> Pixels:
    """At the zenith and the nadir all pixels are one point."""
    pixels = pixels.copy()
    pixels[:4], pixels[-4:] = pixels[0, 0], pixels[-1, 0]
    return pixels


def packet(**said: object) -> bytes:
    properties = " ".join(f"p:{name}='{value}'" for name, value in said.items())
    return f"<rdf:Description xmlns:p='{GPANO.decode()}' p:ProjectionType='equirectangular' {properties}/>".encode()


def seen(pixels: Pixels, data: bytes = b"", side_px: int = SIDE_PX) -> Seen:
    found = panorama(pixels, data, side_px)
    assert isinstance(found, Seen), found
    assert len(found.views) + found.left_out.total() == 12, "each view is there, or it is said why not"
    return found


def difference(views: dict[int, Image], whole: Pixels = SPHERE) -> float:
    """The mean difference, in gray levels, from the same views of the whole sphere."""
    wanted = perspective_views(whole, size_px=SIDE_PX)
    return float(np.mean([np.abs(view.astype(int) - wanted[number]).mean() for number, view in views.items()]))


@pytest.mark.parametrize(("top", "bottom"), [(0, 479), (1, 480), (80, 400), (120, 360), (48, 432)])
def test_rows_that_are_missing_above_and_below_alike_change_nothing_in_the_views(top: int, bottom: int) -> None:
    found = seen(SPHERE[top:bottom])
    assert list(found.views) == list(range(12)) and not found.left_out
    assert difference(found.views) < 3


@pytest.mark.parametrize(("top", "bottom"), [(0, 400), (0, 300), (200, 480), (130, 330)])
def test_gpano_says_which_rows_are_missing(top: int, bottom: int) -> None:
    said = packet(
        FullPanoWidthPixels=5760,
        FullPanoHeightPixels=2880,
        CroppedAreaImageWidthPixels=5760,
        CroppedAreaImageHeightPixels=6 * (bottom - top),
        CroppedAreaTopPixels=6 * top,
    )
    found = seen(SPHERE[top:bottom], b"\xff\xd8 anything" + said)
    assert len(found.views) == 12
    assert difference(found.views) < (3 if top < 140 and bottom > 300 else 25)


@pytest.mark.parametrize(("top", "bottom"), [(0, 430), (0, 400), (60, 480), (90, 480)])
def test_without_gpano_the_pole_says_which_end_is_missing(top: int, bottom: int) -> None:
    whole = with_poles(SPHERE)
    assert difference(seen(whole[top:bottom]).views, whole) < 1


def test_what_is_less_than_all_around_yields_the_views_that_look_there() -> None:
    said = packet(
        FullPanoWidthPixels=960,
        FullPanoHeightPixels=480,
        CroppedAreaImageWidthPixels=640,
        CroppedAreaImageHeightPixels=480,
        CroppedAreaLeftPixels=160,
        CroppedAreaTopPixels=0,
    )
    found = seen(SPHERE[:, 160:800], said)
    assert sorted(found.views) == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert found.left_out == {FailureReason.PADDING: 3}
    assert difference({n: view for n, view in found.views.items() if n in (0, 1, 2, 10, 11)}) < 1


@pytest.mark.parametrize("color", [0, 255, 118])
@pytest.mark.parametrize(
    ("rows", "columns", "views"),
    [
        (slice(0, 150), slice(0, 0), range(12)),
        (slice(0, 0), slice(0, 480), [0, 1, 2, 3, 4, 5, 6]),
        (slice(0, 0), slice(240, 720), [3, 4, 5, 6, 7, 8, 9]),
        (slice(0, 0), slice(700, 960), [0, 1, 2, 3, 7, 8, 9, 10, 11]),
    ],
    ids=["above", "left", "center", "right"],
)
def test_padding_that_a_stitcher_painted_is_none_of_the_place(
    rows: slice, columns: slice, views: list[int], color: int
) -> None:
    padded = SPHERE.copy()
    padded[rows] = padded[:, columns] = color
    decoded = np.asarray(Pillow.open(io.BytesIO(encoded(padded, quality=80))).convert("RGB"))
    found = seen(decoded)
    assert set(found.views) - {0, 6, 3, 9} == set(views) - {0, 6, 3, 9}, "those at its edge are half padding"
    assert found.left_out.total() == 12 - len(found.views)


@pytest.mark.parametrize("size", [(640, 480), (480, 480), (300, 480), (500, 300), (3000, 150)])
def test_what_is_called_a_panorama_and_is_none_is_taken_as_it_is(size: tuple[int, int]) -> None:
    pixels = smooth(*size)
    found = seen(pixels)
    assert list(found.views) == [0] and found.views[0] is pixels and found.left_out.total() == 11


@pytest.mark.parametrize(("width", "is_enough"), [(64, False), (95, False), (96, True), (256, True)])
def test_a_panorama_is_large_enough_to_fill_a_view(width: int, is_enough: bool) -> None:
    found = seen(smooth(width, width // 2))  # a small one is taken as it is: no failure that would last
    assert len(found.views) == (12 if is_enough else 1)


def text(size: tuple[int, int], color: tuple[int, int, int] = (230, 230, 230)) -> Pixels:
    picture = Pillow.new("RGB", size, color)
    ImageDraw.Draw(picture).text((size[0] // 3, size[1] // 2), "IMAGE NOT AVAILABLE", fill=(120, 120, 120))
    return np.asarray(picture)


def below(pixels: Pixels, share: float, color: Any = 128) -> Pixels:
    """What is left of an upload that broke off."""
    pixels = pixels.copy()
    pixels[int(len(pixels) * share) :] = color
    return pixels


NOISE, PICTURE = np.random.default_rng(3), smooth(640, 480)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((480, 640, 3)), "black"),
        (NOISE.integers(0, 4, (480, 640, 3)), "black"),
        (np.full((90, 1200, 3), 17), "black"),
        (np.full((480, 640, 3), 255), "one_color"),
        (np.full((300, 300, 3), (40, 90, 200)), "one_color"),
        (127 + NOISE.integers(0, 5, (480, 640, 3)), "one_color"),
        (text((640, 480)), "one_color"),
        (text((1920, 1080), (20, 30, 60)), "one_color"),
        (below(PICTURE, 0.15), "one_color"),
        (below(PICTURE, 0.15, 0), "black"),
        (PICTURE, None),
        (PICTURE // 8, None),  # night
        (below(PICTURE, 0.35, 255), None),  # fog, or a sky
        (below(PICTURE[::-1], 0.3, 0)[::-1], None),
        (smooth(40, 40), None),
        (NOISE.integers(0, 256, (4, 4, 3)), None),
    ],
    ids=str,
)
def test_what_shows_nothing_is_told_from_what_shows_little(pixels: Any, reason: str | None) -> None:
    decoded = np.asarray(Pillow.open(io.BytesIO(encoded(pixels.astype(np.uint8), quality=80))).convert("RGB"))
    assert emptiness(decoded) == reason
    found = flat(decoded)
    assert found.reason == reason if isinstance(found, Failure) else reason is None


@pytest.mark.parametrize("color", [0, 200])
def test_a_panorama_of_which_all_views_are_empty_is_a_failure(color: int) -> None:
    found = panorama(np.full((480, 960, 3), color, np.uint8), b"", SIDE_PX)
    assert isinstance(found, Failure) and found.reason == ("one_color" if color else "black")


@pytest.mark.skipif(not PHOTOS.exists(), reason="the collection of real photos is not beside this checkout")
def test_no_real_photo_and_no_view_of_a_real_panorama_is_empty() -> None:
    for path in PHOTOS.glob("*/*.jpg"):
        with Pillow.open(path) as photo:
            pixels = np.asarray(photo.convert("RGB"))
        if min(pixels.shape[:2]) < 200:  # red squares
            continue
        assert emptiness(pixels) is None, path
        if pixels.shape[1] == 2 * pixels.shape[0]:
            assert list(seen(pixels, path.read_bytes(), 512).views) == list(range(12)), path
