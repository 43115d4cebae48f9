"""A page of ours as one file: its style, its script with all that it needs, and what it is told, as JSON.

The script is named by its hash in the page's content security policy: nothing else runs in it, whatever got into the
page, and it may ask for nothing but what is served beside it. `policy_of` says the same to whoever serves the page, and
only of pages that hold the very script of this version. Not here: what pages show (`map_html.py`, `layers.py`).
"""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

_NAMES = ("coverage", "layers")
_SCRIPTS = ("vendor/pmtiles.js", "map.js")
"""Of both pages, before their own."""


def page(name: str, data: Any = None) -> str:
    """The page of that name; `data` is for its script to read."""
    template = _read(f"{name}.html").replace("{{HASH}}", _hash(name), 1).replace("{{SCRIPTS}}", _tag(name), 1)
    return template.replace("{{DATA}}", script_json(data), 1)


def policy_of(content: bytes, connect_to: str) -> str | None:
    """The content security policy to serve a page of ours with; it may ask at `connect_to` only. None: of any other."""
    name = next((name for name in _NAMES if _tag(name).encode() in content), None)
    if name is None:
        return None
    sources = f"default-src 'none'; style-src 'unsafe-inline'; script-src {_hash(name)}; img-src data:"
    return f"{sources}; connect-src {connect_to}; form-action 'none'; base-uri 'none'"


def script_json(data: Any) -> str:
    """JSON that is safe inside a script element: no `<`, `>`, `&`, and no line separators of JavaScript."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _read(name: str) -> str:
    return files("geopin_assets.quality").joinpath(name).read_text(encoding="utf-8")


@cache
def _script(name: str) -> str:
    return "\n".join(_read(script) for script in (*_SCRIPTS, f"{name}.js"))


def _tag(name: str) -> str:
    return f"<script>{_script(name)}</script>"


@cache
def _hash(name: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(_script(name).encode()).digest()).decode()}'"
