"""The judgment of references accuses no good one: a real walk, dealt to three sources, where all say the truth.

As each photo's place is known but not where it looks, all are said to look down the street.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.geo import distance_m
from geopin_assets.locate.calibrating import calibrate, learn
from geopin_assets.locate.evaluation import ask
from geopin_assets.locate.judging import UNDECIDED, judge
from geopin_assets_tests.benchmarks.locate_sandbox import Points
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.locate.places import Shown, indexed, questions
from geopin_assets_tests.locate.weights import verifier
from geopin_assets_tests.real.recall import ELSEWHERE, decoded, embedded
from geopin_assets_tests.real.walk import ABSENT, walk

NOW = datetime(2026, 11, 29, tzinfo=UTC)
SOURCES = ("a", "b", "c")

pytestmark = pytest.mark.skipif(not walk() or not IS_LONG, reason=ABSENT if not walk() else "long")


def doubts(folder: Path) -> pl.DataFrame:
    """Of the walk, beside photos of other towns."""
    places = walk()
    files, first = [*places, *ELSEWHERE], next(iter(places.values()))
    pictures = {f"{SOURCES[n % 3]}:{file}": decoded(file) for n, file in enumerate(files)}
    shown = []
    for n, (file, looks) in enumerate(zip(files, embedded(Thumbnail(), pictures.values()), strict=True)):
        at_m = distance_m(*first, *places[file]) if file in places else 5_000.0 * (n + 1)
        taken = NOW - timedelta(days=n)
        shown.append(Shown(file, SOURCES[n % 3], at_m, looks, captured_at=taken))
    index, store = indexed(folder, shown)
    answers = list(ask(questions(shown), index, store, Points(verifier(), pictures).of_question, 10))
    found = judge(answers, calibrate(learn(answers), "test", {}), NOW)
    return found.filter(pl.col("capture_id").str.contains("opensfm_lund"))


def test_of_a_walk_whose_photos_tell_the_truth_none_is_blamed(tmp_path: Path) -> None:
    assert doubts(tmp_path).filter(pl.col("trust") < UNDECIDED).height == 0


if __name__ == "__main__":
    with TemporaryDirectory() as told:
        print(doubts(Path(told)).select("capture_id", "reason", "trust", "says", "off_m", "witnesses"))
