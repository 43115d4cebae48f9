"""What is a panorama, and which part of a sphere it shows: by GPano as tools write it, by shape, by camera."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.sphere import LEAST_WIDTH_PX, SEEN_DEG, Part, by_gpano, by_shape, is_360_camera, is_sphere


def gpano(full: tuple[int, int] | None = None, cut: tuple[int, int] | None = None, **others: object) -> dict[str, str]:
    sizes = dict(zip(("FullPanoWidthPixels", "FullPanoHeightPixels"), full or (), strict=False))
    sizes |= dict(zip(("CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels"), cut or (), strict=False))
    return {"ProjectionType": "equirectangular"} | {name: str(value) for name, value in (sizes | others).items()}


def near(part: Part | None, width: float, top: float, height: float) -> bool:
    return part is not None and (part.width, part.top, part.height) == pytest.approx((width, top, height), abs=2e-3)


SPHERE, TOP = (4000, 2000), "CroppedAreaTopPixels"


@pytest.mark.parametrize(
    ("size", "said", "part"),
    [
        (SPHERE, gpano(), (1, 0, 1)),
        (SPHERE, gpano(SPHERE), (1, 0, 1)),
        (SPHERE, gpano(SPHERE, SPHERE), (1, 0, 1)),
        ((2048, 1024), gpano((5760, 2880), (5760, 2880)), (1, 0, 1)),
        ((3999, 2000), gpano(SPHERE, (3999, 2000)), (1, 0, 1)),
        ((4000, 1999), gpano(SPHERE, (4000, 1999)), (1, 0, 1)),
        ((4000, 1250), gpano(SPHERE, (4000, 1250), **{TOP: 375}), (1, 0.1875, 0.625)),
        ((800, 250), gpano(SPHERE, (4000, 1250), **{TOP: 375}), (1, 0.1875, 0.625)),
        ((4000, 1600), gpano(SPHERE, (4000, 1600), **{TOP: 0}), (1, 0, 0.8)),
        ((4000, 1600), gpano(SPHERE, (4000, 1600)), (1, 0.1, 0.8)),
        ((4000, 1600), gpano(SPHERE), (1, 0.1, 0.8)),
        ((4000, 1600), gpano(), (1, 0.1, 0.8)),
        ((128, 21), gpano((15872, 7936), (15872, 2606), **{TOP: 2538}), (1, 0.3198, 0.3284)),
        ((2000, 2000), gpano(SPHERE, (2000, 2000)), (0.5, 0, 1)),
        ((3000, 1000), gpano(SPHERE, (3000, 1000), **{TOP: 600}), (0.75, 0.3, 0.5)),
        ((900, 500), gpano((1000,), (900,)), (0.9, 0, 1)),
    ],
    ids=str,
)  # fmt: skip
def test_the_part_is_what_gpano_says_whatever_the_image_was_resized_to(
    size: tuple[int, int], said: dict[str, str], part: tuple[float, float, float]
) -> None:
    assert near(by_gpano(*size, said), *part)


@pytest.mark.parametrize(
    "said",
    [
        gpano(SPHERE, SPHERE),  # of the image before it was cropped
        gpano((4000, 1333), (4000, 1333), **{TOP: 0}),  # a stitcher that takes a strip for the whole
        gpano((0, 0), (0, 0)),
        gpano(None, (4000, 1333)),
        gpano(SPHERE, (4000, -1)),
        gpano(SPHERE, (40_000, 13_333)),
        {"ProjectionType": " Equirectangular\n"},
        {"FullPanoWidthPixels": "4000", "FullPanoHeightPixels": "2000"},
        {"UsePanoramaViewer": "True", "FullPanoWidthPixels": "4000"},
        {"ProjectionType": "equirectangular", "FullPanoWidthPixels": "nan", "CroppedAreaImageWidthPixels": "1e999"},
    ],
    ids=str,
)
def test_sizes_that_cannot_be_of_this_image_are_not_believed_and_its_shape_is(said: dict[str, str]) -> None:
    assert near(by_gpano(4000, 1333, said), 1, 0.16675, 0.6665)


def test_whatever_gpano_says_of_an_image_of_two_to_one_it_is_a_sphere() -> None:
    assert is_sphere(4000, 2000, {"UsePanoramaViewer": "True"}, None)
    assert is_sphere(64, 32, {"PoseHeadingDegrees": "10"}, None)
    assert not is_sphere(4000, 3000, {"UsePanoramaViewer": "True"}, None) and not is_sphere(4000, 2000, {}, None)


@pytest.mark.parametrize("projection", ["cylindrical", "rectilinear", "fisheye", "cubemap"])
def test_another_projection_is_no_part_of_a_sphere_whoever_took_it(projection: str) -> None:
    assert by_gpano(4000, 2000, {"ProjectionType": projection}) is None
    assert not is_sphere(4000, 2000, {"ProjectionType": projection}, "RICOH RICOH THETA S")


@pytest.mark.parametrize(
    ("size", "said", "expected"),
    [
        ((800, 250), gpano(), True),  # the sky and the tripod are cut off
        ((4000, 2000), gpano(), True),
        ((4000, 2100), gpano(), False),  # less than all around, if its pixels are square
        ((4000, 3000), gpano(), False),
        ((8000, 400), gpano(), False),  # nine degrees high: no view has anything to see
        ((4000, 1000), gpano(SPHERE, (4000, 1000), **{TOP: 1000}), False),  # the ground
        ((4000, 1000), gpano(SPHERE, (4000, 1000), **{TOP: 700}), True),
        ((3600, 2000), gpano(SPHERE, (3600, 2000)), False),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_called_a_panorama_goes_all_around_and_shows_what_views_see(
    size: tuple[int, int], said: dict[str, str], expected: bool
) -> None:
    assert is_sphere(*size, said, None) is expected


@pytest.mark.parametrize(
    "camera",
    [
        *("RICOH RICOH THETA S", "RICOH THETA Z1", "GoPro GoPro Max", "GoPro MAX2", "GoPro Fusion", "LGE LG-R105"),
        *("Arashi Vision Insta360 ONE X2", "Arashi Vision X3", "Insta360 Insta360 X4", "Insta360 Insta360 OneRS"),
        *("SAMSUNG SM-R210", "Nikon Corporation KeyMission 360", "Garmin VIRB 360", "KANDAO QooCam 8K"),
        *("MADV QJXJ01FJ", "Point Grey Research Ladybug5", "Xiaomi 米家全景相机", "Trimble MX7", "DJI Osmo 360"),
    ],
)
def test_a_360_degree_camera_takes_a_sphere_without_saying_so_if_it_has_the_shape_of_one(camera: str) -> None:
    assert is_360_camera(camera)
    assert is_sphere(5760, 2880, {}, camera) and is_sphere(2048, 1024, {}, camera)
    assert not is_sphere(4000, 3000, {}, camera), "the same camera takes flat photos too"
    assert not is_sphere(LEAST_WIDTH_PX - 2, LEAST_WIDTH_PX // 2 - 1, {}, camera), "a thumbnail"


@pytest.mark.parametrize(
    "camera",
    [None, "", "GoPro HERO9 Black", "Insta360 GO 3", "Arashi Vision Insta360 Ace Pro", "SAMSUNG SM-G991B",
     "Garmin VIRB Elite", "HP SB360", "Olympus FE-360", "Xiaomi Mi 9T"],
)  # fmt: skip
def test_a_photo_of_another_camera_that_is_twice_as_wide_as_high_is_flat(camera: str | None) -> None:
    assert not is_sphere(4000, 2000, {}, camera)


numbers = st.integers(-10, 20_000).map(str) | st.sampled_from(["", "nan", "-inf", "1e400", "٣", "0x10", "5760.0"])
names = st.sampled_from(
    ["FullPanoWidthPixels", "FullPanoHeightPixels", "CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels", TOP]
)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.dictionaries(names, numbers))
def test_whatever_is_said_a_part_lies_within_the_sphere(width: int, height: int, said: dict[str, str]) -> None:
    for part in (by_gpano(width, height, gpano() | said), by_shape(width, height)):
        assert part is not None
        assert 0 < part.width <= 1 and 0 <= part.top <= part.top + part.height <= 1 + 1e-9 and part.height > 0
        if part.is_all_around:
            low, high = (90 - 180 * edge for edge in (part.top + part.height, part.top))
            assert min(high, SEEN_DEG[1]) - max(low, SEEN_DEG[0]) >= (SEEN_DEG[1] - SEEN_DEG[0]) / 2
