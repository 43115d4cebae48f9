"""Flickr's answers as a whole: errors that come with status 200, pages of a search, the table of licenses.

Here: pure parsing, and which errors another attempt may cure. Not here: one photo (`flickr_record.py`), asking.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.http_client import Answer, KeyRefused
from geopin_assets.licenses import license_of_url
from geopin_assets.sources import fields

_BAD_KEY, _UNAVAILABLE = 100, (10, 105)
_NAMES = {
    "attribution license": "CC-BY-2.0",
    "attribution-sharealike license": "CC-BY-SA-2.0",
    "cc by 2.0": "CC-BY-2.0",
    "cc by-sa 2.0": "CC-BY-SA-2.0",
    "cc by 4.0": "CC-BY-4.0",
    "cc by-sa 4.0": "CC-BY-SA-4.0",
    "public domain dedication (cc0)": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "public domain mark": "PDM-1.0",
}
_RESTRICTED = re.compile(r"non-?commercial|no-?deriv|\bnc\b|\bnd\b|reserved|restrictions|government", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search, its records unchecked. `total` and `pages` are of the whole query."""

    records: list[Any]
    total: int
    pages: int


def judge(answer: Answer) -> GeoPinError | None:
    """The error in an answer with status 200 that says `stat: fail`."""
    if answer.status != 200:
        return None
    body = fields.mapping(answer.json())
    if body.get("stat") != "fail":
        return None
    code, said = _count(body.get("code")), fields.text(body.get("message")) or "no message"
    if code == _BAD_KEY:
        return KeyRefused(f"GEOPIN_FLICKR_API_KEY is not accepted: {said}")
    error = TransientError if code in _UNAVAILABLE else PermanentError
    return error(f"failed with code {code}: {said}")


def parse_page(answer: Any) -> Page:
    """Raises PayloadError for another shape."""
    photos = fields.mapping(_succeeded(answer).get("photos"))
    records, total, pages = photos.get("photo"), _count(photos.get("total")), _count(photos.get("pages"))
    if not isinstance(records, list) or total is None or pages is None:
        raise PayloadError("flickr: a page without photos, their total and the number of pages")
    return Page(records, total, pages)


def parse_licenses(answer: Any) -> dict[str, str]:
    """Flickr's number of each open license -> our id. Raises PayloadError for another shape or if none is open."""
    listed = fields.mapping(_succeeded(answer).get("licenses")).get("license")
    rows = [fields.mapping(row) for row in listed] if isinstance(listed, list) else []
    table = {id_: ours for row in rows if (id_ := fields.source_id(row.get("id"))) and (ours := _license(row))}
    if not table:
        raise PayloadError(f"flickr: no open license in a table of {len(rows)}")
    return table


def _license(row: Mapping[str, Any]) -> str | None:
    """Our id of a row, by the address of the license, or by its name where there is no address."""
    name, url = fields.text(row.get("name")) or "", fields.text(row.get("url"))
    if _RESTRICTED.search(name):
        return None
    return license_of_url(url) if url else _NAMES.get(name.casefold())


def _succeeded(answer: Any) -> Mapping[str, Any]:
    answer = fields.mapping(answer)
    if answer.get("stat") != "ok":
        raise PayloadError("flickr: an answer that does not say whether it succeeded")
    return answer


def _count(value: Any) -> int | None:
    """A whole number from 0, given as a number or as text."""
    number = fields.number(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None
