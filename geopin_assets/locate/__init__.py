"""Where was this photo taken, and how sure is that?

    from geopin_assets.locate import locate
    location = locate("photo.jpg")        # a path, bytes, or pixels uint8 [height, width, 3]
    location.status, location.lat, location.lon, location.radius_m, location.confidence

The fields of the answer are in `location.py` and docs/locating.md. Not here: commands (`cli/`), or pages.
"""

from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geopin_assets.embedding.protocol import Embedder
    from geopin_assets.locate.location import Location
    from geopin_assets.locate.locator import Locator
    from geopin_assets.locate.photo import Photo
    from geopin_assets.locate.search import Area


def locate(photo: "Photo | str | PathLike[str]", *, top: int = 10, area: "Area | None" = None) -> "Location":
    """Where a photo was taken, by the index of the present settings. The model is loaded once per process.

    Raises ConfigurationError for what is no photo, or an empty index.
    """
    from geopin_assets.locate.photo import read_photo, views_of

    image = read_photo(Path(photo) if isinstance(photo, str | PathLike) else photo)
    locator, embedder = _opened()
    return locator.locate(views_of(image, embedder), top=top, area=area)


@cache
def _opened() -> "tuple[Locator, Embedder]":
    from geopin_assets.locate.opening import open_locator
    from geopin_assets.platform.parts import Embedding, SearchIndex
    from geopin_assets.settings import Settings

    return open_locator(Settings.from_env(), Embedding(), SearchIndex()), Embedding().embedder()
