"""Europeana's answers as a whole: errors, and pages of a search.

Here: pure parsing. Not here: one item (`europeana_record.py`), asking (`europeana.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.http_client import Answer, KeyRefused
from geopin_assets.sources import fields

_KEY_CODES = ("400-AM", "401", "403", "410")  # 400-AM: no key; 410: one that was withdrawn


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search, its records unchecked. `total` is of the whole query."""

    records: list[Any]
    total: int
    next_cursor: str | None


def judge(answer: Answer) -> GeoPinError | None:
    """The error in an answer that says `success: false`, whatever its status."""
    body = _body(answer)
    if body.get("success") is not False and answer.status not in (401, 403):
        return None
    code = fields.text(body.get("code")) or str(answer.status)
    said = f"{code}: {fields.text(body.get('error')) or 'no message'}"
    if code.startswith(_KEY_CODES) or answer.status in (401, 403):
        return KeyRefused(f"GEOPIN_EUROPEANA_API_KEY is not accepted: {said}")
    if answer.status == 429 or answer.status >= 500:
        return None  # the usual rules know how long to wait
    return TransientError(said) if code.startswith(("429", "5")) else PermanentError(said)


def parse_page(answer: Any) -> Page:
    """Raises PayloadError for another shape."""
    answer = fields.mapping(answer)
    records, total = answer.get("items"), answer.get("totalResults")
    if answer.get("success") is not True or not isinstance(records, list):
        raise PayloadError("europeana: an answer without success and a list of items")
    if not isinstance(total, int) or isinstance(total, bool):
        raise PayloadError("europeana: a page without the total number of results")
    cursor = answer.get("nextCursor")
    if cursor is not None and not (isinstance(cursor, str) and cursor.isprintable()):
        raise PayloadError("europeana: a next page that cannot be asked for")
    return Page(records, total, cursor or None)


def _body(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of an answer, or an empty one for errors in other words."""
    try:
        return fields.mapping(answer.json())
    except GeoPinError:
        if answer.status == 200:
            raise
        return {}
