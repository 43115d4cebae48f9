"""Keep secrets out of messages and logs.

Here: which values are secret, how text is cleaned of them, and what httpx logs. Not here: where secrets are used.
Everything here takes time in proportion to the text, whatever the text: much of it is written by strangers.
"""

import base64
import html.entities
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import httpx

_NAME = re.compile(r"(?<![\w.\-])([\w.\-]++)[\\\"']*+\s*+[=:]\s*+[\\\"']*+")
_VALUE = re.compile(r"(?:(?:bearer|oauth|basic)\s++)?+(?:[^\s&\"',;}\\]++|\\++(?![\"']))++", re.IGNORECASE)
"""A name that a value is given to, and the value. Nothing is taken back (++), and no name begins within another."""
_SECRET_NAME = re.compile("token|key|secret|passw|authorization|signature|credential", re.IGNORECASE)
_SHORTEST_SECRET = 4  # replacing shorter strings would garble ordinary words
_SHORTEST_IN_BODY = 8  # no key is shorter, and data must not be garbled
_ESCAPES = re.compile(rb"[\\%&]")
MASK = "***"


class Redactor:
    """Replaces known secrets, however they are spelled, and the values of token-like parameters, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = [_Secret.of(secret) for secret in known]

    def body(self, body: bytes) -> bytes:
        """An answer without what the server repeats of our own secrets: nothing that is stored can hold them."""
        may_be_escaped = _ESCAPES.search(body) is not None
        for secret in self._secrets:
            if secret.length >= _SHORTEST_IN_BODY:
                body = secret.masked_in(body, may_be_escaped=may_be_escaped)
        return body

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = secret.masked_in(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")
        return _without_assigned(text)


@dataclass(frozen=True)
class _Secret:
    length: int
    plain: tuple[bytes, ...]
    """As it is, and as part of what is encoded in base64."""
    escaped: re.Pattern[bytes]
    """Each character as it is or escaped."""

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, secret: str) -> Self:
        """Whatever is known of a secret's spellings; a pattern takes milliseconds to make."""
        data = secret.encode(errors="surrogatepass")
        return cls(len(secret), (data, *_in_base64(data)), re.compile("".join(map(_character, secret)).encode()))

    def masked_in(self, text: bytes, *, may_be_escaped: bool = True) -> bytes:
        for spelling in self.plain:
            text = text.replace(spelling, MASK.encode())
        return self.escaped.sub(MASK.encode(), text) if may_be_escaped else text


def _without_assigned(text: str) -> str:
    parts, done = [], 0
    for found in _NAME.finditer(text):
        if found.start() >= done and _SECRET_NAME.search(found[1]) and (value := _VALUE.match(text, found.end())):
            parts += [text[done : found.end()], MASK]
            done = value.end()
    return "".join((*parts, text[done:]))


def _character(character: str) -> str:
    """A character as it is, or as JSON, URLs (also quoted twice) and HTML escape it.

    Every form begins with a letter of its own, so that the places where a secret may begin are found fast.
    """
    code = ord(character)
    utf_8, utf_16 = character.encode(errors="surrogatepass"), character.encode("utf-16-be", errors="surrogatepass")
    in_json = "".join(rf"\\\\{{0,3}}u{_hex(utf_16[at : at + 2])}" for at in range(0, len(utf_16), 2))
    in_url = "".join(f"%(?:25){{0,2}}{_hex(bytes([byte]))}" for byte in utf_8)
    names = (name.rstrip(";") for name, meant in html.entities.html5.items() if meant == character)
    in_html = "|".join((f"#0{{0,5}}{code}", f"#[xX]0{{0,5}}{_hex(code.to_bytes(4)).lstrip('0')}", *names))
    plain = re.escape(character)
    forms = [plain, in_json, in_url, rf"&(?:amp;){{0,2}}(?:{in_html});?"]
    forms += [rf"\\\\{{0,3}}{plain}"] if not character.isalnum() else []
    forms += [r"\+"] if character == " " else []
    return f"(?:{'|'.join(forms)})"


def _hex(data: bytes) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in data.hex())


def _in_base64(data: bytes) -> Iterator[bytes]:
    """Wherever the secret begins in what was encoded, without the characters that its neighbors change."""
    for before in range(3):
        bits = 8 * (before + len(data))
        inner = base64.b64encode(b"\0" * before + data)[-(-8 * before // 6) : bits // 6]
        yield from {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}


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
