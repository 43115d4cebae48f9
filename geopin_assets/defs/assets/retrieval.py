"""quality/retrieval and quality/outliers: how well the index places photos, and what in it is contradicted.

Not here: questions, answers and figures (`locate/`), or when it is made (weekly, as asking costs searches).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from pydantic import Field

from geopin_assets.defs.declare import Columns, frame_table, report, verdict
from geopin_assets.defs.resources import Embedding, SearchIndex, Sources, Storage
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.history import DESCRIPTIONS, SCHEMA
from geopin_assets.locate.history import FILE as RUNS
from geopin_assets.locate.outliers import DESCRIPTIONS as WHAT_DOUBTS_SAY
from geopin_assets.locate.outliers import FILE as DOUBTED
from geopin_assets.locate.outliers import SCHEMA as DOUBTS
from geopin_assets.platform.index_state import announce_versions, switch_when_complete

if TYPE_CHECKING:
    from geopin_assets.locate.confidence import Calibration
    from geopin_assets.locate.evaluation import Answer, Compare
    from geopin_assets.locate.figures import Figures
    from geopin_assets.locate.locator import Locator

CHECKS = {
    "retrieval_not_worse": "The share of captures that the other sources place right at once is not below last week's, "
    "beyond its interval. What to do: see which source lost captures (quality/freshness), and whether the last publish "
    "was complete (index_in_sync).",
    "model_not_worse": "A model whose index is complete finds no less than the one that searches use, and one that "
    "took another's place no less than that did. What to do: set GEOPIN_MODEL back, or let searches use it all the "
    "same (`geopin index switch`).",
}
_RUNS_SHOWN, _DOUBTS_SHOWN = 20, 50
_TOLD = ["capture_id", "reason", "trust", "says", "off_m", "off_deg", "witnesses", "page_url", "says_page_url"]
_GAINS = {"term": pl.String(), **dict.fromkeys(("area", "low", "high"), pl.Float64()), "counted": pl.Boolean()}
_COMPARED = 5
"""Matches whose points are counted with a question's."""


class Evaluation(dg.Config):
    """What one run may ask."""

    questions: int = Field(
        default=500,
        ge=50,
        le=20_000,
        description="Published captures that are asked of the other sources; each costs three searches, and two more "
        "for every other source that shows its place",
    )
    images: int = Field(
        default=600,
        ge=0,
        description="Published images that may be fetched to count matching points, up to sixteen a question, where "
        "the extra `verify` is installed; those whose points are kept are not fetched again",
    )


@report("quality/retrieval", columns=Columns(SCHEMA, DESCRIPTIONS), checks=CHECKS, kinds={"numpy"})
def retrieval(
    config: Evaluation, storage: Storage, embedding: Embedding, search_index: SearchIndex, sources: Sources
) -> dg.MaterializeResult:
    """Published captures are asked of all other sources: how many are found within 25 m, how sure the answers are.

    Leave one source out: the index is asked without the source of the question. Confidence and radius are judged by a
    calibration that has not seen the question, then fitted on all of them for `geopin locate`. Numbers over time are
    under Plots. A complete index of another model is asked the same questions as the one that searches use, and takes
    its place if it finds no less.
    """
    from geopin_assets.locate.calibrating import calibrate, learn
    from geopin_assets.locate.figures import figures
    from geopin_assets.locate.history import worse_than_before, worse_than_other_model
    from geopin_assets.locate.opening import write_calibration

    now = datetime.now(UTC)
    try:
        locator, answers = _asked(config, storage, embedding, search_index, sources, seed=now.isocalendar().week)
        learned = learn(answers)
        told = figures(learned, locator.model_id)
        about = {"index_version": locator.index_version, "at": now.isoformat(timespec="seconds")}
        calibration = calibrate(learned, locator.model_id, about)
    except (ConfigurationError, ValueError) as error:
        silent = [verdict(check, True, f"nothing to judge: {error}") for check in CHECKS]
        return dg.MaterializeResult(metadata={"answers": 0, "why": str(error)}, check_results=silent)
    path = write_calibration(storage.settings(), calibration)
    runs = _kept(storage, locator, answers, told, calibration, now)
    last = {name: value for name, value in runs.row(-1, named=True).items() if isinstance(value, float | int)}
    switch, is_refused = _judge_switch(storage, embedding, search_index)
    worse = {
        "retrieval_not_worse": worse_than_before(runs),
        "model_not_worse": switch if is_refused else worse_than_other_model(runs),
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": runs.height,
            **last,
            **({"switch": switch} if switch else {}),
            **_with_points(told),
            **_found(told, calibration),
            "terms": frame_table(_terms(told)),
            **_thinning(storage, answers),
            "risk": dg.MetadataValue.json(told.risk_at),
            "runs": frame_table(runs.tail(_RUNS_SHOWN).with_columns(pl.col("at").dt.strftime("%Y-%m-%d %H:%M"))),
            "calibration": dg.MetadataValue.path(str(path)),
        },
        check_results=[verdict(check, not text, text or "not worse") for check, text in worse.items()],
    )


def _asked(
    config: Evaluation,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
    sources: Sources,
    *,
    seed: int,
) -> tuple["Locator", list["Answer"]]:
    """The version that searches use, and its answers. Raises ConfigurationError where there is none."""
    from geopin_assets.locate.evaluation import ask
    from geopin_assets.locate.opening import NOTHING_YET, open_version
    from geopin_assets.locate.samples import draw_questions
    from geopin_assets.locate.switching import model_of

    if (serving := search_index.versions().serving()) is None:
        raise ConfigurationError(NOTHING_YET)
    locator = open_version(search_index, serving)
    drawn = draw_questions(storage, model_of(serving), config.questions, seed=seed)
    with _comparing(storage, embedding, sources, config.images) as compare:
        return locator, list(ask(drawn, locator.index, locator.store, compare, _COMPARED))


def _kept(
    storage: Storage,
    locator: "Locator",
    answers: list["Answer"],
    told: "Figures",
    calibration: "Calibration",
    now: datetime,
) -> pl.DataFrame:
    """All runs, with this one; doubts and the cells' failures are kept beside them."""
    from geopin_assets.locate.history import CELLS_FILE, record, record_cells
    from geopin_assets.locate.judging import judge
    from geopin_assets.locate.outliers import keep

    asked = [answer.question.row["capture_id"] for answer in answers]
    with storage.quality().as_folder(RUNS, DOUBTED, CELLS_FILE) as folder:
        runs = record(folder, told, model_id=locator.model_id, index_version=locator.index_version, now=now)
        keep(folder, judge(answers, calibration, now), asked)
        record_cells(folder, answers)
    return runs


@contextmanager
def _comparing(storage: Storage, embedding: Embedding, sources: Sources, images: int) -> Iterator["Compare | None"]:
    """Counts matching points until so many images were asked for; None where that cannot be."""
    from geopin_assets.locate.comparing import comparison
    from geopin_assets.locate.opening import find_verifier

    verifier = find_verifier(storage.settings()) if images else None
    if verifier is None:
        yield None
        return
    with comparison(verifier, storage, embedding, sources, images) as compared:
        yield compared.of_question


def _thinning(storage: Storage, answers: "Sequence[Answer]") -> dict[str, dg.TableMetadataValue]:
    """What thinning (GEOPIN_THIN_M) would cost in recall; nothing where it is done: what is out cannot be asked."""
    from geopin_assets.locate.thinned import costs

    return {} if storage.settings().thin_m else {"thinning": frame_table(costs(answers, storage.catalog()))}


def _found(told: "Figures", calibration: "Calibration") -> dict[str, float]:
    """What may be called found, and what that rests on."""
    return {
        "found_from": calibration.found_from,
        "nowhere_asked": told.nowhere,
        "nowhere_told_not_covered": told.nowhere_told,
        "false_found_at_most": calibration.provenance["false_found_at_most"],
    }


def _terms(told: "Figures") -> pl.DataFrame:
    """What each term adds to likeness, and whether the confidence counts it."""
    rows = [{"term": term, **gain._asdict(), "counted": gain.is_shown} for term, gain in told.gains.items()]
    return pl.DataFrame(rows, schema=_GAINS)


def _with_points(told: "Figures") -> dict[str, float]:
    """What the order of matching points finds, beside that of likeness, of the questions whose points were counted."""
    if told.recall_by_points is None or told.reordering_gain is None:
        return {}
    gain, low, high = told.reordering_gain
    return {
        "recall_1_25m_by_points": told.recall_by_points["1@25"],
        "recall_gain_by_points": gain,
        "recall_gain_by_points_low": low,
        "recall_gain_by_points_high": high,
    }


def _judge_switch(storage: Storage, embedding: Embedding, search_index: SearchIndex) -> tuple[str, bool]:
    """What was found where a complete index of another model waits, and whether it has to go on waiting."""
    from geopin_assets.locate.switching import compare
    from geopin_assets.locate.verdict import read_verdict

    def may_replace(*versions: Any) -> bool:
        return compare(*versions).may_switch

    model = embedding.model()
    if switch_when_complete(storage, search_index, model, may_replace):
        announce_versions(storage, search_index, model)
    verdict, building = read_verdict(storage.quality()), search_index.versions().building(model.model_id)
    if verdict is None or verdict.version not in {v.name for v in search_index.versions().all()}:
        return "", False
    return verdict.in_words(), building is not None and verdict.version == building.name


@report("quality/outliers", columns=Columns(DOUBTS, WHAT_DOUBTS_SAY), kinds={"polars"})
def outliers(storage: Storage, search_index: SearchIndex) -> dg.MaterializeResult:
    """Captures that other sources contradict: at another place, turned around, or like nothing that is there.

    Found when `quality/retrieval` asks the other sources about a sample, another one each week. Nothing is dropped:
    the list is published beside the rows, and whoever searches counts them less. To mend one, tell its source; what
    must go is taken down (`geopin takedown`).
    """
    from geopin_assets.index.publication import announce_doubts
    from geopin_assets.locate.outliers import read
    from geopin_assets.locate.outliers_page import FILE, page

    with storage.quality().as_folder(DOUBTED) as folder:
        doubts = read(folder)
    named = pl.concat([doubts["capture_id"], doubts["says"]]).drop_nulls().unique()
    there = storage.catalog().find_captures(named.to_list()).filter(held_in="captures")["capture_id"].implode()
    doubts = doubts.filter(pl.col("capture_id").is_in(there))  # others were taken down, or are not shown any more
    storage.quality().put(FILE, page(doubts.filter(pl.col("says").is_in(there))).encode())
    listed = doubts.select("capture_id", pl.col("trust").round(3), "reason")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": doubts.height,
            "rows_changed": announce_doubts(search_index.metadata().parts, listed),
            **{
                f"{reason}_captures": count
                for reason, count in doubts["reason"].value_counts().sort("reason").iter_rows()
            },
            "worst": frame_table(doubts.head(_DOUBTS_SHOWN).select(_TOLD)),
            "side_by_side": dg.MetadataValue.url(f"{storage.settings().reports_url}/{FILE}"),
        }
    )
