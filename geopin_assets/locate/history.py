"""How good answers were, run by run: what a new one is compared with.

Here: the rows that are kept, and what counts as worse. Not here: figures (`figures.py`), or who judges (`defs/`).
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from geopin_assets.files import parquet

if TYPE_CHECKING:
    from geopin_assets.locate.evaluation import Answer
    from geopin_assets.locate.figures import Figures

SCHEMA = {
    "at": pl.Datetime("us", "UTC"),
    **{"model_id": pl.String(), "index_version": pl.String(), "answers": pl.Int64(), "solvable": pl.Int64()},
    **{"recall_1_25m": pl.Float64(), "recall_low": pl.Float64(), "recall_high": pl.Float64()},
    **{"recall_5_25m": pl.Float64(), "recall_10_25m": pl.Float64(), "recall_1_50m": pl.Float64()},
    **{"median_error_m": pl.Float64(), "auprc": pl.Float64(), "ece": pl.Float64(), "brier": pl.Float64()},
    **{"inside_radius": pl.Float64(), "false_found": pl.Float64(), "found": pl.Float64(), "found_right": pl.Float64()},
    "agreement_gain": pl.Float64(),
    "unshown_found": pl.Float64(),
}
DESCRIPTIONS = {
    "at": "When, UTC",
    "model_id": "Model whose vectors were searched",
    "index_version": "Version of the index that was asked",
    "answers": "Captures that were asked of the other sources",
    "solvable": "Of these, where another source shows the place",
    "recall_1_25m": "Share of the solvable ones whose first match is within 25 m",
    "recall_low": "Lower end of its 95 % interval, over creators and blocks of cells",
    "recall_high": "Upper end",
    "recall_5_25m": "Share of them with one of the first five within 25 m",
    "recall_10_25m": "The same of the first ten",
    "recall_1_50m": "Share of them whose first match is within 50 m",
    "median_error_m": "Distance of the first match from the truth, median of all answers",
    "brier": "Mean squared difference of confidence and what was right",
    "auprc": "Area under precision over recall, ordered by confidence",
    "ece": "Expected calibration error of the confidence",
    "inside_radius": "Share of answers whose error is within their radius; 0.68 is right",
    "false_found": "Share of questions called found where nothing around their place could be searched",
    "unshown_found": "Share of captures called found that no other source shows where they are published",
    "found": "Share of answers called found",
    "found_right": "Of these, right within 25 m",
    "agreement_gain": "By how much agreement of sources raises auprc",
}
FILE, CELLS_FILE = "retrieval.parquet", "retrieval_cells.parquet"
CELLS = {"cell_id": pl.String(), "asked": pl.Int64(), "failed": pl.Int64()}
SAME_PLACE_M = 25.0


def record(folder: Path, figures: "Figures", *, model_id: str, index_version: str, now: datetime) -> pl.DataFrame:
    """Add a run to the file in this folder; all runs, oldest first."""
    told, agreement = figures.recall, figures.gains.get("agreement")
    row = {
        "at": now,
        **{"model_id": model_id, "index_version": index_version},
        **{name: getattr(figures, name) for name in SCHEMA if hasattr(figures, name)},
        **{"recall_1_25m": told["1@25"], "recall_5_25m": told["5@25"], "recall_10_25m": told["10@25"]},
        **{"recall_1_50m": told["1@50"], "recall_low": figures.intervals["recall"][0]},
        **{"recall_high": figures.intervals["recall"][1], "agreement_gain": agreement and agreement.area},
    }
    runs = pl.concat([read(folder), pl.DataFrame([row], schema=SCHEMA)])
    parquet.write_frame(folder / FILE, runs)
    return runs


def record_cells(folder: Path, answers: "Iterable[Answer]") -> pl.DataFrame:
    """Add how many captures of each cell were asked, and not placed right, to the file in this folder; all of it."""
    asked = [(answer.question.row["cell_id"], 1, int(answer.error_m > SAME_PLACE_M)) for answer in answers]
    counted = pl.concat([read_cells(folder), pl.DataFrame(asked, schema=CELLS, orient="row")])
    cells = counted.group_by("cell_id").agg(pl.col("asked", "failed").sum()).sort("cell_id")
    parquet.write_frame(folder / CELLS_FILE, cells)
    return cells


def read_cells(folder: Path) -> pl.DataFrame:
    """The columns of CELLS; none yet where there is no file."""
    return parquet.read_if_there(folder / CELLS_FILE, pl.Schema(CELLS))


def read(folder: Path) -> pl.DataFrame:
    """All runs, oldest first; none yet where there is no file."""
    return parquet.read_if_there(folder / FILE, pl.Schema(SCHEMA))


def worse_than_before(runs: pl.DataFrame) -> str:
    """What the last run found less of than the one of the same model before it, beyond its interval; empty: nothing."""
    *before, last = runs.filter(pl.col("model_id") == runs["model_id"][-1]).tail(2).iter_rows(named=True)
    return _worse(before[0], last) if before else ""


def worse_than_other_model(runs: pl.DataFrame) -> str:
    """The same beside the last run of the model that was used before; empty if there was none."""
    last = runs.row(-1, named=True)
    others = runs.filter(pl.col("model_id") != last["model_id"])
    return _worse(others.row(-1, named=True), last) if others.height else ""


def _worse(before: dict[str, float], last: dict[str, float]) -> str:
    if before["recall_1_25m"] <= last["recall_high"]:
        return ""
    return (
        f"right at once {last['recall_1_25m']:.1%} ({last['recall_low']:.1%} to {last['recall_high']:.1%}),"
        f" where it was {before['recall_1_25m']:.1%} with {before['model_id']} on {before['at']:%Y-%m-%d}"
    )
