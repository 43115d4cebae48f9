"""What thinning would cost: the answers of an evaluation as they would be without what it would leave out.

A match that would be thinned is passed over, and the next one is the answer: exact as long as one of the matches stays.
Here: recall beside that of all references, with the interval of the difference. Not here: which captures are thinned
(`store/thinning.py`), or asking (`evaluation.py`).
"""

from collections.abc import Mapping, Sequence, Set

import numpy as np
import polars as pl

from geopin_assets.locate.evaluation import Answer
from geopin_assets.locate.resampling import interval
from geopin_assets.locate.terms import SAME_PLACE_M
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.thinning import THINNING_COLUMNS, decided

DISTANCES_M = (5.0, 10.0, 15.0)
COSTS_SCHEMA = pl.Schema(
    {
        **{"within_m": pl.Float64(), "left_out": pl.Float64(), "recall": pl.Float64()},
        **{"change": pl.Float64(), "change_low": pl.Float64(), "change_high": pl.Float64()},
    }
)
"""`left_out`: share of the matches; `recall`: of solvable questions, right within 25 m at once, and its change."""
_DRIVES = f"""select {", ".join(THINNING_COLUMNS)}, cell_id from captures semi join (
    select cell_id, source, sequence_id from captures where capture_id in (select unnest(?::varchar[]))
) using (cell_id, source, sequence_id)"""  # noqa: S608


def costs(answers: Sequence[Answer], catalog: Catalog) -> pl.DataFrame:
    """A row for each distance; none without solvable questions. `catalog`: with nothing thinned."""
    asked = [answer for answer in answers if answer.question.is_solvable and answer.found]
    if not asked:
        return COSTS_SCHEMA.to_frame()
    ids = {capture_id for answer in asked for capture_id, _ in answer.found}
    drives = catalog.query(_DRIVES, [sorted(ids)])
    groups, plain = [answer.question.group for answer in asked], _right(asked, frozenset())
    rows = []
    for within_m in DISTANCES_M:
        out = frozenset(drives.filter(decided(drives, within_m).is_not_null())["capture_id"])
        right = _right(asked, out)
        change = right - plain
        low, high = interval(groups, lambda n, change=change: float(change[n].mean()))  # type: ignore[misc]
        rows.append((within_m, len(ids & out) / len(ids), float(right.mean()), float(change.mean()), low, high))
    return pl.DataFrame(rows, COSTS_SCHEMA, orient="row")


def _right(answers: Sequence[Answer], out: Set[str]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Whether each is right when these captures are not there, as a number."""
    return np.array([_first(dict(answer.found), out) <= SAME_PLACE_M for answer in answers], dtype=np.float64)


def _first(found: Mapping[str, float], out: Set[str]) -> float:
    return next((error_m for capture_id, error_m in found.items() if capture_id not in out), float("inf"))
