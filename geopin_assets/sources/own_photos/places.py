"""Coordinates as cameras and programs write them: rationals, numbers or text, with a hemisphere in whatever words.

Here: one coordinate. Not here: which tags hold it (`exif.py`).

Without a hemisphere north and east are meant, as every reader of such photos takes it; one that is there and cannot be
understood, or contradicts the sign, is no coordinate.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

from geopin_assets.sources import fields

Axis = Literal["latitude", "longitude"]
_ROUNDING = 1e-4
_HEMISPHERES: dict[Axis, tuple[tuple[str, int], ...]] = {
    "latitude": (("n", 1), ("s", -1), ("z", -1)),
    "longitude": (("e", 1), ("w", -1), ("ou", -1), ("oe", -1), ("ov", -1), ("o", 1)),
}
"""How the words begin: Zuid, Ouest, Oeste, Ovest, Oost."""
_PART = re.compile(r"(\d{1,12}+(?:\.\d{1,15}+)?+)(?:\s?/\s?(\d{1,12}+))?+")
_WORD = re.compile(r"[^\W\d_]++")
_UNITS = ("deg", "degrees", "min", "sec")
_DECIMAL_COMMA = re.compile(r"[-+]?\d{1,3}+,\d{3,15}+")
_AMBIGUOUS = re.compile(r"[-+]?\d{1,3}+,\d{1,2}+")
"""Degrees and minutes, or a decimal comma?"""


def number(value: Any) -> float | None:
    """A finite float of a TIFF rational, number or text: `52.5`, `52,5` or `105/2`; 0/0 is None."""
    try:
        if isinstance(value, str):
            above, _, below = value.replace(",", ".").partition("/")
            value = float(above) / float(below or 1)
        return None if isinstance(value, bool) else fields.number(float(value))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def coordinate(value: Any, hemisphere: Any, axis: Axis) -> float | None:
    """Signed degrees, of degrees alone, with minutes, or with minutes and seconds."""
    words = [word] if (word := fields.text(hemisphere)) else []
    if isinstance(value, str):
        parts, words_within = _read(value)
        words += words_within
    else:
        parts = _stated([number(part) for part in (value if isinstance(value, tuple) else (value,))])
    signs = {_sign(word, axis) for word in words}
    degrees = _sum([part for part in parts if part is not None]) if None not in parts else None
    if degrees is None or None in signs or len(signs) > 1 or (degrees < 0 and 1 in signs):
        return None
    return -abs(degrees) if -1 in signs else degrees


def _stated(parts: list[float | None]) -> list[float | None]:
    """Without what is not measured (0/0) behind a part that has a fraction, where nothing can follow."""
    end = next((n for n, part in enumerate(parts, 1) if part is None or not part.is_integer()), len(parts))
    is_all = end and parts[end - 1] is not None and not any(part is not None for part in parts[end:])
    return parts[:end] if is_all else parts


def _read(text: str) -> tuple[list[float | None], list[str]]:
    """The parts of a coordinate in a text, and words of a hemisphere."""
    text = (fields.text(text) or "").replace("\N{MINUS SIGN}", "-")
    words = [word for word in _WORD.findall(text) if word.lower() not in _UNITS]
    bare = "".join(c for c in text if not c.isalpha()).strip()
    if (plain := fields.number(text)) is not None:
        return [plain], []
    if _DECIMAL_COMMA.fullmatch(bare):
        return [number(bare)], words
    if _AMBIGUOUS.fullmatch(bare) and not words:
        return [None], words
    found = [number(f"{above}/{below or 1}") for above, below in _PART.findall(bare)]
    return found, [*words, "-"] if bare.startswith("-") else words


def _sum(parts: Sequence[float]) -> float | None:
    """One to three parts, each of at most 60 of the next; a broken part is the last that says something."""
    is_broken = any(abs(part - round(part)) > _ROUNDING and any(parts[n + 1 :]) for n, part in enumerate(parts))
    is_sum = len(parts) == 1 or (1 < len(parts) <= 3 and parts[0] >= 0 and all(0 <= part <= 60 for part in parts[1:]))
    if is_broken or not is_sum:
        return None
    return sum(part / 60**power for power, part in enumerate(parts))


def _sign(word: str, axis: Axis) -> int | None:
    return next((sign for begin, sign in (("-", -1), *_HEMISPHERES[axis]) if word.lower().startswith(begin)), None)
