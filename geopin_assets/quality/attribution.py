"""Attribution: who made the captures, under which licenses, and where their platforms take more.

Here: counting and the files. Not here: the text of the notice (`notice.py`), what licenses ask (`licenses.py`), or
whether a capture may be indexed at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl

from geopin_assets.files.atomic import write_bytes, write_frame
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.quality.coverage import land_cells
from geopin_assets.quality.names import place_name
from geopin_assets.quality.notice import SourceFacts, asks_for_creator, clean, render_notice

ATTRIBUTION_DESCRIPTIONS = {
    "source": "Source that offered the captures",
    "license": "SPDX-like license id",
    "creator": "Who took them, as the source names them; null if unknown. Untrusted text",
    "captures": "How many",
    "example_attribution": "The text that must be shown with one of them",
}
ATTRIBUTION_SCHEMA = pl.Schema(
    {name: pl.Int64() if name == "captures" else pl.String() for name in ATTRIBUTION_DESCRIPTIONS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionReport:
    """Where the files are and what they say."""

    notice: Path
    creators_csv: Path
    parquet: Path
    captures: int
    sources: int
    licenses: int
    creators: int
    """Named ones, each once per source."""
    unnamed: int
    """Captures whose license asks for a name where the source gives none: the attribution text stands for it."""
    rows: int
    by_license: pl.DataFrame = field(repr=False, compare=False)
    """One row per source and license: what it asks for, captures, creators."""
    top_creators: pl.DataFrame = field(repr=False, compare=False)
    contribute: pl.DataFrame = field(repr=False, compare=False)
    """One row per source: where people add imagery, and where this source found nothing yet."""


def write_attribution(
    counts: pl.DataFrame, crawls: pl.DataFrame, facts: Sequence[SourceFacts], directory: Path, *, now: datetime
) -> AttributionReport:
    """Write the notice, the creators and the counts.

    `counts` has the columns of ATTRIBUTION_SCHEMA, `crawls` has source, cell_id, captures.
    """
    named = counts.filter(pl.col("creator").is_not_null())
    return AttributionReport(
        notice=write_bytes(directory / "NOTICE.txt", render_notice(counts, facts, now=now).encode()),
        creators_csv=write_bytes(directory / "creators.csv", _csv(named).encode()),
        parquet=write_frame(directory / "attribution.parquet", counts),
        captures=int(counts["captures"].sum()),
        sources=counts["source"].n_unique(),
        licenses=counts["license"].n_unique(),
        creators=named.select("source", "creator").n_unique(),
        unnamed=int(counts.filter(pl.col("creator").is_null() & asks_for_creator())["captures"].sum()),
        rows=counts.height,
        by_license=by_license(counts),
        top_creators=_cleaned(named).drop("example_attribution").head(25),
        contribute=contribute(counts, crawls, facts),
    )


def by_license(counts: pl.DataFrame) -> pl.DataFrame:
    """One row per source and license, most captures first: source, license, asks, captures, creators."""
    asks = {id_: license.asks for id_, license in OPEN_LICENSES.items()}
    return (
        counts.group_by("source", "license")
        .agg(pl.col("captures").sum(), pl.col("creator").drop_nulls().n_unique().cast(pl.Int64).alias("creators"))
        .sort("captures", "source", "license", descending=[True, False, False])
        .with_columns(pl.col("license").replace_strict(asks, default="not one of ours: do not publish").alias("asks"))
        .select("source", "license", "asks", "captures", "creators")
    )


def contribute(counts: pl.DataFrame, crawls: pl.DataFrame, facts: Sequence[SourceFacts]) -> pl.DataFrame:
    """One row per source in the order given: where to contribute, what it has, and where it found nothing.

    Columns: source, where, captures, crawled, empty, people, most_people: Dutch-land cells that the source crawled,
    those without a single capture of it, who lives there, and the place of the most populated one.
    """
    looked = land_cells().join(crawls, on="cell_id")
    empty = looked.filter(pl.col("captures") == 0).sort("population", "cell_id", descending=[True, False])
    rows = pl.DataFrame({"source": [f.name for f in facts], "where": [f.contribute_url for f in facts]})
    return (
        rows.join(
            counts.group_by("source").agg(pl.col("captures").sum()), on="source", how="left", maintain_order="left"
        )
        .join(
            looked.group_by("source").agg(pl.len().cast(pl.Int64).alias("crawled")),
            on="source",
            how="left",
            maintain_order="left",
        )
        .join(empty.group_by("source").agg(_missing()), on="source", how="left", maintain_order="left")
        .with_columns(pl.col("captures", "crawled", "empty", "people").fill_null(0))
        .with_columns(pl.col("most_people").map_elements(place_name, return_dtype=pl.String, skip_nulls=True))
    )


def _missing() -> list[pl.Expr]:
    return [
        pl.len().cast(pl.Int64).alias("empty"),
        pl.col("population").sum().alias("people"),
        pl.col("place").first().alias("most_people"),
    ]


def _cleaned(named: pl.DataFrame) -> pl.DataFrame:
    return named.with_columns(pl.Series("creator", map(clean, named["creator"]), dtype=pl.String))


def _csv(named: pl.DataFrame) -> str:
    """The creators for a spreadsheet; the ' before = + - @ keeps it from taking a name for a formula."""
    name = pl.col("creator")
    guarded = pl.when(name.str.contains(r"^[=+\-@]")).then("'" + name).otherwise(name)
    order = ["source", "license", "creator", "captures"]
    return _cleaned(named).with_columns(creator=guarded).select(order).write_csv()
