"""When publishing stops because a source lost too much."""

import polars as pl
import pytest

from geopin_assets.quality.losses import described, too_large


def losses(had: int, lost: int) -> pl.DataFrame:
    return pl.DataFrame({"source": ["panoramax"], "had": [had], "lost": [lost]})


@pytest.mark.parametrize(
    ("had", "lost", "limit", "stops"),
    [
        (1000, 200, 0.2, True),
        (1000, 199, 0.2, False),
        (100, 50, 0.2, True),
        (49, 49, 0.2, False),
        (1000, 1000, 1, False),
        (1000, 1000, 0.99, True),
    ],
)
def test_publishing_stops_at_the_share_but_not_for_a_handful(had: int, lost: int, limit: float, stops: bool) -> None:
    assert bool(too_large(losses(had, lost), limit).height) is stops


def test_the_text_names_source_share_and_day() -> None:
    assert (
        described(losses(10_000, 3_125), "2026-11-18")
        == "panoramax lost 3,125 of 10,000 captures (31%) since 2026-11-18"
    )
    assert described(losses(1, 1).clear(), "2026-11-18") == ""
