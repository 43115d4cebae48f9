"""A photo that is asked about: read as captures are, and both ways where it may be a panorama or a crop."""

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Image as Pixels
from geopin_assets.embedding.views import perspective_views
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.photo import frames_of, read_photo, views_of
from geopin_assets_tests.depth import examples
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.embedding.test_seen import packet

SIDE_PX = 64
SPHERE = smooth(960, 480)
WALK = Path(__file__).parents[3] / "shared" / "fixtures" / "photos" / "opensfm_lund"


def frames(data: bytes) -> int:
    return len(frames_of(read_photo(data), SIDE_PX))


def test_a_photo_has_one_frame_and_what_may_be_a_panorama_its_views_too() -> None:
    assert frames(encoded(smooth(640, 480))) == frames(encoded(smooth(1000, 400))) == 1
    assert frames(encoded(SPHERE)) == frames(encoded(smooth(1001, 500))) == 13
    assert frames(encoded(smooth(80, 40))) == 1, "too small to be cut into views"
    assert frames(encoded(smooth(640, 480), xmp=packet())) == 1, "what it says of itself is not so"


@pytest.mark.parametrize(("picture", "count"), [(smooth(640, 480), 1), (SPHERE, 13)])
def test_a_telephones_heic_is_a_photo_as_any_other(picture: Pixels, count: int) -> None:
    pillow_heif.register_heif_opener()  # encodes them, too
    assert frames(encoded(picture, "HEIF")) == count


@pytest.mark.parametrize(("top", "bottom"), [(60, 420), (0, 400), (90, 470)])
def test_a_strip_that_says_so_is_laid_into_its_sphere(top: int, bottom: int) -> None:
    said = packet(
        FullPanoWidthPixels=960,
        FullPanoHeightPixels=480,
        CroppedAreaImageWidthPixels=960,
        CroppedAreaImageHeightPixels=bottom - top,
        CroppedAreaTopPixels=top,
    )
    photo = read_photo(encoded(SPHERE[top:bottom], xmp=said))
    assert photo.shape == SPHERE.shape
    _, *views = frames_of(photo, SIDE_PX)
    for view, wanted in zip(views, perspective_views(SPHERE, size_px=SIDE_PX), strict=True):
        assert np.abs(view.astype(int) - wanted).mean() < 3


def test_a_panorama_is_decoded_as_captures_are() -> None:
    """As large a one, not the third of it that a photo needs."""
    assert read_photo(encoded(smooth(4000, 2000), quality=50)).shape == (2000, 4000, 3)
    assert read_photo(encoded(smooth(4000, 3000), quality=50)).shape == (1125, 1500, 3)


@pytest.mark.parametrize("size", [(480, 640), (480, 960)])
def test_a_photo_that_shows_nothing_says_so(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError, match="black: nothing to see"):
        read_photo(encoded(np.zeros((*size, 3), np.uint8)))


@pytest.mark.skipif(not WALK.exists(), reason="the collection of real photos is not beside this checkout")
def test_photos_cropped_to_two_to_one_are_found_among_the_whole_ones() -> None:
    """Dash cams and phones of 18:9: cut up as panoramas, 7 % of them were."""
    embedder, places = Thumbnail(), []
    for file in sorted(WALK.glob("*.jpg"))[:: examples(2, 1)]:
        with Image.open(file) as photo:
            places.append(np.asarray(photo.convert("RGB").resize((960, 720))))
    index = np.vstack([views_of([place], embedder) for place in places])
    crops = (encoded(place[120:600], quality=90) for place in places)
    best = [int((views_of(frames_of(read_photo(crop), SIDE_PX), embedder) @ index.T).max(0).argmax()) for crop in crops]
    assert np.mean([found == place for place, found in enumerate(best)]) > 0.75
