"""References that the other sources contradict: at another place, turned around, or like nothing that is there.

A published capture is asked of the other sources as a photo is (`evaluation.py`); where their answer is sure and says
something else than the capture does, one of the two is wrong. Several independent sources against one capture blame it;
one against one makes both doubtful. Here: that judgment, and the list of doubts that is kept. Nothing is dropped:
`locate` weighs doubtful captures down, and people look at the list. Not here: asking, or showing.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from geopin_assets.files import parquet
from geopin_assets.geo import distance_m

if TYPE_CHECKING:
    from geopin_assets.locate.confidence import Calibration
    from geopin_assets.locate.evaluation import Answer

SAME_PLACE_M, OTHER_PLACE_M = 25.0, 50.0
"""As for answers."""
SURE = 0.7
"""Confidence of the others' answer. Not that of `found`: captures at a wrong place are what pushes that up."""
TURNED_DEG = 90.0
FEWEST_COVERING = 2
"""Other sources that show the same before a capture that looks like none of them is doubted."""
UNLIKE_SPREADS = 3.0
"""So far below the usual likeness of sources at one place, in standard deviations (by the median, so that a few wrong
captures don't widen it): enough by itself."""
SUSPECT_SHARE, FEW_POINTS_SHARE = 0.15, 0.02
"""Where points were counted: the least alike captures are suspects, and doubted with fewer points than all but so
many of the right answers have."""
_FEWEST_TO_KNOW = 20
UNLIKE_TRUST = 0.5
FILE = "outliers.parquet"
SCHEMA = {
    "capture_id": pl.String(),
    "reason": pl.String(),
    "trust": pl.Float64(),
    **{"source": pl.String(), "lon": pl.Float64(), "lat": pl.Float64(), "heading_deg": pl.Float64()},
    **{"says": pl.String(), "said_lon": pl.Float64(), "said_lat": pl.Float64(), "said_heading_deg": pl.Float64()},
    **{"off_m": pl.Float64(), "off_deg": pl.Float64(), "witnesses": pl.Int64()},
    **{"page_url": pl.String(), "says_page_url": pl.String()},
    **{"attribution": pl.String(), "says_attribution": pl.String()},
    **{"thumbnail_url": pl.String(), "says_thumbnail_url": pl.String(), "at": pl.Datetime("us", "UTC")},
}
DESCRIPTIONS = {
    "capture_id": "The doubtful capture",
    "source": "Its source",
    "lon": "Where it says it was taken",
    "lat": "Where it says it was taken",
    "heading_deg": "Direction of the view that was asked about",
    "reason": "moved, turned or unlike",
    "trust": "0 to 1: how likely the capture is right all the same",
    "says": "The capture of another source that looks the same",
    "said_lon": "Where that one was taken",
    "said_lat": "Where that one was taken",
    "said_heading_deg": "Its direction",
    "off_m": "How far the two are apart",
    "off_deg": "Angle between their directions",
    "witnesses": "Independent sources that say so",
    "page_url": "The capture at its source, to look at",
    "says_page_url": "The other one",
    "attribution": "Whose it is and under which license, as it has to be shown beside its picture",
    "says_attribution": "That of the other one",
    "thumbnail_url": "Its picture, where one is public",
    "says_thumbnail_url": "That of the other one",
    "at": "When it was asked, UTC",
}


class Doubt(StrEnum):
    """What is wrong with a capture, as far as the others can tell."""

    MOVED = "moved"
    TURNED = "turned"
    UNLIKE = "unlike"


def judge(answers: Sequence["Answer"], calibration: "Calibration", now: datetime) -> pl.DataFrame:
    """The doubtful among the captures that were asked, least trusted first, with the columns of SCHEMA."""
    given = [(calibration.reorders and answer.by_points) or answer for answer in answers]
    is_unlike = _unlikeness(answers)
    rows = [row for answer in given if (row := _doubt(answer, calibration, is_unlike(answer), now))]
    return pl.DataFrame(rows, schema=SCHEMA).sort("trust", "capture_id")


def keep(folder: Path, doubts: pl.DataFrame, asked: Sequence[str]) -> pl.DataFrame:
    """Replace what was thought of the captures that were asked now; all doubts, least trusted first."""
    before = read(folder).filter(~pl.col("capture_id").is_in(list(asked)))
    kept = pl.concat([before, doubts]).sort("trust", "capture_id")
    parquet.write_frame(folder / FILE, kept)
    return kept


def forget(folder: Path, capture_ids: Collection[str]) -> pl.DataFrame | None:
    """Have nothing of these captures in the file, nor of doubts that rest on them; what is left, None: nothing had."""
    of_these = pl.any_horizontal(pl.col("capture_id", "says").is_in(list(capture_ids)).fill_null(False))
    held = read(folder)
    kept = held.filter(~of_these)
    if kept.height == held.height:
        return None
    parquet.write_frame(folder / FILE, kept)
    return kept


def read(folder: Path) -> pl.DataFrame:
    """All doubts; none where there is no file yet."""
    return parquet.read_if_there(folder / FILE, pl.Schema(SCHEMA))


def weighed(matches: pl.DataFrame) -> pl.DataFrame:
    """The matches by their scores, of which those of doubtful captures count less: half where no trust is left."""
    weight = 0.5 + 0.5 * pl.col("trust").fill_null(1.0)
    return matches.sort(pl.col("score") * weight, descending=True, maintain_order=True)


_OF_MINE = ("source", "lon", "lat", "heading_deg", "page_url", "attribution", "thumbnail_url")


def _doubt(answer: "Answer", calibration: "Calibration", is_unlike: bool, now: datetime) -> dict[str, object] | None:
    sure, mine, other = calibration.confidence(answer.terms), answer.question.row, answer.best
    witnesses = 1 + len(answer.terms.agreeing)
    off_deg = _between(mine["heading_deg"], other["heading_deg"])
    trust, reason = 1 - sure * (1 - 0.5**witnesses), None
    if sure >= SURE and answer.error_m > OTHER_PLACE_M:
        reason = Doubt.MOVED
    elif sure >= SURE and answer.error_m <= SAME_PLACE_M and (off_deg or 0) > TURNED_DEG:
        reason = Doubt.TURNED
    elif is_unlike:
        reason, trust = Doubt.UNLIKE, UNLIKE_TRUST
    if reason is None:
        return None
    return {
        "capture_id": mine["capture_id"], "reason": reason.value, "trust": trust,
        **{name: mine[name] for name in _OF_MINE},
        "says": other["capture_id"], "said_lon": other["lon"], "said_lat": other["lat"],
        "said_heading_deg": other["heading_deg"], "says_page_url": other["page_url"],
        "says_thumbnail_url": other["thumbnail_url"], "says_attribution": other["attribution"],
        "off_m": distance_m(mine["lon"], mine["lat"], other["lon"], other["lat"]),
        "off_deg": off_deg, "witnesses": witnesses, "at": now,
    }  # fmt: skip


def _unlikeness(answers: Sequence["Answer"]) -> Callable[["Answer"], bool]:
    """Whether a capture looks like nothing that two others show there, judged by what is usual among these answers."""
    here = pl.Series([a.question.here for a in answers if a.question.here is not None], dtype=pl.Float64)
    points = {a.question.row["capture_id"]: _points(a) for a in answers}
    right = pl.Series([_points(a) for a in answers if a.error_m <= SAME_PLACE_M], dtype=pl.Int64).drop_nulls()
    if len(here) < _FEWEST_TO_KNOW:
        return lambda _: False
    middle = float(here.median())  # type: ignore[arg-type]
    far_below = middle - UNLIKE_SPREADS * 1.4826 * float((here - middle).abs().median())  # type: ignore[arg-type]
    suspect = float(here.quantile(SUSPECT_SHARE) or -1.0)
    few = float(right.quantile(FEW_POINTS_SHARE) or 0.0) if len(right) >= _FEWEST_TO_KNOW else 0.0

    def is_unlike(answer: "Answer") -> bool:
        likeness, counted = answer.question.here, points[answer.question.row["capture_id"]]
        if likeness is None:
            return False
        return likeness < far_below or (counted is not None and likeness < suspect and counted < few)

    return is_unlike


def _points(answer: "Answer") -> int | None:
    """With the match that has the most."""
    return (answer.by_points or answer).terms.inliers


def _between(one: float | None, other: float | None) -> float | None:
    """Angle between two directions, 0 to 180."""
    return None if one is None or other is None else abs((one - other + 180) % 360 - 180)
