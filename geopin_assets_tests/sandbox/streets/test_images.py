from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from math import cos, radians, sin
from threading import Event

import numpy as np
import pytest
from PIL import Image

from geopin_assets.sandbox.streets import images
from geopin_assets.sandbox.streets.drives import GRACHT, KADE, PLEIN, STRAAT, build_world
from geopin_assets.sandbox.streets.painting import panorama, perspective, render
from geopin_assets.sandbox.streets.scenes import Kind, Thing, day_of, scene_of

SHOTS = {shot.name: shot for shot in build_world().shots}
SUMMER, WINTER = datetime(2024, 7, 1, tzinfo=UTC), datetime(2024, 1, 15, tzinfo=UTC)


def marked(street, bearing_deg, distance_m=5.0):
    """The street with a magenta board in the given direction from its middle."""
    yaw = radians(bearing_deg - street.bearing_deg)
    board = Thing(Kind.SIGN, distance_m * sin(yaw), distance_m * cos(yaw), 0.5, 2.5, (1.0, 0.0, 1.0))
    return replace(scene_of(street), things=(board,)), replace(day_of(street, SUMMER), things=())


def magenta_columns(image):
    red, green, blue = (image[..., band].astype(int) for band in range(3))
    return np.flatnonzero(((red - green > 90) & (blue - green > 90)).any(0))


@pytest.mark.parametrize("street", [KADE, STRAAT], ids=lambda street: street.name)
@pytest.mark.parametrize("center_deg", [0, 90, 217])
@pytest.mark.parametrize("bearing_deg", [1, 120, 300])
def test_a_board_shows_at_its_bearing_whatever_the_panoramas_middle_looks_at(street, center_deg, bearing_deg):
    scene, day = marked(street, bearing_deg)
    width = 720
    view = render(scene, day, panorama(0, 0, 2.0, center_deg - street.bearing_deg, width))
    angles = np.radians((magenta_columns(view) + 0.5) * 360 / width)
    seen = np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())) - 180 + center_deg
    assert abs((seen - bearing_deg + 180) % 360 - 180) < 1


@pytest.mark.parametrize("off_deg", [-25, 0, 25])
def test_a_board_shows_right_of_the_middle_when_it_stands_right_of_the_heading(off_deg):
    heading = 47.0
    scene, day = marked(STRAAT, heading + off_deg)
    view = render(scene, day, perspective(0, 0, 2.0, heading - STRAAT.bearing_deg, 70, (640, 480)))
    expected = 320 + 320 * np.tan(radians(off_deg)) / np.tan(radians(35))
    assert abs(magenta_columns(view).mean() - expected) < 4


def test_amsterdam_puts_north_and_panoramax_the_heading_in_the_middle():
    drives = {"amsterdam": SHOTS["kade-2023-003"], "panoramax": SHOTS["kade-360-003"]}
    north = images.draw(drives["amsterdam"], 0.0)
    width = north.shape[1]
    heading = drives["amsterdam"].heading_deg
    turned = np.roll(north, -round(heading / 360 * width), axis=1)
    ahead = images.draw(drives["amsterdam"])
    assert np.abs(turned.astype(int) - ahead).mean() < 4
    as_served = Image.open(BytesIO(images.amsterdam_jpeg(drives["amsterdam"], 2000))).resize((width, width // 2))
    assert np.abs(np.asarray(as_served).astype(int) - north).mean() < 8


def thumbnail(shot):
    small = np.asarray(Image.fromarray(images.draw(shot)).resize((16, 16)), float)
    return (small - small.mean()) / small.std()


def likeness(a, b):
    return float((thumbnail(a) * thumbnail(b)).mean())


PLACES = ["gracht-flat-010", "straat-flat-005", "plein-flat-004", "corner-flat-003", "middle-flat-003"]


@pytest.mark.parametrize("name", PLACES)
def test_a_place_looks_more_like_itself_two_meters_on_than_like_other_streets(name):
    shot = SHOTS[name]
    step = replace(shot, along_m=shot.along_m + 2, right_m=shot.right_m - 0.5)
    others = [SHOTS[other] for other in PLACES if other != name]
    assert likeness(shot, step) > max(likeness(shot, other) for other in others)


def test_a_place_looks_alike_to_two_sources_years_apart():
    query, seen = SHOTS["query-gracht-001"], SHOTS["gracht-flat-020"]
    others = [SHOTS[other] for other in PLACES if SHOTS[other].drive.street != GRACHT]
    assert likeness(query, seen) > max(likeness(query, other) for other in others)


def test_trees_have_leaves_in_summer_only():
    assert day_of(GRACHT, SUMMER).leaf == 1
    assert day_of(GRACHT, WINTER).leaf == 0

    def greenness(when):
        camera = perspective(10, 0, 1.7, 0, 70, (320, 240))
        bare = replace(day_of(GRACHT, when), things=(), gain=(1.0, 1.0, 1.0))
        image = render(scene_of(GRACHT), bare, camera).astype(int)
        return ((image[..., 1] - image[..., 0] > 5) & (image[..., 1] - image[..., 2] > 25)).mean()

    assert greenness(SUMMER) > 4 * greenness(WINTER) + 0.01


def test_light_and_parked_cars_change_from_day_to_day():
    one, other = day_of(PLEIN, SUMMER), day_of(PLEIN, WINTER)
    assert one.gain != other.gain
    assert one.things != other.things


def test_the_same_shot_gives_the_same_bytes():
    shot = SHOTS["straat-flat-001"]
    first = images.panoramax_jpeg(shot, "thumb")
    for cache in (images.panoramax_jpeg, images.draw, scene_of, day_of):
        cache.cache_clear()
    assert images.panoramax_jpeg(shot, "thumb") == first


@pytest.mark.parametrize("is_pano", [False, True])
def test_what_was_painted_ahead_is_what_is_served(is_pano: bool):
    shot = next(shot for shot in SHOTS.values() if shot.drive.is_pano is is_pano)
    caches = images.shot_jpeg, images.draw
    pictures = []
    for _ in range(2):
        for cache in caches:
            cache.cache_clear()
        pictures.append(images.shot_jpeg(shot, 320))
        images.paint_ahead([shot], Event())
    assert pictures[0] == pictures[1]


def test_nothing_is_painted_ahead_any_more_once_pictures_are_asked_for():
    painted, asked = [], Event()
    asked.set()
    images.paint_ahead((painted.append(shot) or shot for shot in SHOTS.values()), asked)
    assert len(painted) == 1
