"""The record and the ids that are derived from it."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.capture import MAX_VECTOR_ID_BYTES, Capture, addresses, in_turn, vector_id
from geopin_assets_tests.factories import capture

SOURCES = st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True)
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
IDS = st.text(CHARACTERS, min_size=1, max_size=30) | st.text(CHARACTERS, min_size=30, max_size=90)
CAPTURE_IDS = st.builds("{}:{}".format, SOURCES, IDS)
VIEWS = st.integers(0, 11)


def test_a_capture_id_names_source_and_capture() -> None:
    assert capture("a1", source="panoramax").capture_id == "panoramax:a1"


def test_every_column_is_described() -> None:
    assert [field.name for field in fields(Capture) if len(field.metadata["description"]) < 15] == []


def test_a_short_id_is_readable_in_its_vector_id() -> None:
    assert vector_id("panoramax:a1", 3) == "panoramax:a1/03"


@pytest.mark.parametrize(("length", "is_plain"), [(MAX_VECTOR_ID_BYTES - 3, True), (MAX_VECTOR_ID_BYTES - 2, False)])
def test_an_id_is_replaced_only_when_it_would_not_fit(length: int, is_plain: bool) -> None:
    capture_id = "source:".ljust(length, "x")
    assert vector_id(capture_id, 0).startswith(capture_id) is is_plain
    assert vector_id(capture_id, 0).startswith("source:")


@given(CAPTURE_IDS, VIEWS)
def test_a_vector_id_fits_the_limit_in_bytes_and_says_its_view(capture_id: str, view: int) -> None:
    found = vector_id(capture_id, view)
    assert len(found.encode()) <= MAX_VECTOR_ID_BYTES
    assert found.endswith(f"/{view:02d}")


@given(st.lists(st.tuples(CAPTURE_IDS, VIEWS), unique=True, max_size=30))
def test_different_captures_or_views_never_share_a_vector_id(pairs: list[tuple[str, int]]) -> None:
    assert len({vector_id(*pair) for pair in pairs}) == len(pairs)


@given(SOURCES, IDS, IDS, VIEWS)
def test_long_ids_that_differ_only_at_the_end_stay_apart(source: str, one: str, other: str, view: int) -> None:
    start = f"{source}:{'x' * MAX_VECTOR_ID_BYTES}"
    assert (vector_id(start + one, view) == vector_id(start + other, view)) is (one == other)


@pytest.mark.parametrize(
    ("image_url", "looked_for"),
    [
        (in_turn("https://a.example/1.jpg"), ["https://a.example/1.jpg"]),
        (in_turn("https://a.example/1.jpg", "https://b.example/2.jpg"), ["https://a.example/1.jpg", "https://b.example/2.jpg"]),
        ("https://a.example/1.jpg#top", ["https://a.example/1.jpg"]),
        ("own-photos:a%23b.jpg", ["own-photos:a%23b.jpg"]),
        ("mapillary:5", ["mapillary:5"]),
    ],
)  # fmt: skip
def test_a_second_address_of_an_image_is_kept_behind_the_first(image_url: str, looked_for: list[str]):
    assert addresses(image_url) == looked_for
