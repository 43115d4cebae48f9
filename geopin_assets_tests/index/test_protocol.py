"""Index names."""

import re

from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.index.protocol import index_name

model_ids = st.text(min_size=1, max_size=120)


def test_a_plain_model_id_is_readable_in_the_name() -> None:
    assert index_name("cosplace-r50-512") == "geopin-cosplace-r50-512-v1"
    assert index_name("cosplace-r50-512", version=12) == "geopin-cosplace-r50-512-v12"


@given(model_ids, st.integers(1, 999))
def test_every_name_is_one_the_service_takes(model_id: str, version: int) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}[a-z0-9]", index_name(model_id, version))


@given(model_ids, model_ids)
def test_two_models_never_share_a_name(one: str, other: str) -> None:
    assert (index_name(one) == index_name(other)) == (one == other)


def test_model_ids_that_differ_only_in_punctuation_or_far_behind_do_not_share_a_name() -> None:
    alike = ["r50_512", "r50-512", "R50-512", "r50--512", "x" * 60 + "1", "x" * 60 + "2"]
    assert len({index_name(model_id) for model_id in alike}) == len(alike)
