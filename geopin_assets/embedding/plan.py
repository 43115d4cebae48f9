"""What one cell's captures need: vectors to reuse, captures to fetch, failures to leave alone for now.

Pure frames in, frames out. Not here: fetching and embedding (`pipeline.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from geopin_assets.embedding.panorama import VIEWS
from geopin_assets.embedding.vectors import heading_of_view


@dataclass(frozen=True, slots=True)
class Plan:
    """`reused`: vectors that stay. `superseded`: of changed images, to keep if the new image cannot be had yet.

    `todo`: captures to fetch. `deferred`: failure rows that stay.
    """

    reused: pl.DataFrame
    superseded: pl.DataFrame
    todo: pl.DataFrame
    deferred: pl.DataFrame

    def vectors(self, new: pl.DataFrame, given_up: Iterable[str] = ()) -> pl.DataFrame:
        """The cell's vectors, by vector_id, when `new` of them have been made.

        Superseded ones stay until there is a new one, or their capture is given up.
        """
        gone = pl.col("capture_id").is_in({*new["capture_id"], *given_up})
        kept = (self.reused, self.superseded.filter(~gone))
        return pl.concat([*(frame for frame in kept if len(frame)), new]).sort("vector_id")


def of_current_images(failures: pl.DataFrame, captures: pl.DataFrame) -> pl.DataFrame:
    """The failures of images that their captures still have; a new image is tried like any other."""
    current = captures.select("capture_id", pl.col("image_version").fill_null(""))
    return failures.join(current, on=["capture_id", "image_version"], how="semi")


def plan_cell(
    captures: pl.DataFrame, previous: pl.DataFrame, failures: pl.DataFrame, model_id: str, now: datetime
) -> Plan:
    """Plan one cell. A vector stays as long as its image version and model do; its heading follows the capture."""
    wanted = captures.select(
        "capture_id",
        pl.col("image_version").fill_null("").alias("wanted_version"),
        pl.col("heading_deg").cast(pl.Float64).alias("center_deg"),
        pl.when("is_pano").then(VIEWS).otherwise(1).alias("views"),
    )
    complete = (
        previous.filter(pl.col("model_id") == model_id)
        .join(wanted, on="capture_id", how="inner")
        .filter(pl.col("view").n_unique().over("capture_id", "image_version") == pl.col("views"))
        .with_columns(heading_of_view())
    )
    is_current = pl.col("image_version") == pl.col("wanted_version")
    reused = complete.filter(is_current).select(previous.columns)
    missing = captures.join(reused, on="capture_id", how="anti")
    deferred = failures.filter(pl.col("next_try_at").is_null() | (pl.col("next_try_at") > now)).join(
        missing, on="capture_id", how="semi"
    )
    return Plan(
        reused=reused,
        superseded=complete.filter(~is_current).select(previous.columns),
        todo=missing.join(deferred, on="capture_id", how="anti"),
        deferred=deferred,
    )
