"""What thinning would cost, from answers that were given: matches that would be out are passed over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from geopin_assets.capture import Capture
from geopin_assets.files.object_store import open_store
from geopin_assets.geo import destination
from geopin_assets.locate.evaluation import Answer, Question
from geopin_assets.locate.terms import Terms
from geopin_assets.locate.thinned import costs
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import capture, crawl

HERE = "nh-amsterdam-r090c051"
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def drive() -> list[Capture]:
    """Eight captures, one every 4 m: within 10 m every third is kept, from the newest."""
    places = [destination(4.893, 52.373, 90, 4 * n) for n in range(8)]
    return [
        capture(f"{n}", lon=lon, lat=lat, captured_at=NOON + timedelta(seconds=n))
        for n, (lon, lat) in enumerate(places)
    ]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    raw, catalog = RawStore(open_store(tmp_path / "raw")), Catalog(tmp_path / "catalog.duckdb")
    crawl(raw, HERE, drive())
    catalog.merge([HERE], raw)
    return catalog


def answer(*found: tuple[str, float], covered_by: str = '["mapillary", "panoramax"]') -> Answer:
    row = {"source": "mapillary", "covered_by": covered_by, "capture_id": "mapillary:q"}
    question = Question(row, "one", np.zeros((1, 2), np.float32))
    nothing: Terms = None  # type: ignore[assignment]
    return Answer(question, {}, nothing, tuple(m for _, m in found), tuple((f"panoramax:{n}", m) for n, m in found))


def test_the_next_match_answers_where_the_first_is_thinned(catalog: Catalog) -> None:
    answers = [
        answer(("6", 3.0), ("7", 8.0)),  # the next one is right too
        answer(("5", 3.0), ("4", 90.0)),  # 5 and 4 are between; 4 is a keeper of the distance, and wrong
        answer(("7", 3.0)),
        answer(("5", 3.0)),  # nothing is left of it
        answer(("0", 400.0), covered_by='["mapillary"]'),  # nobody could answer this one
    ]
    table = {row["within_m"]: row for row in costs(answers, catalog).iter_rows(named=True)}
    assert set(table) == {5.0, 10.0, 15.0}
    ten = table[10.0]
    assert (ten["recall"], ten["change"]) == (0.5, -0.5)
    assert ten["change_low"] <= ten["change"] <= ten["change_high"]
    assert ten["left_out"] == 3 / 4 - 1 / 4  # of 4, 5, 6 and 7 two stay: 7 and 4


def test_without_questions_that_can_be_answered_there_is_no_table(catalog: Catalog) -> None:
    assert costs([answer(("0", 1.0), covered_by='["mapillary"]')], catalog).is_empty()
