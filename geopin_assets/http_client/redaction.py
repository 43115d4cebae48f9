"""Keep secrets out of messages and logs.

Here: which values are secret, how text is cleaned of them, and what httpx logs. Not here: where secrets are used.
Everything here takes time in proportion to the text, whatever the text: much of it is written by strangers.
"""

import base64
import html.entities
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
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
_SHORTEST_IN_BODY = 8  # no key is shorter, and data must not be garbled, nor words by what is found over their gaps
_ESCAPES = re.compile(rb"[\\%&]")
_BLANKS = b"\r\n\t "
_BREAKS = (b"\\r", b"\\n", b"%0d", b"%0a")
"""Line ends as they are escaped."""
_FOLD = b"(?:[" + _BLANKS + b"]|" + b"|".join(map(re.escape, _BREAKS)) + b")*+"
MASK = "***"


class Redactor:
    """Replaces known secrets, however they are spelled, and the values of token-like parameters, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = [_Secret.of(secret) for secret in known]
        _sent.update(known)

    def body(self, body: bytes) -> bytes:
        """An answer without what the server repeats of our own secrets: nothing that is stored can hold them."""
        return _masked(body, [secret for secret in self._secrets if secret.length >= _SHORTEST_IN_BODY])

    def __call__(self, text: str) -> str:
        masked = _masked(text.encode(errors="surrogatepass"), self._secrets)
        return _without_assigned(masked.decode(errors="surrogatepass"))

    def error(self, error: BaseException) -> None:
        """Clean what an error of a library, and what led to it, say of the request and repeat of its answer."""
        link: BaseException | None = error
        while link is not None:
            link.args = tuple(self(arg) if isinstance(arg, str) else arg for arg in link.args)
            if hasattr(link, "_request"):
                link._request = None
            link = link.__cause__ or link.__context__


@dataclass(frozen=True)
class _Secret:
    length: int
    plain: tuple[bytes, ...]
    """As it is, and as part of what is encoded in base64."""
    escaped: re.Pattern[bytes]
    """Each character as it is or escaped."""
    flat: tuple[bytes, ...]
    """As it is, in base64 and in hexadecimal digits, in lower case and without line ends and blanks."""
    folded: re.Pattern[bytes]
    """The same in any case and over any number of lines."""

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, secret: str) -> Self:
        """Whatever is known of a secret's spellings; a pattern takes milliseconds to make."""
        data = secret.encode(errors="surrogatepass")
        plain = (data, *_in_base64(data))
        flat = tuple({_flat(one) for one in (*plain, data.hex().encode())} if len(secret) >= _SHORTEST_IN_BODY else ())
        escaped = re.compile("".join(map(_character, secret)).encode())
        return cls(len(secret), plain, escaped, flat, re.compile(b"|".join(map(_folded, flat)), re.IGNORECASE))

    def masked_in(self, text: bytes, *, may_be_escaped: bool) -> bytes:
        for spelling in self.plain:
            text = text.replace(spelling, MASK.encode())
        return self.escaped.sub(MASK.encode(), text) if may_be_escaped else text


def _masked(text: bytes, secrets: Sequence[_Secret]) -> bytes:
    may_be_escaped = _ESCAPES.search(text) is not None
    for secret in secrets:
        text = secret.masked_in(text, may_be_escaped=may_be_escaped)
    flat = _flat(text) if secrets else b""
    for secret in secrets:
        if any(spelling in flat for spelling in secret.flat):
            text = secret.folded.sub(MASK.encode(), text)
    return text


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
    in_python = "".join(rf"\\\\{{0,3}}x{_hex(bytes([byte]))}" for byte in utf_8)
    in_url = "".join(f"%(?:25){{0,2}}{_hex(bytes([byte]))}" for byte in utf_8)
    names = (name.rstrip(";") for name, meant in html.entities.html5.items() if meant == character)
    in_html = "|".join((f"#0{{0,5}}{code}", f"#[xX]0{{0,5}}{_hex(code.to_bytes(4)).lstrip('0')}", *names))
    plain = re.escape(character)
    forms = [plain, in_json, in_python, in_url, rf"&(?:amp;){{0,2}}(?:{in_html});?"]
    forms += [rf"\\\\{{0,3}}{plain}"] if not character.isalnum() else []
    forms += [r"\+"] if character == " " else []
    return f"(?:{'|'.join(forms)})"


def _flat(text: bytes) -> bytes:
    text = text.lower().translate(None, _BLANKS)
    for one in _BREAKS if _ESCAPES.search(text) else ():
        text = text.replace(one, b"")
    return text


def _folded(flat: bytes) -> bytes:
    return _FOLD.join(re.escape(bytes([byte])) for byte in flat)


def _hex(data: bytes) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in data.hex())


def _in_base64(data: bytes) -> Iterator[bytes]:
    """Wherever the secret begins in what was encoded, without the characters that its neighbors change."""
    for before in range(3):
        bits = 8 * (before + len(data))
        inner = base64.b64encode(b"\0" * before + data)[-(-8 * before // 6) : bits // 6]
        yield from {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}


_sent: set[str] = set()
"""What the clients of this process send."""
_hidden_paths: set[str] = set()


def hide_path(path: str) -> None:
    """From now on this path is in no log of requests: as in a webhook's address, it is the secret itself."""
    _hidden_paths.add(path)


class _WithoutSecrets(logging.Filter):
    """httpx logs whole URLs at INFO, and its sockets every header at DEBUG: what we sent, and what answers repeat."""

    def filter(self, record: logging.LogRecord) -> bool:
        import httpx

        if isinstance(record.args, tuple):
            record.args = tuple(_plain(a) if isinstance(a, httpx.URL) else a for a in record.args)
        record.msg, record.args = Redactor(tuple(_sent))(record.getMessage()), ()
        return True


def _plain(url: "httpx.URL") -> "httpx.URL":
    return url.copy_with(query=None, path="/***" if url.path in _hidden_paths else url.path)


for _name in ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
    logging.getLogger(_name).addFilter(_WithoutSecrets())
