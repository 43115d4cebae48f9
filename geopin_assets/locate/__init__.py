"""Where was this photo taken, and how sure is that?

    from geopin_assets.locate import locate
    location = locate("photo.jpg")        # a path, bytes, or pixels uint8 [height, width, 3]
    location.status, location.lat, location.lon, location.radius_m, location.confidence

The fields of the answer are in `location.py` and docs/locating.md. Here: asking with the present settings, one photo or
many. Not here: commands and pages (`cli/`), or anything that finds, compares or judges.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geopin_assets.embedding.protocol import Image
    from geopin_assets.locate.location import Location
    from geopin_assets.locate.photo import Photo
    from geopin_assets.locate.search import Area
    from geopin_assets.settings import Settings

VERIFIED = 10
"""Matches whose images are compared with the photo, unless something else is said."""


def locate(
    photo: "Photo | str | PathLike[str]", *, top: int = 10, area: "Area | None" = None, verify: int = VERIFIED
) -> "Location":
    """Where a photo was taken, by the index of the present settings; the model is loaded once per process.

    `top`: matches to return. `area`: where to look. `verify`: matches whose images are fetched and compared with the
    photo, 0 for none. Raises ConfigurationError for what is no photo, or an empty index.
    """
    from geopin_assets.locate.photo import read_photo
    from geopin_assets.settings import Settings

    image = read_photo(Path(photo) if isinstance(photo, str | PathLike) else photo)
    with asking(Settings.from_env(), top=top, area=area, verify=verify) as ask:
        return ask(image)


@contextmanager
def asking(
    settings: "Settings", *, top: int = 10, area: "Area | None" = None, verify: int = VERIFIED
) -> "Iterator[Callable[[Image], Location]]":
    """What answers photo after photo, as `locate` does. Raises ConfigurationError."""
    from geopin_assets.locate.comparing import comparison
    from geopin_assets.locate.opening import find_verifier, open_locator
    from geopin_assets.locate.photo import frames_of, views_of
    from geopin_assets.platform.parts import Embedding, SearchIndex, Sources, Storage

    embedding = Embedding()
    locator, embedder = open_locator(settings, embedding, SearchIndex()), embedding.embedder()
    with ExitStack() as stack:
        verifier = find_verifier(settings) if verify else None
        compared = stack.enter_context(comparison(verifier, Storage(), embedding, Sources())) if verifier else None

        def ask(image: "Image") -> "Location":
            frames = frames_of(image, embedder.model.side_px)
            compare = partial(compared.inliers, frames) if compared else None
            return locator.locate(views_of(frames, embedder), top=top, area=area, compare=compare, verify=verify)

        yield ask
