"""Runs of the evaluation are kept, and the last one is compared with the one before and with another model's."""

from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from geopin_assets.locate.calibrating import learn
from geopin_assets.locate.evaluation import Answer, Question
from geopin_assets.locate.figures import Figures, figures
from geopin_assets.locate.history import (
    SCHEMA,
    read,
    read_cells,
    record,
    record_cells,
    worse_than_before,
    worse_than_other_model,
)
from geopin_assets_tests.locate.test_confidence import world

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def runs(*told: tuple[str, float]) -> pl.DataFrame:
    """Weekly: of which model, and its recall, which is known to a tenth."""
    rows: list[dict[str, Any]] = [
        dict.fromkeys(SCHEMA, 0)
        | {"at": NOW + timedelta(weeks=week), "model_id": model, "index_version": "v1"}
        | {"recall_1_25m": recall, "recall_low": recall - 0.1, "recall_high": recall + 0.1}
        for week, (model, recall) in enumerate(told)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


@pytest.mark.parametrize(
    ("told", "than_before", "than_other"),
    [
        ([("a", 0.5)], False, False),
        ([("a", 0.5), ("a", 0.41)], False, False),  # within its interval
        ([("a", 0.5), ("a", 0.39)], True, False),
        ([("a", 0.2), ("a", 0.9)], False, False),
        ([("a", 0.5), ("b", 0.39)], False, True),  # another model is not last week's
        ([("a", 0.5), ("b", 0.39), ("b", 0.39)], False, True),
        ([("a", 0.5), ("b", 0.7), ("b", 0.55)], True, False),
        ([("a", 0.9), ("a", 0.5), ("b", 0.45)], False, False),  # beside what it replaces, not beside its best week
    ],
)
def test_a_run_is_worse_where_it_finds_less_beyond_its_interval(
    told: list[tuple[str, float]], than_before: bool, than_other: bool
) -> None:
    kept = runs(*told)
    assert (bool(worse_than_before(kept)), bool(worse_than_other_model(kept))) == (than_before, than_other)
    for text in filter(None, (worse_than_before(kept), worse_than_other_model(kept))):
        assert f"right at once {told[-1][1]:.1%} (" in text and "2026-" in text


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    """Of an invented world, each with what would have been answered elsewhere."""
    terms, error_m, covered = world(500, seed=8)
    row = {"source": "a", "covered_by": '["a", "b"]', "cell_id": "here"}
    asked = [Question(row | {"capture_id": f"a:{n}"}, str(n // 2), np.zeros((1, 1), np.float32)) for n in range(500)]
    elsewhere = cycle(terms[n] for n in np.flatnonzero(~covered))
    return [
        Answer(asked[n], {}, terms[n], (error_m[n],), nowhere=Answer(asked[n], {}, next(elsewhere), (9e6,)))
        for n in np.flatnonzero(covered)
    ]


@pytest.fixture(scope="module")
def told(answers: list[Answer]) -> Figures:
    return figures(learn(answers), "a")


def test_figures_are_what_the_answers_are(answers: list[Answer], told: Figures) -> None:
    right = np.array([answer.error_m <= 25 for answer in answers])
    assert told.answers == told.solvable == len(answers)
    assert told.recall["1@25"] == right.mean()
    assert told.intervals["recall"][0] < right.mean() < told.intervals["recall"][1]
    assert told.nowhere == right.sum() and told.false_found <= 0.03
    assert told.ece <= 0.08 and abs(told.inside_radius - 0.68) <= 0.07
    assert told.found_right >= 0.9 and told.auprc >= 0.9
    assert sorted(told.risk_at.values()) == list(told.risk_at.values()), "the surer, the fewer wrong"
    assert told.risk_at["100%"] == pytest.approx(1 - right.mean())
    assert told.gains["points"].is_shown and told.gains["agreement"].low <= told.gains["agreement"].area
    assert told.recall_by_points is None and told.reordering_gain is None, "nothing was found in their order"


def test_runs_and_failures_of_cells_add_up(answers: list[Answer], told: Figures, tmp_path: Path) -> None:
    assert read(tmp_path).is_empty() and read_cells(tmp_path).is_empty()
    for week in range(2):
        kept = record(tmp_path, told, model_id="a", index_version=f"v{week}", now=NOW + timedelta(weeks=week))
    assert read(tmp_path).equals(kept) and kept["index_version"].to_list() == ["v0", "v1"]
    assert kept["recall_1_25m"].to_list() == [told.recall["1@25"]] * 2
    assert kept["agreement_gain"].to_list() == [told.gains["agreement"].area] * 2
    assert not kept.null_count().sum_horizontal().item()
    record_cells(tmp_path, answers)
    failed = sum(answer.error_m > 25 for answer in answers)
    assert record_cells(tmp_path, answers).rows() == [("here", 2 * len(answers), 2 * failed)]
