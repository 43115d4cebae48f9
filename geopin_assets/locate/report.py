"""Answers as a page: empty, to drop photos on, or a file that holds photos and answers.

Here: the page around the answers. Not here: what it shows and how (`page.html`), or who serves it (`cli/try_page.py`).
"""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import orjson
from PIL import Image as Pillow

from geopin_assets.embedding.protocol import Image
from geopin_assets.locate.location import Location

_HOLE = "/*GIVEN*/null/*GIVEN*/"
_SHOWN_PX = 800


def page() -> str:
    """The page to drop photos on; it asks `locate` beside it."""
    return (files(__package__) / "page.html").read_text(encoding="utf-8")


def report(answers: Sequence[tuple[str, str, Location]], unread: Mapping[str, str], now: datetime) -> str:
    """A page that needs nothing but itself and the matches' thumbnails: names, `picture`s of photos, answers.

    `unread`: why other photos have no answer.
    """
    shown = [{"name": name, "picture": picture, "answer": answer.to_dict()} for name, picture, answer in answers]
    shown += [{"name": name, "picture": "", "answer": {"error": why}} for name, why in unread.items()]
    return page().replace(_HOLE, _in_script({"at": now.isoformat(timespec="minutes"), "photos": shown}))


def _in_script(facts: Any) -> str:
    """JSON that no text in it can break out of: attributions are what strangers wrote."""
    return (
        orjson.dumps(facts).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )


def picture(image: Image) -> str:
    """Of a photo, made small, as an address that holds it."""
    small = Pillow.fromarray(image)
    small.thumbnail((_SHOWN_PX, _SHOWN_PX))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
