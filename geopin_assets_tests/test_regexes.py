"""No expression over foreign text takes anything back: repeats without end are possessive, and time is linear.

A backtracking one took 49 s for a header of 3 kB, and 53 s for 2,000 blanks in a photo.
"""

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geopin_assets_tests.depth import some
from geopin_assets_tests.growth import MOST, growth

parser = re._parser  # type: ignore[attr-defined]
PACKAGE = Path(__file__).parents[1] / "geopin_assets"
OUR_OWN_TEXT = {"sandbox", "data", "declare.py"}
ONCE = {"compile", "search", "match", "fullmatch", "findall", "finditer", "sub", "split"}
ENOUGH = 300
"""Repeats up to so often are bounded."""


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if not OUR_OWN_TEXT.intersection(path.relative_to(PACKAGE).parts) and ".model." not in name:
            yield name, path


def _patterns() -> dict[str, tuple[str | bytes, int]]:
    """Expressions of modules, and those written where they are used."""
    found: dict[str, tuple[str | bytes, int]] = {}
    for name, path in _modules():
        source = path.read_text(encoding="utf-8")
        if "import re\n" in source:
            kept = _kept(name)
            known = {pattern for pattern, _ in kept.values()}
            found |= kept | {at: (text, 0) for at, text in _written(name, source) if text not in known}
    return found


def _kept(name: str) -> dict[str, tuple[str | bytes, int]]:
    """Those that a module has compiled."""
    found = {}
    for attribute, value in vars(importlib.import_module(name)).items():
        for number, pattern in enumerate(value if type(value) is tuple else (value,)):
            pattern = pattern[0] if type(pattern) is tuple and pattern else pattern
            if isinstance(pattern, re.Pattern):
                found[f"{name}.{attribute}[{number}]"] = pattern.pattern, pattern.flags
    return found


def _written(name: str, source: str) -> Iterator[tuple[str, str | bytes]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ONCE:
            of, text = node.func.value, node.args and node.args[0]
            if isinstance(of, ast.Name) and of.id == "re" and isinstance(text, ast.Constant):
                assert isinstance(text.value, str | bytes), (name, node.lineno)
                yield f"{name}:{node.lineno}", text.value


def _only_at_its_place(name: str) -> bool:
    """Whether its module asks an expression only what begins where it stands: searching goes on at each character."""
    if ":" in name:
        return False
    module, _, attribute = name.partition("[")[0].rpartition(".")
    source = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")
    uses = re.findall(rf"\b{attribute}\b(?:\.(\w+)\()?", source)
    return uses[1:] != [] and set(uses[1:]) <= {"match", "fullmatch"}


PATTERNS = _patterns()


def _backtracking(parsed: Any, *, is_last: bool = True) -> Iterator[str]:
    """Repeats without end that may give back what they took, and not as the last thing of the expression."""
    items = list(parsed)
    for number, (op, value) in enumerate(items):
        last = is_last and number == len(items) - 1
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            _, most, inner = value
            if most > ENOUGH and not (last and len(inner) == 1 and str(inner[0][0]) in ("IN", "LITERAL", "ANY")):
                yield f"{name} of {inner}"
            yield from _backtracking(inner, is_last=False)
        elif name == "SUBPATTERN":
            yield from _backtracking(value[-1], is_last=last)
        elif name == "BRANCH":
            for branch in value[1]:
                yield from _backtracking(branch, is_last=last)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from _backtracking(value[1], is_last=False)


@pytest.mark.parametrize("name", PATTERNS)
def test_repeats_without_end_are_possessive(name: str) -> None:
    pattern, flags = PATTERNS[name]
    assert list(_backtracking(parser.parse(pattern, flags & ~re.UNICODE & ~re.DEBUG))) == [], pattern


def _grains(pattern: str | bytes) -> list[str]:
    """Short texts that repeats may like: characters of the expression itself, and of every kind."""
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    words = re.findall(r"[A-Za-z]{2,12}", text)
    kinds = ("a", " ", "1", "'", "-", ".", "/", "\xff", "1 ", "a=", "-1", *(f"{word} " for word in words))
    return [*dict.fromkeys([*some(kinds, 3), *some(words, 2)])]


@pytest.mark.parametrize("name", PATTERNS)
def test_searching_takes_time_in_proportion_to_the_text(name: str) -> None:
    pattern, flags = PATTERNS[name]
    compiled = re.compile(pattern, flags)
    everywhere: Callable[[Any], object] = lambda text: sum(1 for _ in compiled.finditer(text))  # noqa: E731
    use = compiled.match if _only_at_its_place(name) else everywhere
    for grain in _grains(pattern):
        foreign: Any = grain.encode("latin-1") if isinstance(pattern, bytes) else grain
        assert growth(use, foreign) < MOST, (pattern, grain)
