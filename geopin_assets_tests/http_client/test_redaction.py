import base64
import html
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import quote

import pytest

from geopin_assets.errors import GeoPinError
from geopin_assets.http_client import HttpClient
from geopin_assets.http_client.redaction import Redactor
from geopin_assets_tests.growth import MOST, growth


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET /x?access_token=abc&limit=5", "GET /x?access_token=***&limit=5"),
        ("wskey=abc", "wskey=***"),
        ('{"api_key": "abc"}', '{"api_key": "***"}'),
        ("X-Api-Key: abc", "X-Api-Key: ***"),
        ("Authorization: OAuth MLY|1|2", "Authorization: ***"),
        ("X-Amz-Signature=abc&X-Amz-Credential=d/e", "X-Amz-Signature=***&X-Amz-Credential=***"),
        ("answered 400 Parameter limit must be a number", "answered 400 Parameter limit must be a number"),
        ("author: Anna", "author: Anna"),
        ("detail: access_token=abc", "detail: access_token=***"),
        (r'{"said": "{\"token\": \"a\\b\"}"}', r'{"said": "{\"token\": \"***\"}"}'),
    ],
)
def test_values_of_token_like_parameters_are_masked(text: str, clean: str):
    assert Redactor()(text) == clean


def test_known_secrets_are_masked_in_any_spelling():
    redact = Redactor(["a b/c", "abcd", "ab"])
    assert redact("a b/c a%20b%2Fc a+b%2Fc abcd ab") == "*** *** *** *** ab"


def test_an_answer_never_holds_what_it_repeats_of_our_secrets():
    secret = "ab/c+very=secret"
    redact = Redactor([secret, "short"])
    for spelled in (secret, "ab%2Fc%2Bvery%3Dsecret", "ab\\/c+very=secret"):
        assert redact.body(f'{{"key": "{spelled}"}}'.encode()) == b'{"key": "***"}'
    assert redact.body(b'{"street": "short street"}') == b'{"street": "short street"}'


def _every(write: Callable[[str], str]) -> Callable[[str], str]:
    return lambda secret: "".join(map(write, secret))


def _folded(end: str) -> Callable[[str], str]:
    return lambda secret: end.join(secret[at : at + 5] for at in range(0, len(secret), 5))


SECRET = "MLY|123/ab+c=d-e_f&g"


@pytest.mark.parametrize(
    "spell",
    [
        json.dumps,
        lambda secret: json.dumps(json.dumps(secret)),
        lambda secret: secret.replace("/", "\\/"),
        lambda secret: secret.replace("/", "\\\\\\/"),
        _every(lambda c: f"\\u{ord(c):04x}"),
        _every(lambda c: f"\\u{ord(c):04X}" if c in "/+=&|" else c),
        lambda secret: quote(secret, safe=""),
        lambda secret: quote(quote(secret, safe=""), safe=""),
        _every(lambda c: f"%{ord(c):02x}"),
        html.escape,
        lambda secret: html.escape(html.escape(secret)),
        _every(lambda c: f"&#{ord(c)};"),
        _every(lambda c: f"&#x{ord(c):X};"),
        lambda secret: secret.replace("/", "&sol;").replace("=", "&equals;"),
        _every(lambda c: f"\\x{ord(c):02x}"),
        lambda secret: secret.encode().hex(),
        lambda secret: secret.encode().hex().upper(),
        str.upper,
        _folded("\n"),
        _folded("\r\n\t"),
        _folded("\\n"),
        _folded("%0D%0A"),
        lambda secret: _folded("\n")(base64.b64encode(secret.encode() * 3).decode()),
    ],
)
def test_a_secret_is_masked_however_a_server_spells_it(spell: Callable[[str], str]) -> None:
    spelled, redact = spell(SECRET), Redactor([SECRET])
    body = redact.body(f"[before {spelled} after]".encode())
    assert re.fullmatch(rb'\[before[ "\\]*(\*\*\*\w?)+[= "\\]*after\]', body)
    assert re.fullmatch(r'said[ "\\]*(\*\*\*\w?)+[= "\\]*\.', redact(f"said {spelled}."))


def _echo(request: bytes) -> bytes:
    return request.replace(b"HTTP/1.1", b"")


@pytest.mark.parametrize(
    "answer",
    [
        _echo,
        lambda request: b"HTTP/1.1 abc " + _echo(request),
        lambda request: b"HTTP/1.1 200 OK\r\nbad header " + _echo(request),
        lambda request: b"HTTP/1.1 400 " + _echo(request).partition(b"\r\n")[0] + b"\r\nContent-Length: 0\r\n\r\n",
        lambda request: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _echo(request),
        lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + _echo(request),
        lambda request: b"HTTP/1.1 200 OK\r\nContent-Type: " + b"x" * 90 + SECRET.encode() + b"\r\n\r\nno JSON",
        lambda request: b"HTTP/1.1 200 OK\r\nContent-Encoding: " + b"x" * 40 + SECRET.encode() + b"\r\n\r\nno JSON",
    ],
)
def test_neither_logs_nor_any_error_of_a_chain_hold_what_a_server_repeats(
    answer: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """In whatever is no proper answer, over a real socket; the key is in path, query and header."""
    caplog.set_level(logging.DEBUG)
    with (
        answering(answer) as url,
        HttpClient("s", secrets=[SECRET], attempts=1, headers={"X-Key": SECRET}) as client,
        pytest.raises(GeoPinError) as caught,
    ):
        client.get_json(f"{url}/{quote(SECRET, safe='')}", params={"key": SECRET})
    said, error = [caplog.text, *traceback.format_exception(caught.value)], caught.value
    while error := error.__cause__ or error.__context__:
        said += [repr(error), repr(getattr(error, "_request", None))]
    for spelled in (SECRET, SECRET[:10], quote(SECRET), quote(SECRET, safe="")):
        assert not [text for text in said if spelled in text]


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """The address of a server that answers each request with bytes, and ends."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer(self.request.recv(65536)))

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("before", ["", "u", "me", "you", "user:", "Basic user@x:"])
@pytest.mark.parametrize("after", ["", ":", "xy", "abc"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_masked_inside_base64(before: str, after: str, encode: Callable[[bytes], bytes]) -> None:
    secret = "\u00ffMLY|123?>~~~abcdefgh"
    said = encode((before + secret + after).encode())
    for masked in (Redactor([secret]).body(said), Redactor([secret])(said.decode()).encode()):
        assert b"***" in masked
        assert len(masked) <= len(said) - len(secret) + 3 + 4


@pytest.mark.parametrize(
    "grain",
    [
        "m\n",
        "MLY|\n" + "a\\n" * 39,
        "token",
        "token ",
        "a=",
        "token='",
        "\\",
        "&amp;",
        "a" * 39 + " ",
        "%25",
        "bearer ",
        '"',
        "key=bearer ",
    ],
)
def test_masking_takes_time_in_proportion_to_the_text(grain: str) -> None:
    redact = Redactor(["MLY|" + "a" * 40])
    assert growth(redact, grain) < MOST
    assert growth(redact.body, grain.encode()) < MOST
