"""NOTICE.txt: plain text to publish beside the index, naming every source, license and creator.

Here: its words. Not here: counting (`attribution.py`). Everything that a source says is untrusted: `clean` first.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from textwrap import fill
from typing import Protocol

import polars as pl

from geopin_assets.cells import PLACES_ATTRIBUTION
from geopin_assets.geo import OUTLINE_ATTRIBUTION
from geopin_assets.licenses import OPEN_LICENSES

CREATORS_NAMED = 100
"""Creators named in the notice for each source and license; the file has them all."""
LONGEST_NAME = 200
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
