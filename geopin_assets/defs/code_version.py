"""What decides an asset's output, as a short version: where it changes, what was made before shows as out of step.

Here: versions of values (a schema, a model) and of code (a source's parser). Code is read without what is said of it: a
docstring or a comment changes no version. Not here: which of them an asset depends on (`assets/`). Nothing is made
again because of a version: automation follows content.
"""

import re
from functools import cache
from hashlib import blake2b
from pathlib import Path

import geopin_assets

_PACKAGE = Path(geopin_assets.__file__).parent
_IMPORTED = re.compile(r"^ *from (geopin_assets\.sources\.[\w.]+) import", re.MULTILINE)
_WORDS = re.compile(r'^[ \t]*""".*?"""[ \t]*\n|^[ \t]*#[^\n]*\n|[ \t]+#[^"\'\n]*$|^[ \t]*\n', re.MULTILINE | re.DOTALL)
"""Docstrings, comments and empty lines. A syntax tree would know them better, and take 0.15 s of each start."""
_OF_EVERY_SOURCE = ("base", "crawl")
"""How a crawl goes, of whichever source: as part of their versions it would mark everything at once."""


def version_of(*values: object) -> str:
    """A version of values by their text."""
    return blake2b(repr(values).encode(), digest_size=6).hexdigest()


def version_of_module(file: str) -> str:
    """The version of what one module does, its own code only."""
    return version_of(_read(Path(file))[0])


def version_of_source(module: str) -> str:
    """The version of the modules that a source is made of: its own, and those of `sources/` that it uses."""
    room = _PACKAGE / "sources"
    ours, waiting = set[Path](), {_home(module, room)}
    while waiting:
        path = waiting.pop()
        ours.add(path)
        used = {_home(name, room) for name in _read(path)[1]}
        shared = {room / f"{name}.py" for name in _OF_EVERY_SOURCE}
        waiting |= {path for path in used if path.exists()} - ours - shared
    return version_of([(path.stem, _read(path)[0]) for path in sorted(ours)])


def _home(module: str, room: Path) -> Path:
    """The file of a module of `sources/`, or the folder of a source that has more than one."""
    name = module.removeprefix(f"{geopin_assets.__name__}.sources.").partition(".")[0]
    folder = room / name
    return folder if folder.is_dir() else room / f"{name}.py"


@cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """What a file, or a folder of files, does; and the modules of `sources/` that it imports from."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return _WORDS.sub("", text), frozenset(_IMPORTED.findall(text))
