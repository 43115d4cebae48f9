"""`geopin settings`: every variable, what is in force and where it comes from. Also the page `docs/settings.md`.

Not here: which variables there are and what they mean (`settings.py`). Secrets are never shown.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from geopin_assets import settings as module
from geopin_assets.cli.console import Facts, print_facts, print_table
from geopin_assets.settings import SECTIONS, Settings
from geopin_assets.sources import refuse_strangers
from geopin_assets.variables import PATTERNS, PER_SOURCE, ByProfile, allowed, is_secret, variable_of

HEAD = """# Settings

Made from `geopin_assets/settings.py` by `geopin settings --markdown > docs/settings.md`; a test compares them.
`geopin settings` prints what is in force and where it comes from, secrets masked.

All settings are environment variables. Blanks, line ends and one pair of quotes around a value do not belong to it, and
a variable that is set to nothing is as if unset. A value that is not allowed is refused by the name of its variable,
and so is a `GEOPIN_` variable that does not exist, with the nearest that does (`GEOPIN_TEST_` ones are for tests).
Secrets are read from the environment only, and are never printed, logged or shown in the UI.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One variable: its value as a person writes it, where that comes from, and what is wrong with it."""

    section: str
    variable: str
    value: str
    origin: str
    """environment · profile (its default for this profile) · default"""
    is_secret: bool
    wrong: str


def print_settings(settings: Settings, *, is_json: bool) -> None:
    """Every variable in force. Raises ConfigurationError for a rate or budget of a source that does not exist."""
    refuse_strangers(settings)
    rows = [asdict(row) for row in (*_fields(settings), *_per_source(settings))]
    print_facts(rows, is_json, _show)


def _show(rows: Sequence[Facts]) -> None:
    for section in dict.fromkeys(row["section"] for row in rows):
        of_section = (row for row in rows if row["section"] == section)
        shown = [(row["variable"], row["value"], row["wrong"] or row["origin"]) for row in of_section]
        print_table(section, ("variable", "value", "from"), shown)


def markdown() -> str:
    """The page `docs/settings.md`."""
    meanings, lines = _meanings(), [HEAD]
    for section in SECTIONS:
        lines += [f"## {_heading(section)}", "", "| variable | meaning | choose | default |", "|---|---|---|---|"]
        for variable, field in _of(section):
            lines.append(f"| `{variable}` | {meanings[variable]} | {allowed(field)} | {_default(field)} |")
        lines.append("")
    lines += ["## Each source", "", "| variable | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {meaning} |" for name, meaning in PATTERNS.items()), ""])


def _fields(settings: Settings) -> Iterator[Row]:
    wrong = settings.wrong
    for section in SECTIONS:
        for variable, field in _of(section):
            name = module.VARIABLES[variable]
            origin = "profile" if isinstance(field.default_factory, ByProfile) else "default"
            origin = "environment" if settings.is_set(variable) else origin
            value = _shown(getattr(settings, name))
            yield Row(_heading(section), variable, value, origin, is_secret(field), wrong.get(variable, ""))


def _per_source(settings: Settings) -> Iterator[Row]:
    for variable in sorted(filter(PER_SOURCE.fullmatch, settings.variables)):
        if settings.is_set(variable):
            yield Row("Each source", variable, settings.variables[variable].strip(), "environment", False, "")


def _of(section: type[Any]) -> list[tuple[str, FieldInfo]]:
    """The variables that a section itself declares."""
    fields = {name: field for name, field in section.model_fields.items() if name in section.__annotations__}
    return [(variable_of(name, field), field) for name, field in fields.items() if not field.exclude]


def _heading(section: type[Any]) -> str:
    return (section.__doc__ or "").partition(".")[0]


def _meanings() -> dict[str, str]:
    """What stands below each field, by its variable."""
    said = {}
    for declared in ast.walk(ast.parse(inspect.getsource(module))):
        for field, text in pairwise(declared.body if isinstance(declared, ast.ClassDef) else ()):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                said[ast.unparse(field.target)] = _text(text)
    return {variable: said[name] for variable, name in module.VARIABLES.items()}


def _text(statement: ast.Expr) -> str:
    return " ".join(str(ast.literal_eval(statement.value)).split())


def _default(field: FieldInfo) -> str:
    if isinstance(field.default_factory, ByProfile):
        others = [f"{_code(value)} ({profile})" for profile, value in field.default_factory.profiles.items()]
        return ", ".join([_code(field.default_factory.others), *others])
    return "see meaning" if field.default_factory else _code(field.default)


def _code(value: object) -> str:
    return f"`{shown}`" if (shown := _shown(value)) else "none"


def _shown(value: object) -> str:
    """A value as a person writes it; nothing that opens a door."""
    if isinstance(value, SecretStr):
        return "***" if value else ""
    if isinstance(value, tuple | frozenset):
        return ", ".join(_shown(item) for item in (sorted(value) if isinstance(value, frozenset) else value))
    if value is None or isinstance(value, bool | float):
        return "" if value is None else f"{value:.0f}" if value == round(value) else f"{value:g}"
    return re.sub(r"(?<=//)[^/@\s]*@", "***@", str(value))
