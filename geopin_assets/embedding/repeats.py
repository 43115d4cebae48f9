"""The same bytes at many captures: what servers send where they have no picture. It shows none of those places.

Here: noticing it, within a run and, once noticed, in all later ones. Not here: what is done about it (`pipeline.py`).
Captures of one source are counted: one picture may well be in three collections. What is read from a folder is no
server's answer.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from geopin_assets.embedding.attempts import Attempts
from geopin_assets.embedding.protocol import CaptureImage

MANY = 3
_REMEMBERED = 100_000
"""Images of a run; 30 MB."""


def digest(data: bytes) -> str:
    """Of an image's bytes: 0.07 ms for 134 kB. One that can be forged would let others' pictures be taken for none."""
    return hashlib.sha256(data).hexdigest()[:24]


@dataclass(slots=True)
class Repeats:
    """The images of a run. For one thread."""

    many: int = MANY
    kept_in: Attempts | None = None
    _known: set[str] = field(default_factory=set)
    _seen: OrderedDict[str, list[CaptureImage]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.kept_in:
            self._known = self.kept_in.repeated()

    def of(self, image: CaptureImage, digest: str) -> Iterator[CaptureImage]:
        """The images that are known from now on to be no picture: this one, and at first those before it."""
        if not image.image_url.startswith("http"):
            return
        key = f"{image.source} {digest}"
        if key in self._known:
            yield image
            return
        owners = self._seen.setdefault(key, [])
        owners.append(image)
        if len(owners) >= self.many:
            self._known.add(key)
            if self.kept_in:
                self.kept_in.add_repeated(key)
            yield from self._seen.pop(key)
        elif len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
