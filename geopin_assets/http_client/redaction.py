"""Keep secrets out of messages and logs.

Here: which values are secret, how text is cleaned of them, and what httpx logs. Not here: where secrets are used.
"""

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    import httpx

_ASSIGNMENT = re.compile(
    r"([\w.\-]*(?:token|key|secret|passw\w*|authorization|signature|credential)[\w.\-]*[\"']?\s*[=:]\s*[\"']?)"
    r"((?:bearer|oauth|basic)\s+)?[^\s&\"',;}]+",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 4  # replacing shorter strings would garble ordinary words
_SHORTEST_IN_BODY = 8  # no key is shorter, and data must not be garbled
MASK = "***"


def _spelled(secret: str) -> tuple[str, ...]:
    """As it is, as URLs quote it, and as some JSON encoders escape it."""
    return secret, quote(secret, safe=""), quote_plus(secret), secret.replace("/", "\\/")


class Redactor:
    """Replaces known secrets, and the values of token-like parameters, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {form for s in secrets if len(s) >= _SHORTEST_SECRET for form in _spelled(s)}
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._bytes = [spelling.encode() for spelling in self._spellings if len(spelling) >= _SHORTEST_IN_BODY]

    def body(self, body: bytes) -> bytes:
        """An answer without what the server repeats of our own secrets: nothing that is stored can hold them."""
        for spelling in self._bytes:
            body = body.replace(spelling, MASK.encode())
        return body

    def __call__(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return _ASSIGNMENT.sub(rf"\1{MASK}", text)


_hidden_paths: set[str] = set()


def hide_path(path: str) -> None:
    """From now on this path is in no log of requests: as in a webhook's address, it is the secret itself."""
    _hidden_paths.add(path)


class _WithoutSecrets(logging.Filter):
    """httpx logs whole URLs at INFO, and queries can hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        import httpx

        if isinstance(record.args, tuple):
            record.args = tuple(_plain(a) if isinstance(a, httpx.URL) else a for a in record.args)
        return True


def _plain(url: "httpx.URL") -> "httpx.URL":
    return url.copy_with(query=None, path="/***" if url.path in _hidden_paths else url.path)


logging.getLogger("httpx").addFilter(_WithoutSecrets())
