"""Keep secrets out of messages and logs.

Here: which values are secret and how text is cleaned of them. Not here: where secrets are used.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

_SECRET_NAME = re.compile(r"token|key|secret|passw|auth(?!or)|signature|credential", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"([\w.\-]*(?:token|key|secret|passw\w*|authorization|signature|credential)[\w.\-]*[\"']?\s*[=:]\s*[\"']?)"
    r"((?:bearer|oauth|basic)\s+)?[^\s&\"',;}]+",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 4  # replacing shorter strings would garble ordinary words
MASK = "***"


def secret_values(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Values of all settings whose name says that they are secret (…_KEY, …_TOKEN and the like)."""
    return tuple(value for name, value in variables.items() if value and _SECRET_NAME.search(name))


class Redactor:
    """Replaces known secrets, and the values of token-like parameters, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {
            form for s in secrets if len(s) >= _SHORTEST_SECRET for form in (s, quote(s, safe=""), quote_plus(s))
        }
        self._spellings = sorted(spellings, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return _ASSIGNMENT.sub(rf"\1{MASK}", text)
