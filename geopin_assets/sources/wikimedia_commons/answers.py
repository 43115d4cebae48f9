"""MediaWiki's answers as a whole: errors that come with status 200, pages in parts, and what to ask next.

Here: pure parsing, and which errors another attempt may cure. Not here: what one page means
(`read.py`), asking.
"""

from collections import UserDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.http_client import AccessDenied, Answer, KeyRefused
from geopin_assets.sources import fields

Page = Any
"""One page as MediaWiki words it; nothing about it is certain."""

_PASSING = (
    *("maxlag", "ratelimited", "readonly", "internal_api_error", "cirrussearch-", "search-backend", "dberror"),
    *("actionthrottled", "timeout", "too-many-requests", "unknownerror"),
)
_REFUSED = ("mwoauth-", "blocked", "autoblocked", "globalblocking", "readapidenied", "permissiondenied")
_BESIDE_NOTHING = {"batchcomplete", "continue", "warnings", "limits", "servedby", "curtimestamp"}
_DEFAULT_WAIT_S = {"maxlag": 5.0, "ratelimited": 60.0}


class BoxRefused(PermanentError):
    """The server finds a box too big."""


@dataclass(frozen=True, slots=True)
class Part:
    """One answer of a query: pages with some of their properties, and the parameters that bring more of them."""

    pages: list[Page]
    following: dict[str, str]


class Pages(UserDict[str, Page]):
    """Pages by `page_key`, each put together from the answers it was in."""

    def add(self, pages: Iterable[Page]) -> None:
        """Lists (coordinates, imageinfo) are joined without repeating; anything else is the newest."""
        for page in pages:
            key = page_key(page)
            known = self.data.get(key)
            self.data[key] = _merged(known, page) if isinstance(known, dict) else page


def page_key(page: Page) -> str:
    """What makes a page the same in two answers: its id, else its whole content."""
    return fields.record_key(page, "pageid")


def judge(answer: Answer) -> GeoPinError | None:
    """The error in an answer with status 200, classed by what another attempt would change."""
    if answer.status != 200:
        return None
    try:
        error = fields.mapping(answer.json()).get("error")
    except GeoPinError:
        return None  # not JSON: the usual rules
    if error is None:
        return None
    code, info = (fields.text(fields.mapping(error).get(key)) or "" for key in ("code", "info"))
    said = f"failed with {code or 'an error without a code'}: {info[:200]}"
    if code.startswith(_PASSING):
        stated = answer.headers.get("retry-after", "")
        wait_s = float(stated) if stated.isdecimal() else _DEFAULT_WAIT_S.get(code)
        return TransientError(said, retry_after_s=wait_s)
    if code.startswith("mwoauth-"):
        return KeyRefused(f"GEOPIN_WIKIMEDIA_COMMONS_TOKEN is not accepted: {said}")
    if code.startswith(_REFUSED):
        return AccessDenied(said)
    return BoxRefused(said) if code == "toobig" else PermanentError(said)


def parse_answer(answer: Any) -> Part:
    """Raises PayloadError for an answer that is neither continued nor says that it is complete."""
    answer = fields.mapping(answer)
    following = _following(answer["continue"]) if "continue" in answer else {}
    if not following and answer.get("batchcomplete") is not True:
        raise PayloadError("wikimedia_commons: an answer that is neither complete nor continued")
    if "query" not in answer and _BESIDE_NOTHING.issuperset(answer):
        return Part([], following)
    pages = fields.mapping(answer.get("query")).get("pages")
    if not isinstance(pages, list):
        raise PayloadError("wikimedia_commons: an answer without a list of pages")
    return Part(pages, following)


def without_history(following: dict[str, str], pages: Collection[Page]) -> dict[str, str]:
    """What to ask next, without the older versions of a file that is alone in its answer."""
    if "iistart" not in following or not all("imageinfo" in fields.mapping(page) for page in pages):
        return following
    rest = {key: value for key, value in following.items() if key != "iistart"}
    return rest if set(rest) != {"continue"} else {}


def _following(value: Any) -> dict[str, str]:
    parts = fields.mapping(value)
    texts = {key: str(part) for key, part in parts.items() if isinstance(part, str | int)}
    if not texts or len(texts) < len(parts) or not all(key.endswith(("continue", "iistart")) for key in texts):
        raise PayloadError("wikimedia_commons: a continuation that cannot be followed")
    return texts


def _merged(known: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    result = {**known, **page}
    for key, value in known.items():
        more = page.get(key)
        if isinstance(value, list) and isinstance(more, list):
            result[key] = [*value, *(item for item in more if item not in value)]
    return result
