import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.capture import Reason, Rejected
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import fields, source_named

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=20,
)


@given(value=anything, other=anything)
def test_no_value_breaks_a_reader(value: object, other: object):
    heading_deg, place, time = fields.heading_deg(value), fields.position(value, other), fields.instant(value)
    assert heading_deg is None or 0 <= heading_deg < 360
    assert place is None or (-180 <= place[0] <= 180 and -90 <= place[1] <= 90)
    assert time is None or time.tzinfo is UTC
    url, id_, text = fields.web_url(value), fields.source_id(value), fields.text(value)
    assert url is None or url.startswith("http")
    assert id_ is None or (1 <= len(id_) <= 200 and id_.isprintable())
    assert text is None or (1 <= len(text) <= 500 and text.isprintable())


@given(record=st.dictionaries(st.text(max_size=20), anything, max_size=10))
def test_every_payload_is_bounded_json(record: dict[str, object]):
    payload = fields.payload(record)
    assert len(payload.encode()) <= fields.MAX_PAYLOAD_BYTES
    assert isinstance(json.loads(payload), dict)


@pytest.mark.parametrize(
    "record",
    [{"a": "x" * 20_000}, {"a": ["x"] * 20_000}, {"a": {"b": "y" * 20_000}}, {f"k{n}": "x" * 100 for n in range(1000)}],
)
def test_a_large_record_says_that_it_was_cut(record: dict[str, object]):
    payload = fields.payload(record)
    assert len(payload) <= fields.MAX_PAYLOAD_BYTES
    assert json.loads(payload)["truncated"] is True


def test_deep_nesting_and_odd_values_are_stored_as_far_as_they_can_be():
    deep: object = 1
    for _ in range(600):
        deep = [deep]
    stored = json.loads(fields.payload({"deep": deep, "huge": 2**70, "half": "\ud800", "nan": float("nan"), "ok": 1}))
    assert (stored["huge"], stored["half"], stored["nan"], stored["ok"]) == (str(2**70), "?", None, 1)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-06-01T08:00:21+00:00", datetime(2024, 6, 1, 8, 0, 21, tzinfo=UTC)),
        ("2024-06-01T10:00:21+02:00", datetime(2024, 6, 1, 8, 0, 21, tzinfo=UTC)),
        ("2024-06-01T10:00:21Z", datetime(2024, 6, 1, 10, 0, 21, tzinfo=UTC)),
        ("2024-06-01 10:00:21", datetime(2024, 6, 1, 8, 0, 21, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("2024-06-31", None),
    ],
)
def test_times_become_utc(text: str, time: datetime | None):
    assert fields.instant(text, zone=ZoneInfo("Europe/Amsterdam")) == time


def test_a_day_of_wrong_zone_is_no_future():
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert fields.plausible(datetime(2026, 11, 22, 13, tzinfo=UTC), now) is not None
    assert fields.plausible(datetime(2026, 11, 24, tzinfo=UTC), now) is None


@pytest.mark.parametrize(
    "value",
    ["http://", "https:///x", "ftp://a/x", "//a/x", "javascript:1", "http://user:pw@a/x", "http://a/ b", "http://[", 5],
)
def test_only_plain_web_addresses_pass(value: object):
    assert fields.web_url(value) is None


@pytest.mark.parametrize("url", [
    "https://anna:pass-word@stac.example/api", "https://stac.example/api?api_key=pass-word", "https://stac.example#pass-word",
    "https://anna:pass-word/more@stac.example", "https://anna%40b:pass-word@stac.example",
])  # fmt: skip
@pytest.mark.parametrize(("name", "variable"), [("stac", "GEOPIN_STAC_URLS"), ("panoramax", "GEOPIN_PANORAMAX_URLS")])
def test_a_password_or_key_in_an_address_is_refused_and_not_repeated(url: str, name: str, variable: str):
    settings = Settings(profile=Profile.LIVE, variables={variable: f"https://fine.example,{url}"})
    reason = source_named(name).disabled_reason(settings) or ""
    assert variable in reason and "address 2" in reason
    assert "pass-word" not in reason and "anna" not in reason


def test_what_code_fails_on_is_a_record_left_out():
    @fields.rejecting
    def parse(record: Any) -> None:
        raise TypeError("bad operand type for abs(): 'bytes'")

    assert parse({"id": 10**5000}) == Rejected(Reason.MALFORMED, "TypeError in int")
    assert parse(b"x") == Rejected(Reason.MALFORMED, "TypeError in None")
    assert fields.payload({"a": b"\xff", "b": 10**5000, b"c": {1, 2}}).startswith('{"a":')


@pytest.mark.parametrize(
    ("url", "root", "own"),
    [
        ("https://a.example/x?y=1", "https://a.example/v1", "https://a.example/x?y=1"),
        ("https://A.Example:443/x", "https://a.example", "https://a.example/x"),
        ("http://a.example/x", "https://a.example", "https://a.example/x"),
        ("http://a.example:80/x", "https://a.example:443", "https://a.example:443/x"),
        ("https://a.example/x", "http://a.example", "http://a.example/x"),
        ("http://a.example:8080/x", "http://a.example:8080", "http://a.example:8080/x"),
        ("https://a.example:8080/x", "http://a.example:8080", "http://a.example:8080/x"),
        ("http://a.example:8080/x", "http://a.example", None),
        ("https://a.example:80/x", "https://a.example", None),
        ("https://b.example/x", "https://a.example", None),
        ("https://a.example@b.example/x", "https://a.example", None),
    ],
)
def test_an_address_is_on_a_host_whatever_its_scheme_and_default_port(url: str, root: str, own: str | None):
    assert fields.on_host_of(url, root) == own


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x?y=1#z", "https://a.example/x?y=1#z"),
        ("https://me:pw@a.example:8443/x", "https://a.example:8443/x"),
        ("https://me@a.example/x", "https://a.example/x"),
        ("https://a.example/x?api_key=s&y=1&token=t", "https://a.example/x?y=1"),
        ("https://a.example/x?X-Amz-Credential=s", "https://a.example/x"),
        ("https://a.example/#focus=pic&pic=5", "https://a.example/#focus=pic&pic=5"),
        ("https://a.example/#access_token=5", "https://a.example/"),
    ],
)
def test_an_address_for_people_opens_no_door(url: str, shown: str):
    assert fields.page_address(url) == shown
