"""`geopin settings`: every variable, what is in force and where it comes from. Secrets are never shown.

Not here: which variables there are and what they mean (`variables.py`, `docs/settings.md`).
"""

import re
from collections.abc import Iterator, Sequence

from pydantic import SecretStr

from geopin_assets.cli.console import Facts, print_facts, print_table
from geopin_assets.environment import ByProfile, is_secret
from geopin_assets.settings import Settings
from geopin_assets.sources import refuse_strangers
from geopin_assets.variables import PER_SOURCE, SECTIONS, VARIABLES, fields_of, heading


def print_settings(settings: Settings, *, is_json: bool) -> None:
    """Every variable in force. Raises ConfigurationError for a rate or budget of a source that does not exist."""
    refuse_strangers(settings)
    print_facts([*_fields(settings), *_per_source(settings)], is_json, _show)


def shown(value: object) -> str:
    """A value as a person writes it; nothing that opens a door."""
    if isinstance(value, SecretStr):
        return "***" if value else ""
    if isinstance(value, tuple | frozenset):
        return ", ".join(shown(item) for item in (sorted(value) if isinstance(value, frozenset) else value))
    if value is None or isinstance(value, bool | float):
        return "" if value is None else f"{value:.0f}" if value == round(value) else f"{value:g}"
    return re.sub(r"(?<=//)[^/@\s]*@", "***@", str(value))


def _fields(settings: Settings) -> Iterator[Facts]:
    for section in SECTIONS:
        for variable, field in fields_of(section):
            usual = "profile" if isinstance(field.default_factory, ByProfile) else "default"
            yield {
                "section": heading(section),
                "variable": variable,
                "value": shown(getattr(settings, VARIABLES[variable])),
                "origin": "environment" if settings.is_set(variable) else usual,
                "is_secret": is_secret(field),
                "wrong": settings.wrong.get(variable, ""),
            }


def _per_source(settings: Settings) -> Iterator[Facts]:
    for variable in sorted(filter(PER_SOURCE.fullmatch, settings.variables)):
        if settings.is_set(variable):
            value = settings.variables[variable].strip()
            facts = {"section": "Each source", "variable": variable, "value": value, "origin": "environment"}
            yield facts | {"is_secret": False, "wrong": ""}


def _show(rows: Sequence[Facts]) -> None:
    for section in dict.fromkeys(row["section"] for row in rows):
        of_section = (row for row in rows if row["section"] == section)
        found = [(row["variable"], row["value"], row["wrong"] or row["origin"]) for row in of_section]
        print_table(section, ("variable", "value", "from"), found)
