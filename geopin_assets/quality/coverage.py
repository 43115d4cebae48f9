"""Coverage: what there is per cell, source and province, and where it falls short of a stated expectation.

Here: the expectations with their defaults, and the baseline that a municipality's own survey gives. Not
here: counting the captures (`store/counts.py`), pictures (`map_png.py`, `map_html.py`) or files (`coverage_report.py`).

Gaps are only claimed where somebody looked: a Dutch-land cell that no source ever crawled is "not crawled yet" and
counted apart, and a source is only missed in a cell that it crawled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache

import polars as pl

from geopin_assets.cells import ELSEWHERE, PROVINCES, all_cells, place_name

SECTORS = 8
MUNICIPAL_SOURCE = "amsterdam"

COVERAGE_SCHEMA = pl.Schema(
    {
        "cell_id": pl.String(),
        "source": pl.String(),
        "captures": pl.Int64(),
        "panos": pl.Int64(),
        "newest": pl.Datetime("us", "UTC"),
        "heading_sectors": pl.Int64(),
    }
)
COVERAGE_DESCRIPTIONS = {
    "cell_id": "Crawl square of about 2 x 2 km, abroad and at sea too",
    "source": "Source that found something there",
    "captures": "Captures in the cell",
    "panos": "Of these, those that cover 360 degrees",
    "newest": "Shutter time of the newest capture, UTC; null if no date is known",
    "heading_sectors": "Eighths of a turn looked into; a panorama looks into all eight",
}

GAPS_SCHEMA = pl.Schema(
    {
        "cell_id": pl.String,
        "province": pl.String,
        "place": pl.String,
        "population": pl.Int64,
        "reason": pl.String,
        "detail": pl.String,
    }
)
BASELINE_PLACE = "amsterdam"


class GapReason(StrEnum):
    """Which expectation a cell falls short of."""

    NO_CAPTURE = "no_capture"
    SINGLE_SOURCE = "single_source"
    NOTHING_RECENT = "nothing_recent"
    TOO_FEW_FOR_POPULATION = "too_few_for_population"
    NO_MUNICIPAL_PANORAMA = "no_municipal_panorama"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What every crawled Dutch-land cell should have. Defaults are a start, to be set to what a reader needs."""

    now: datetime
    """When the question is asked, with a time zone."""
    max_age_years: float = 3.0
    """The newest capture should not be older: a street's shop fronts and works change within that time."""
    min_sources: int = 2
    """Captures of one source alone cannot confirm each other; asked where at least as many sources looked."""
    captures_per_1000_inhabitants: float = 10.0
    """1,000 people share 3 to 4 km of street in a Dutch town; ten captures are one every 350 m of it."""
    min_population: int = 1_000
    """Below it a cell is countryside and the number of captures says little."""
    municipal_places: frozenset[str] = frozenset({"amsterdam", "almere", "amstelveen"})
    """Places whose streets the municipality itself photographs."""


@cache
def land_cells() -> pl.DataFrame:
    """The cells that touch Dutch land, in partition order: cell_id, province, place, population."""
    land = [f for f in all_cells() if f.is_land]
    return pl.DataFrame(
        {
            "cell_id": [f.cell.cell_id for f in land],
            "province": [f.province for f in land],
            "place": [f.place for f in land],
            "population": pl.Series([f.population for f in land], dtype=pl.Int64),
        }
    )


def not_crawled(crawled: pl.DataFrame) -> pl.DataFrame:
    """Dutch-land cells that no source has crawled yet."""
    return land_cells().join(crawled, on="cell_id", how="anti")


def find_gaps(coverage: pl.DataFrame, crawled: pl.DataFrame, expectations: Expectations) -> pl.DataFrame:
    """One row per crawled Dutch-land cell and reason, most inhabitants first (columns: GAPS_SCHEMA).

    `coverage` has the columns of COVERAGE_SCHEMA; `crawled` has source, cell_id, is_complete. A cell without any
    capture has that one reason only: the others follow from it.
    """
    of_cells = facts(coverage, crawled)
    found = [
        of_cells.filter(condition).with_columns(pl.lit(reason.value).alias("reason"), detail.alias("detail"))
        for reason, condition, detail in _rules(expectations)
    ]
    order = pl.Series([reason.value for reason in GapReason])
    return (
        pl.concat(found)
        .select(list(GAPS_SCHEMA))
        .cast(GAPS_SCHEMA)
        .sort("population", "cell_id", pl.col("reason").cast(pl.Enum(order)), descending=[True, False, False])
    )


def facts(coverage: pl.DataFrame, crawled: pl.DataFrame) -> pl.DataFrame:
    """One row per crawled Dutch-land cell with what it has and who looked. Frames as in `find_gaps`."""
    per_cell = coverage.group_by("cell_id").agg(
        pl.col("captures").sum(),
        pl.col("source").n_unique().alias("sources"),
        pl.col("source").sort().first().alias("a_source"),
        pl.col("newest").max(),
        (pl.col("source") == MUNICIPAL_SOURCE).any().alias("has_municipal"),
    )
    looked = crawled.group_by("cell_id").agg(
        pl.col("source").n_unique().alias("looked"),
        (pl.col("source") == MUNICIPAL_SOURCE).any().alias("municipality_looked"),
        pl.col("source").filter(~pl.col("is_complete")).unique().sort().str.join(", ").alias("incomplete"),
    )
    return (
        land_cells()
        .join(looked, on="cell_id")
        .join(per_cell, on="cell_id", how="left")
        .with_columns(pl.col("captures", "sources").fill_null(0), pl.col("has_municipal").fill_null(False))
    )


def _rules(expect: Expectations) -> Iterator[tuple[GapReason, pl.Expr, pl.Expr]]:
    """(reason, condition, detail) of every expectation."""
    has_some = pl.col("captures") > 0
    yield (
        GapReason.NO_CAPTURE,
        ~has_some,
        pl.format("crawled by {} source(s), nothing found", "looked")
        + pl.when(pl.col("incomplete") != "")
        .then(pl.format("; incomplete crawl by {}", "incomplete"))
        .otherwise(pl.lit("")),
    )
    yield (
        GapReason.SINGLE_SOURCE,
        has_some & (pl.col("sources") < expect.min_sources) & (pl.col("looked") >= expect.min_sources),
        pl.when(pl.col("sources") == 1)
        .then(pl.format("only {} of {} that looked", "a_source", "looked"))
        .otherwise(pl.format("{} sources of {} that looked", "sources", "looked")),
    )
    oldest = pl.lit(expect.now) - pl.duration(hours=round(expect.max_age_years * 365.25 * 24))
    yield (
        GapReason.NOTHING_RECENT,
        has_some & (pl.col("newest").is_null() | (pl.col("newest") < oldest)),
        pl.when(pl.col("newest").is_null())
        .then(pl.lit("no capture has a known date"))
        .otherwise(pl.format("newest is of {}", pl.col("newest").dt.strftime("%Y-%m-%d"))),
    )
    needed = (pl.col("population") * (expect.captures_per_1000_inhabitants / 1000)).ceil().cast(pl.Int64)
    yield (
        GapReason.TOO_FEW_FOR_POPULATION,
        has_some & (pl.col("population") >= expect.min_population) & (pl.col("captures") < needed),
        pl.format("{} captures, {} expected for {} inhabitants", "captures", needed, "population"),
    )
    yield (
        GapReason.NO_MUNICIPAL_PANORAMA,
        has_some
        & pl.col("place").is_in(sorted(expect.municipal_places))
        & pl.col("municipality_looked")
        & ~pl.col("has_municipal"),
        pl.lit("the municipality photographs this place, but nothing was found here"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How far the survey of a place was found."""

    land_cells: int
    """Dutch-land cells of the place."""
    crawled_cells: int
    """Of these, those that the municipal source has crawled: only these can be judged."""
    without_panorama: tuple[str, ...]
    """Of these, those where no municipal panorama was found, in partition order."""

    @property
    def is_met(self) -> bool:
        """False where nothing was crawled: an unknown baseline is not a met one."""
        return self.crawled_cells > 0 and not self.without_panorama

    def __str__(self) -> str:
        place, source = place_name(BASELINE_PLACE), f"the source {MUNICIPAL_SOURCE}"
        if not self.crawled_cells:
            return f"not judged: {source} has crawled none of the {self.land_cells} land cells of {place}"
        rest = self.land_cells - self.crawled_cells
        apart = f"; {rest} more were not crawled by it yet" if rest else ""
        judged = f"{self.crawled_cells} land cells of {place} that {source} has crawled"
        if not self.without_panorama:
            return f"all {judged} have its panoramas{apart}"
        shown = ", ".join(self.without_panorama[:10])
        more = f" and {len(self.without_panorama) - 10} more" if len(self.without_panorama) > 10 else ""
        return f"{len(self.without_panorama)} of {judged} have no panorama of it: {shown}{more}{apart}"


def municipal_baseline(coverage: pl.DataFrame, crawled: pl.DataFrame) -> Baseline:
    """Frames as in `coverage.py`."""
    place = land_cells().filter(pl.col("place") == BASELINE_PLACE)
    judged = place.join(crawled.filter(pl.col("source") == MUNICIPAL_SOURCE), on="cell_id", how="semi")
    photographed = coverage.filter((pl.col("source") == MUNICIPAL_SOURCE) & (pl.col("panos") > 0))
    missing = judged.join(photographed, on="cell_id", how="anti", maintain_order="left")
    return Baseline(land_cells=place.height, crawled_cells=judged.height, without_panorama=tuple(missing["cell_id"]))


TOTAL = "Total"
_COUNTED = ["land_cells", "crawled", "covered", "gap_cells", "gap_population"]


def province_summary(coverage: pl.DataFrame, crawled: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """One row per province in alphabetical order, then the total. Frames as in `coverage.py`.

    Columns: province, land_cells, crawled, covered, captures, panoramas, sources, newest, gap_cells, gap_population.
    Cells are Dutch-land cells; captures are those of any cell, so that the total is all there are: where some were
    found abroad or at sea, that is a row too.
    """
    code = pl.col("cell_id").str.split("-").list.first().alias("code")
    found = coverage.with_columns(code)
    names = PROVINCES | ELSEWHERE
    rows = (
        pl.DataFrame({"code": list(names), "province": list(names.values())})
        .join(_land(coverage, crawled, gaps).group_by(code).agg(_counts()), on="code", how="left")
        .join(found.group_by("code").agg(_found()), on="code", how="left")
        .with_columns(pl.exclude("code", "province", "newest").fill_null(0))
        .filter(pl.col("code").is_in(list(PROVINCES)) | (pl.col("captures") > 0))
        .sort(pl.col("code").is_in(list(ELSEWHERE)), "province")
    )
    totals = [pl.lit(TOTAL).alias("province"), *(pl.col(name).sum() for name in _COUNTED)]
    total = pl.concat([rows.select(totals), found.select(_found())], how="horizontal")
    order = ["province", *_COUNTED[:3], "captures", "panoramas", "sources", "newest", *_COUNTED[3:]]
    return pl.concat([rows.select(order), total.select(order)])


def _land(coverage: pl.DataFrame, crawled: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Dutch-land cells and whether each was crawled, is covered, falls short."""
    return land_cells().with_columns(
        pl.col("cell_id").is_in(frame["cell_id"].unique().implode()).alias(name)
        for name, frame in {"is_crawled": crawled, "is_covered": coverage, "is_gap": gaps}.items()
    )


def _counts() -> list[pl.Expr]:
    return [
        pl.len().cast(pl.Int64).alias("land_cells"),
        pl.col("is_crawled").sum().cast(pl.Int64).alias("crawled"),
        pl.col("is_covered").sum().cast(pl.Int64).alias("covered"),
        pl.col("is_gap").sum().cast(pl.Int64).alias("gap_cells"),
        pl.col("population").filter("is_gap").sum().alias("gap_population"),
    ]


def _found() -> list[pl.Expr]:
    return [
        pl.col("captures").sum(),
        pl.col("panos").sum().alias("panoramas"),
        pl.col("source").n_unique().cast(pl.Int64).alias("sources"),
        pl.col("newest").max(),
    ]
