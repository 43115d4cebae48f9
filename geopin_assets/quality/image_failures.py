"""Images that could not be embedded: how many of all captures, why, and whether they are tried again.

Not here: reasons and back-off (`embedding/failures.py`), or counting (`store/catalog.py`).
"""

from dataclasses import dataclass

import polars as pl

MAX_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFailures:
    """Over all captures of the catalog."""

    captures: int
    waiting: int
    """Tried again by themselves."""
    final: int
    """Given up until the image changes."""

    @property
    def share(self) -> float:
        return (self.waiting + self.final) / self.captures if self.captures else 0.0


def count_failures(failures: pl.DataFrame, captures: int) -> ImageFailures:
    """Sum of `failures`: is_final and captures, a row for each source and reason."""
    final = int(failures.filter("is_final")["captures"].sum())
    return ImageFailures(captures=captures, final=final, waiting=int(failures["captures"].sum()) - final)


def described(failures: pl.DataFrame, counted: ImageFailures, *, most: int = 5) -> str:
    """The share, and where most of it comes from, in one line."""
    text = (
        f"{counted.share:.1%} of {counted.captures:,} captures have no vector: {counted.waiting:,} are tried again,"
        f" {counted.final:,} are given up"
    )
    largest = failures.sort("captures", "source", "reason", descending=[True, False, False]).head(most)
    named = "; ".join(f"{source} {reason} {n:,}" for source, reason, _, n in largest.iter_rows())
    return f"{text}. {named}" if named else text
