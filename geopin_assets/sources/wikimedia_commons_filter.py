"""Which files of Commons show a street: by format, size, title, categories and restrictions.

Here: pure rules, on the careful side: what is not clearly something else stays. Not here: the words
(`wikimedia_commons_words.py`), reading a page (`wikimedia_commons_page.py`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from geopin_assets.sources.wikimedia_commons_words import ANYWHERE, FULL_CIRCLE, HARMLESS, IN_TITLES, RESTRICTIONS

MIN_SIDE_PX = 640
MAX_ASPECT = 2.2  # wider or higher ones are stitched: straight streets bend in them
_SPHERE_TOLERANCE = 0.02  # of 2:1


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a file without looking at it."""

    title: str
    """With namespace and extension, as Commons writes it."""
    mime: str
    width: int
    height: int
    categories: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()

    @property
    def aspect(self) -> float:
        """The longer side in shorter ones; infinite for a picture without sides."""
        shorter = min(self.width, self.height)
        return max(self.width, self.height) / shorter if shorter > 0 else float("inf")

    @property
    def is_sphere(self) -> bool:
        """Whether it is a full sphere: 2:1, and called so."""
        return abs(self.width - 2 * self.height) <= 2 * _SPHERE_TOLERANCE * self.height and any(
            _SPHERE.search(_plain(text)) for text in (self.title, *self.categories)
        )


def other_subject(picture: Picture) -> str | None:
    """What a file shows instead of a street, in a few words, or None if it may show one."""
    if picture.mime != "image/jpeg":
        return f"not a JPEG but {picture.mime}"
    if min(picture.width, picture.height) < MIN_SIDE_PX:
        return f"only {picture.width} x {picture.height}"
    if picture.aspect > MAX_ASPECT:
        return f"stitched, {picture.width} x {picture.height}"
    if named := sorted(set(picture.restrictions).intersection(RESTRICTIONS)):
        return f"restricted for {named[0]}"
    return subject_of_words(picture.title, picture.categories)


def subject_of_words(title: str, categories: Iterable[str]) -> str | None:
    """The first subject other than a street that a title or a category names."""
    name = _plain(title.removeprefix("File:").rpartition(".")[0] or title)
    if found := _TITLES.search(name):
        return found.lastgroup and found.lastgroup.replace("_", " ")
    for category in categories:
        if found := _CATEGORIES.search(_plain(category)):
            return found.lastgroup and found.lastgroup.replace("_", " ")
    return None


def _pattern(phrases: Iterable[str]) -> str:
    """Any of the phrases as whole words."""
    escaped = (re.escape(phrase).replace(r"\*", r"\w*") for phrase in phrases)
    return rf"(?<!\w)(?:{'|'.join(escaped)})(?!\w)"


def _subjects(*tables: Mapping[str, tuple[str, ...]]) -> re.Pattern[str]:
    """One group for each subject, named after it."""
    names = dict.fromkeys(name for table in tables for name in table)
    phrases = {name: [phrase for table in tables for phrase in table.get(name, ())] for name in names}
    return re.compile("|".join(f"(?P<{name.replace(' ', '_')}>{_pattern(phrases[name])})" for name in names))


_SPHERE = re.compile(_pattern(FULL_CIRCLE))
_HARMLESS = re.compile(_pattern(HARMLESS))
_TITLES, _CATEGORIES = _subjects(ANYWHERE, IN_TITLES), _subjects(ANYWHERE)


def _plain(text: str) -> str:
    """Lower case, single spaces for hyphens and underscores, without the harmless phrases."""
    return _HARMLESS.sub(" ", " ".join(re.sub(r"[-_–]", " ", text).replace("’", "'").casefold().split()))
