"""Keep secrets out of messages and logs.

Here: which values are secret and how text is cleaned of them. Not here: where secrets are used.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

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
