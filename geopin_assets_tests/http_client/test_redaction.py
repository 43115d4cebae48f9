import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

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
    ],
)
def test_a_secret_is_masked_however_a_server_spells_it(spell: Callable[[str], str]) -> None:
    spelled, redact = spell(SECRET), Redactor([SECRET])
    body = redact.body(f"[before{spelled}after]".encode())
    assert body.replace(b'"', b"").replace(b"\\", b"") == b"[before***after]"
    assert redact(f"said {spelled}.").replace('"', "").replace("\\", "") == "said ***."


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
    "grain", ["token", "token ", "a=", "token='", "\\", "&amp;", "a" * 39 + " ", "%25", "bearer ", '"', "key=bearer "]
)
def test_masking_takes_time_in_proportion_to_the_text(grain: str) -> None:
    redact = Redactor(["MLY|" + "a" * 40])
    assert growth(redact, grain) < MOST
    assert growth(redact.body, grain.encode()) < MOST
