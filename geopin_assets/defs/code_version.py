"""What decides an asset's output, as a short version: where it changes, what was made before shows as out of step.

Here: versions of values (a schema, a model) and of code (a source's parser). Code is read as a syntax tree without
docstrings: neither comments nor formatting change its version. Not here: which of them an asset depends on (`assets/`).
Nothing is made again because of a version: automation follows content.
"""

import ast
from functools import cache
from hashlib import blake2b
from pathlib import Path

import geopin_assets

_PACKAGE = Path(geopin_assets.__file__).parent
_OF_EVERY_SOURCE = ("base", "crawl")
"""How a crawl goes, of whichever source: as part of their versions it would mark everything at once."""


def version_of(*values: object) -> str:
    """A version of values by their text."""
    return blake2b(repr(values).encode(), digest_size=6).hexdigest()


def version_of_source(module: str) -> str:
    """The version of the modules that a source is made of: its own, and those of `sources/` that it uses."""
    room = _PACKAGE / "sources"
    ours, waiting = set[Path](), {_home(module, room)}
    while waiting:
        path = waiting.pop()
        ours.add(path)
        used = {_home(name, room) for name in _read(path)[1] if name.startswith(f"{geopin_assets.__name__}.sources.")}
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
    """What a file, or a folder of files, does; and the modules that it imports."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    trees = [ast.parse(file.read_bytes()) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return "".join(ast.dump(tree, annotate_fields=False) for tree in trees), frozenset(imported)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
