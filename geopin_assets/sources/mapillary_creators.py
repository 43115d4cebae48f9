"""Names of Mapillary's contributors, which tiles leave out: each is asked for once, however many images they took.

Here: learning names and asking for unknown ones. Not here: tiles, or what a name is used for.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any

from geopin_assets.sources import fields

_IMAGES_ASKED = 3  # of one creator at a time, because an image may be gone


class Creators:
    """User names by creator id, for one run. Thread-safe."""

    def __init__(self) -> None:
        self._names: dict[str, str | None] = {}
        self._lock = Lock()

    def learn(self, record: Any) -> None:
        """Note whom an image of the Graph API names."""
        creator = fields.mapping(fields.mapping(record).get("creator"))
        id_, name = fields.source_id(creator.get("id")), fields.text(creator.get("username"))
        if id_ and name:
            with self._lock:
                self._names[id_] = name

    def ask(
        self, images: Iterable[tuple[str, Any]], fetch: Callable[[list[str]], Mapping[str, Any]]
    ) -> Mapping[str, str | None]:
        """All known names, after asking for those of `images` (pairs of image id and creator id) that are unknown.

        `fetch` returns records of images by id; a creator whom none of them names stays unknown and is not asked
        for again.
        """
        examples: dict[str, list[str]] = {}
        for image, creator in images:
            id_ = fields.source_id(creator)
            if id_ is not None and id_ not in self._names and len(examples.setdefault(id_, [])) < _IMAGES_ASKED:
                examples[id_].append(image)
        asked = [image for group in examples.values() for image in group]
        for record in fetch(asked).values() if asked else ():
            self.learn(record)
        with self._lock:
            self._names = dict.fromkeys(examples) | self._names
            return dict(self._names)
