"""Copies of one drive count once; what is not known makes nothing a copy."""

from typing import Any

import pytest

from geopin_assets.locate.witnesses import is_copy
from geopin_assets_tests.locate.places import east

AT = "2024-05-01T10:30:15Z"


def match(at_m: float = 0.0, **about: Any) -> dict[str, Any]:
    lon, lat = east(at_m)
    return {"capture_id": f"a:{at_m}", "lon": lon, "lat": lat, "creator": None, "captured_at": None} | about


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"creator": "Anna", "captured_at": AT}, {"creator": "@anna ", "captured_at": "2024-05-01T10:31:10Z"}, True),
        ({"creator": "Anna", "captured_at": AT}, {"creator": "Anna", "captured_at": "2024-05-01T10:31:16Z"}, False),
        ({"creator": "Anna", "captured_at": AT}, {"creator": "Bert", "captured_at": "2024-05-01T10:30:20Z"}, False),
        ({"creator": "Anna", "captured_at": AT}, {"creator": None, "captured_at": AT}, True),  # one shutter
        ({"creator": "Anna", "captured_at": AT}, {"creator": "Anna", "captured_at": None}, False),
        ({"creator": "", "captured_at": AT}, {"creator": "", "captured_at": "2024-05-01T10:30:20Z"}, False),
        ({"captured_at": "2024-05-01T00:00:00Z"}, {"captured_at": "2024-05-01T00:00:00Z"}, False),  # mere dates
        ({"captured_at": "2024-05-01T10:30:15.250000Z"}, {"captured_at": "2024-05-01T12:30:15.25+02:00"}, True),
    ],
)
def test_what_makes_a_copy(one: dict[str, Any], other: dict[str, Any], expected: bool) -> None:
    assert is_copy(match(0, **one), match(5, **other)) is expected
    assert is_copy(match(5, **other), match(0, **one)) is expected


def test_one_creator_at_one_moment_in_two_towns_is_two_witnesses() -> None:
    """A clock that stands still, or an account of many people."""
    assert not is_copy(match(0, creator="Anna", captured_at=AT), match(5_000, creator="Anna", captured_at=AT))


def test_a_capture_is_a_copy_of_itself() -> None:
    assert is_copy(match(0), match(0))
