"""What one cell's captures need: vectors to reuse, captures to fetch, failures to leave alone for now.

Pure frames in, frames out. Not here: fetching and embedding (`pipeline.py`), files (`cell_vectors.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from geopin_assets.embedding.cell_vectors import HELD_SCHEMA
from geopin_assets.embedding.panorama import VIEWS


@dataclass(frozen=True, slots=True)
class Plan:
    """`reused`, `superseded`: images of HELD_SCHEMA, with the bearings their captures have now.

    `superseded`: of captures with a newer image, to keep if that cannot be had yet.
    `todo`: captures to fetch, `fresh` the images they will be. `deferred`: failure rows that stay.
    """

    reused: pl.DataFrame
    superseded: pl.DataFrame
    todo: pl.DataFrame
    fresh: pl.DataFrame
    deferred: pl.DataFrame

    def wanted(self, embedded: Iterable[str], given_up: Iterable[str]) -> pl.DataFrame:
        """The images that the cell should hold when these captures have been embedded, HELD_SCHEMA.

        Superseded ones stay until there is a new one, or their capture is given up.
        """
        done = pl.Series("capture_id", list(embedded), pl.String)
        gone = pl.concat([done, pl.Series("capture_id", list(given_up), pl.String)])
        kept = self.superseded.filter(~pl.col("capture_id").is_in(gone.implode()))
        return pl.concat([self.reused, kept, self.fresh.filter(pl.col("capture_id").is_in(done.implode()))])


def of_current_images(failures: pl.DataFrame, captures: pl.DataFrame) -> pl.DataFrame:
    """The failures of images that their captures still have; a new image is tried like any other."""
    current = captures.select("capture_id", pl.col("image_version").fill_null(""))
    return failures.join(current, on=["capture_id", "image_version"], how="semi")


def plan_cell(
    captures: pl.DataFrame, held: pl.DataFrame, in_parts: pl.DataFrame, failures: pl.DataFrame, now: datetime
) -> Plan:
    """Plan one cell. An image stays embedded as long as its version does; its bearing follows the capture.

    `held`, `in_parts`: what the cell's file and its parts hold (HELD_SCHEMA). Each is judged alone: views of a file
    and of parts are never put together to one panorama.
    """
    images = captures.select(
        "capture_id",
        pl.col("image_version").fill_null(""),
        views=pl.when("is_pano").then(VIEWS).otherwise(1).cast(pl.Int64),
        center_deg=pl.col("heading_deg").cast(pl.Float64),
    )
    current = images.rename({"image_version": "current_version"})
    complete = pl.concat(
        have.drop("center_deg").join(current, on=["capture_id", "views"]).with_columns(nth=pl.lit(nth))
        for nth, have in enumerate((in_parts, held))
    ).sort("nth")
    is_current = pl.col("image_version") == pl.col("current_version")
    reused, superseded = (
        complete.filter(of_version).unique("capture_id", keep="first", maintain_order=True).select(HELD_SCHEMA.names())
        for of_version in (is_current, ~is_current)
    )
    missing = captures.join(reused, on="capture_id", how="anti")
    deferred = failures.filter(pl.col("next_try_at").is_null() | (pl.col("next_try_at") > now)).join(
        missing, on="capture_id", how="semi"
    )
    todo = missing.join(deferred, on="capture_id", how="anti")
    return Plan(
        reused=reused,
        superseded=superseded.join(reused, on="capture_id", how="anti"),
        todo=todo,
        fresh=images.join(todo, on="capture_id", how="semi"),
        deferred=deferred,
    )
