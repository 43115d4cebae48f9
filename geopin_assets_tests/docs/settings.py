"""Writes docs/settings.md from the settings themselves: `python -m geopin_assets_tests.docs.settings`.

Here: reading what stands below each field. Not here: any variable, default or meaning (`geopin_assets/variables.py`).
"""

import ast
import inspect
from itertools import pairwise
from pathlib import Path

from pydantic.fields import FieldInfo

from geopin_assets import variables
from geopin_assets.environment import ByProfile, allowed, shown
from geopin_assets.variables import PATTERNS, SECTIONS, VARIABLES, fields_of, heading

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """\
# Settings

<!-- Written by `python -m geopin_assets_tests.docs.settings`; a test fails when it is stale. -->

All settings are environment variables. Blanks, line ends and one pair of quotes around a value do not belong to it, and
a variable that is set to nothing is as if unset. A value that is not allowed is refused by the name of its variable,
and so is a `GEOPIN_` variable that does not exist, with the nearest that does (`GEOPIN_TEST_` ones are for tests).
Secrets are read from the environment only, and are never printed, logged or shown in the UI.

`geopin settings` prints what is in force and where each value comes from: the environment, the default of the profile,
or the default of all.
"""


def page() -> str:
    """The whole page."""
    meanings, lines = _meanings(), [HEAD]
    for section in SECTIONS:
        lines += [f"## {heading(section)}", "", "| variable | meaning | choose | default |", "|---|---|---|---|"]
        for variable, field in fields_of(section):
            meaning = meanings[VARIABLES[variable]]
            lines.append(f"| `{variable}` | {meaning} | {allowed(field)} | {_default(field)} |")
        lines.append("")
    lines += ["## Each source", "", "| variable | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {meaning} |" for name, meaning in PATTERNS.items()), ""])


def _meanings() -> dict[str, str]:
    """What stands below each field."""
    classes = [part for part in ast.parse(inspect.getsource(variables)).body if isinstance(part, ast.ClassDef)]
    pairs = [pair for declared in classes for pair in pairwise(declared.body)]
    return {
        ast.unparse(field.target): " ".join(str(ast.literal_eval(text.value)).split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _default(field: FieldInfo) -> str:
    if isinstance(field.default_factory, ByProfile):
        others = [f"{_code(value)} ({profile})" for profile, value in field.default_factory.profiles.items()]
        return ", ".join([_code(field.default_factory.others), *others])
    return "see meaning" if field.default_factory else _code(field.default)


def _code(value: object) -> str:
    return f"`{text}`" if (text := shown(value)) else "none"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
