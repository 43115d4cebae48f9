"""Diversity: seasons, years and directions that the captures of a place show.

A photo is found by images that look alike: snow by snow, and a house front only by what looked at that side. So
many captures of one drive on one summer day help less than few of every season and direction.

Here: what a place, a province and a year show. Not here: counting the captures (`store/counts.py`), or whether there is
anything at all (`coverage.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from geopin_assets.cells import PROVINCES, place_name
from geopin_assets.files.parquet import write_frame
from geopin_assets.quality.coverage import SECTORS, land_cells

SEASONS = ("winter", "spring", "summer", "autumn")
"""Meteorological, of the northern hemisphere: winter is December to February."""
PLACE_DESCRIPTIONS = {
    "province": "Dutch province",
    "place": "The nearest larger place of each cell: a place has about 26 land cells",
    "population": "Inhabitants of its land cells",
    "captures": "Captures in its cells",
    "dated": "Of these, those whose date is known",
    **{season: f"Of these, those taken in {season}" for season in SEASONS},
    "seasons": "Seasons with a capture, of 4",
    "years": "Years with a capture",
    "first_year": "Oldest of them",
    "last_year": "Newest of them",
    "directed": "Captures whose direction is known; a panorama looks everywhere",
    "heading_sectors": "Eighths of a turn looked into, of 8",
}
PLACE_SCHEMA = pl.Schema(
    {name: pl.String() if name in ("province", "place") else pl.Int64() for name in PLACE_DESCRIPTIONS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiversityReport:
    """Where the files are and what they say, for the Dutch provinces."""

    parquet: Path
    years_parquet: Path
    places: int
    covered_places: int
    """With at least one capture; the shares below are of these."""
    all_seasons_share: float
    all_headings_share: float
    captures: int
    winter_share: float
    """Of the captures with a date."""
    undated_share: float
    undirected_share: float
    by_place: pl.DataFrame = field(repr=False, compare=False)
    """Columns: PLACE_SCHEMA."""
    by_province: pl.DataFrame = field(repr=False, compare=False)
    by_year: pl.DataFrame = field(repr=False, compare=False)

    @property
    def one_sided(self) -> pl.DataFrame:
        """Covered places that lack a season or a direction, most inhabitants first."""
        lacks = (pl.col("seasons") < len(SEASONS)) | (pl.col("heading_sectors") < SECTORS)
        found = self.by_place.filter((pl.col("captures") > 0) & lacks)
        return found.sort("population", "province", "place", descending=[True, False, False])


def write_diversity(counted: pl.DataFrame, directory: Path) -> DiversityReport:
    """Write both files. `counted`: `Counts.tally`, here and below."""
    places, years = by_place(counted), by_place_and_year(counted)
    covered = places.filter(pl.col("captures") > 0)
    total, dated, directed = (int(places[name].sum()) for name in ("captures", "dated", "directed"))
    return DiversityReport(
        parquet=write_frame(directory / "diversity.parquet", places),
        years_parquet=write_frame(directory / "diversity_years.parquet", years),
        places=places.height,
        covered_places=covered.height,
        all_seasons_share=_share(covered.filter(pl.col("seasons") == len(SEASONS)).height, covered.height),
        all_headings_share=_share(covered.filter(pl.col("heading_sectors") == SECTORS).height, covered.height),
        captures=total,
        winter_share=_share(int(places["winter"].sum()), dated),
        undated_share=_share(total - dated, total),
        undirected_share=_share(total - directed, total),
        by_place=places,
        by_province=by_province(counted, places),
        by_year=by_year(years),
    )


def by_place(counted: pl.DataFrame) -> pl.DataFrame:
    """Every Dutch place, also one without captures (columns: PLACE_SCHEMA), in alphabetical order."""
    region = pl.format("{}-{}", "province", "place")
    places = land_cells().group_by("province", "place").agg(pl.col("population").sum())
    found = places.with_columns(region=region).join(
        counted.drop("province").group_by("region").agg(_measures()), on="region", how="left"
    )
    return _named(found).select(list(PLACE_SCHEMA)).cast(PLACE_SCHEMA).sort("province", "place")


def by_province(counted: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Every Dutch province: the columns of a place, and how many of its covered places have every season, heading."""
    covered = places.filter(pl.col("captures") > 0)
    shares = covered.group_by("province").agg(
        pl.len().cast(pl.Int64).alias("covered_places"),
        (pl.col("seasons") == len(SEASONS)).mean().round(4).alias("all_seasons_share"),
        (pl.col("heading_sectors") == SECTORS).mean().round(4).alias("all_headings_share"),
    )
    people = land_cells().group_by("province").agg(pl.col("population").sum())
    found = people.join(counted.group_by("province").agg(_measures()), on="province", how="left")
    order = [name for name in PLACE_SCHEMA if name != "place"]
    return _named(found).select(order).join(shares, on="province", how="left").sort("province")


def by_place_and_year(counted: pl.DataFrame) -> pl.DataFrame:
    """Captures per Dutch place and year; captures without a date are left out."""
    dutch = counted.filter(pl.col("province").is_in(list(PROVINCES)) & pl.col("year").is_not_null())
    place = pl.col("region").str.strip_prefix(pl.col("province") + "-").alias("place")
    counts = dutch.with_columns(place).group_by("province", "place", "year").agg(pl.col("captures").sum())
    return _named(counts).sort("province", "place", "year")


def by_year(place_years: pl.DataFrame) -> pl.DataFrame:
    """Captures of each year, and in how many places, newest first."""
    places = pl.len().cast(pl.Int64).alias("places")
    return place_years.group_by("year").agg(pl.col("captures").sum(), places).sort("year", descending=True)


def _measures() -> Iterator[pl.Expr]:
    count, season, year, sector = (pl.col(name) for name in ("captures", "season", "year", "sector"))
    yield count.sum()
    yield count.filter(year.is_not_null()).sum().alias("dated")
    yield from (count.filter(season == i).sum().alias(name) for i, name in enumerate(SEASONS))
    yield season.drop_nulls().n_unique().cast(pl.Int64).alias("seasons")
    yield year.drop_nulls().n_unique().cast(pl.Int64).alias("years")
    yield year.min().alias("first_year")
    yield year.max().alias("last_year")
    yield count.filter(sector.is_not_null() | pl.col("is_pano")).sum().alias("directed")
    every_way = pl.col("is_pano").any()
    yield (
        pl.when(every_way)
        .then(SECTORS)
        .otherwise(sector.drop_nulls().n_unique())
        .cast(pl.Int64)
        .alias("heading_sectors")
    )


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """Codes and slugs in words, and 0 where nothing was counted."""
    years = {"first_year", "last_year", "year"}
    counts = [name for name, dtype in frame.schema.items() if dtype.is_numeric() and name not in years]
    named = frame.with_columns(pl.col("province").replace_strict(PROVINCES), pl.col(counts).fill_null(0))
    if "place" not in frame.columns:
        return named
    return named.with_columns(
        pl.col("place").replace_strict({slug: place_name(slug) for slug in frame["place"].unique()})
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
