"""The list of references that the other sources contradict: at another place, turned around, or unlike what is there.

Here: the list as it is kept, and what it means for a search. Nothing is dropped: `locate` weighs doubtful captures
down, and people look at the list. Not here: who is doubted (`judging.py`), or showing them (`outliers_page.py`).
"""

from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path

import polars as pl

from geopin_assets.files import parquet

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
