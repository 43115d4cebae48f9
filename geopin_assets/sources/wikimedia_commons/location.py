"""The direction of view that a file's author states: `{{Location|52.37|4.89|heading:90}}` in the wikitext.

Here: finding that template and reading its attribute. Not here: any other part of wikitext, positions (MediaWiki gives
those itself).
"""

import re
from collections.abc import Iterator
from typing import Any

from geopin_assets.sources import fields

_CAMERA = re.compile(r"\{\{\s*+(?:camera[ _]++)?location[^|{}]{0,30}+\|([^{}]*+)", re.IGNORECASE)
"""The parameters of {{Location}}, {{Camera location}}, {{Location dec}} and their like; not of {{Object location}}."""
_HEADING = re.compile(r"(?<![a-z])heading\s*+[:=]\s*+([^|_}\s]++)", re.IGNORECASE)
_DEGREES = re.compile(r"(\d{1,3}(?:[.,]\d{1,9})?)°?")
_POINTS = (
    *(["n", "nbe", "nne", "nebn", "ne", "nebe", "ene", "ebn", "e", "ebs", "ese", "sebe", "se", "sebs", "sse", "sbe"]),
    *(["s", "sbw", "ssw", "swbs", "sw", "swbw", "wsw", "wbs", "w", "wbn", "wnw", "nwbw", "nw", "nwbn", "nnw", "nbw"]),
)
_LONGEST = 200_000


def camera_heading_deg(wikitext: Any) -> float | None:
    """Degrees from north, given as a number or as a point of the compass; None if no template says one."""
    if not isinstance(wikitext, str):
        return None
    shown = "".join(_without_comments(wikitext[:_LONGEST]))
    stated = (said[1] for camera in _CAMERA.finditer(shown) for said in _HEADING.finditer(camera[1]))
    return next((degrees for text in stated if (degrees := _degrees(text)) is not None), None)


def _degrees(text: str) -> float | None:
    if (point := text.casefold()) in _POINTS:
        return _POINTS.index(point) * 360 / len(_POINTS)
    number = _DEGREES.fullmatch(text)
    degrees = fields.number(number[1].replace(",", ".")) if number else None
    return fields.heading_deg(degrees) if degrees is not None and degrees <= 360 else None


def _without_comments(wikitext: str) -> Iterator[str]:
    first, *rest = wikitext.split("<!--")
    yield first
    yield from (part.partition("-->")[2] for part in rest)
