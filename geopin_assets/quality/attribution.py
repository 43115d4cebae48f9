"""Attribution: who made the captures, under which licenses, and where their platforms take more.

Here: counting, the files, and the words of NOTICE.txt, plain text to publish beside the index that names every
source, license and creator. Everything that a source says is untrusted: `clean` first. Not here: what licenses ask
(`licenses.py`), or whether a capture may be indexed at all.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import Protocol

import polars as pl

from geopin_assets.cells import PLACES_ATTRIBUTION, place_name
from geopin_assets.files.atomic import write_bytes
from geopin_assets.files.parquet import write_frame
from geopin_assets.geo import OUTLINE_ATTRIBUTION
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.quality.coverage import land_cells

CREATORS_NAMED = 100
"""Creators named in the notice for each source and license; the file has them all."""
LONGEST_NAME = 200
_CELL_ENDS = re.compile(r"(?<=[;,|])")
_PLAIN = frozenset("()[]\"'.,;:&#_/!?*~<>…·©«»“”‘’¡¿")
_WIDTH = 100


class SourceFacts(Protocol):
    """What a notice says about a platform: the class of a source has it all."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def homepage(self) -> str: ...
    @property
    def contribute_url(self) -> str: ...
    @property
    def attribution(self) -> str: ...


def render_notice(counts: pl.DataFrame, facts: Sequence[SourceFacts], *, now: datetime) -> str:
    """The text. `counts` has the columns of ATTRIBUTION_SCHEMA; sources without captures are left out."""
    known = {fact.name: fact for fact in facts}
    order = [name for name in known if name in set(counts["source"])]
    order += sorted(set(counts["source"]) - set(known))
    lines = [*_head(counts, now)]
    for name in order:
        lines += _source(name, known.get(name), counts.filter(pl.col("source") == name))
    lines += _contribute(facts)
    return "\n".join(lines) + "\n"


def asks_for_creator() -> pl.Expr:
    """Whether the license of a row asks to name the creator; one that we do not know is treated as if it did."""
    return ~pl.col("license").is_in([id_ for id_, license in OPEN_LICENSES.items() if "creator" not in license.asks])


def clean(text: str) -> str:
    """Untrusted text on one line: blanks of any kind become a space, what cannot be seen becomes its number."""
    line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in " ".join(text.split()))
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def _head(counts: pl.DataFrame, now: datetime) -> Iterator[str]:
    yield "NOTICE: sources, licenses and creators of the reference imagery"
    yield ""
    yield f"As of {now:%Y-%m-%d}: {counts['captures'].sum():,} captures of {counts['source'].n_unique()} sources."
    yield ""
    yield _wrapped(
        "The images are not copied: the index holds numbers computed from them, their positions, and links to them. "
        "Wherever a capture is shown, show its own attribution text with a link to its page and its license; the index "
        "has all three for every capture (attribution, page_url, license). This file sums them up."
    )
    yield ""
    yield _wrapped(f"Maps in the reports: {OUTLINE_ATTRIBUTION}. {PLACES_ATTRIBUTION}.")


def _source(name: str, fact: SourceFacts | None, counts: pl.DataFrame) -> Iterator[str]:
    title = f"{fact.title} ({name})" if fact else clean(name)
    yield from ("", "", title, "-" * len(title))
    if fact:
        yield fact.homepage
        yield _wrapped(f"To be shown with each capture: {fact.attribution}")
    yield f"Captures: {counts['captures'].sum():,}"
    totals = (
        counts.group_by("license").agg(pl.col("captures").sum()).sort("captures", "license", descending=[True, False])
    )
    for license_id, captures in totals.iter_rows():
        yield ""
        yield from _license(license_id, captures, counts.filter(pl.col("license") == license_id))


def _license(license_id: str, captures: int, counts: pl.DataFrame) -> Iterator[str]:
    license = OPEN_LICENSES.get(license_id)
    yield f"  {clean(license_id)}: {captures:,} captures"
    yield f"  {license.url}" if license else "  not a license that is known here: do not publish these"
    yield _wrapped(f"It asks: {license.asks if license else 'unknown'}", "  ")
    yield _wrapped(f"For example: {clean(counts['example_attribution'][0])}", "  ")
    if counts.select(asks_for_creator().any()).item():
        yield from _creators(counts)


def _creators(counts: pl.DataFrame) -> Iterator[str]:
    named = counts.filter(pl.col("creator").is_not_null()).sort("captures", "creator", descending=[True, False])
    unnamed = counts.filter(pl.col("creator").is_null())["captures"].sum()
    if named.height:
        shown = ", ".join(f"{clean(name)} ({count:,})" for name, count in _most(named))
        rest = named.height - CREATORS_NAMED
        more = f"; and {rest:,} more, all of them in creators.csv and attribution.parquet" if rest > 0 else ""
        yield _wrapped(f"Creators (captures): {shown}{more}", "  ")
    if unnamed:
        yield _wrapped(
            f"Captures without a creator: {unnamed:,}; their attribution text is all that the source gives", "  "
        )


def _most(named: pl.DataFrame) -> Iterator[tuple[str, int]]:
    yield from named.head(CREATORS_NAMED).select("creator", "captures").iter_rows()


def _contribute(facts: Sequence[SourceFacts]) -> Iterator[str]:
    yield from ("", "", "How to contribute", "-----------------")
    yield _wrapped(
        "Imagery added on these platforms comes with the next crawl; what is removed there leaves the index."
    )
    yield ""
    width = max((len(fact.title) for fact in facts), default=0)
    yield from (f"  {fact.title:<{width}}  {fact.contribute_url}" for fact in facts)


def _wrapped(text: str, indent: str = "") -> str:
    return fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  " if indent else "",
        break_long_words=False,
        break_on_hyphens=False,
    )


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
    """The creators for a spreadsheet."""
    creators = [None if name is None else _no_formula(clean(name)) for name in named["creator"]]
    return named.select("source", "license", pl.Series("creator", creators, pl.String), "captures").write_csv()


def _no_formula(name: str) -> str:
    """A ' before whatever a spreadsheet may take for a formula, also behind a character at which some split cells."""
    return "".join(part if _begins_plainly(part) else f"'{part}" for part in _CELL_ENDS.split(name))


def _begins_plainly(text: str) -> bool:
    """With a letter, say: = + - @ come in other widths and shapes, and behind characters that are not seen."""
    first = next((c for c in unicodedata.normalize("NFKC", text) if c.isprintable() and not c.isspace()), "a")
    return first.isalnum() or first in _PLAIN
