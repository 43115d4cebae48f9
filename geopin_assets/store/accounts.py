"""What the newest crawl of a cell took, and what its file holds: the text that each raw file carries.

Here: that account as a row and as text, and what is not believed of it. Not here: the files (`raw.py`).

A time that lies in the future is refused when it is read: nobody knows then when the crawl was, and it counts as long
ago.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, Self

import orjson
import polars as pl

from geopin_assets.errors import DamagedFileError

AHEAD = timedelta(minutes=5)
"""Clocks of two machines may differ by so much."""
CRAWLS_SCHEMA = pl.Schema(
    {
        "source": pl.String(),
        "cell_id": pl.String(),
        "crawled_at": pl.Datetime("us", "UTC"),
        "captures": pl.Int64(),
        "is_complete": pl.Boolean(),
        "unknown": pl.String(),
    }
)


class Unknown(StrEnum):
    """Why nobody knows when a stored crawl was."""

    UNREADABLE = "unreadable"
    AHEAD = "ahead"
    """It says a time that has not come yet: the clock was wrong, then or now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlAccount:
    """What the newest crawl of one (source, cell) took, and what its file holds: a row of `crawl_cells`."""

    source: str
    cell_id: str
    number: int
    """Orders the crawls of a source; 0 for files from before there were numbers."""
    complete_number: int | None
    """Of the newest complete crawl in it; None if there was none: then what it lacks may still exist."""
    crawled_at: datetime | None
    complete_at: datetime | None
    captures: int
    requests: int
    splits: int
    duplicates: int
    rejected: Mapping[str, int]
    is_complete: bool
    duration_s: float
    data_version: str

    @classmethod
    def told(cls, text: str, source: str, cell_id: str, now: datetime) -> Self:
        """What a file says of itself. Raises DamagedFileError for the account of another file, or none."""
        try:
            found = orjson.loads(text)
            times = {name: past(found.get(name), now) for name in ("crawled_at", "complete_at")}
            if "number" not in found:  # from before there were numbers
                found |= {"number": 0, "complete_number": 0 if found["is_complete"] else None}
                times["complete_at"] = times["crawled_at"] if found["is_complete"] else None
            account = cls(**{one.name: found[one.name] for one in fields(cls) if one.name not in times} | times)
            if wrong := [name for name, kinds in _KINDS.items() if type(getattr(account, name)) not in kinds]:
                raise TypeError(f"{', '.join(wrong)} of another kind")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"without an account of ours ({error})") from error
        if (account.source, account.cell_id) != (source, cell_id):
            raise DamagedFileError(f"it is that of {account.source} in {account.cell_id}")
        return account

    def text(self) -> str:
        """What its file says."""
        return orjson.dumps(asdict(self)).decode()


_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("number", "captures", "requests", "splits", "duplicates"), (int,)),
    **{"complete_number": (int, NoneType), "is_complete": (bool,), "duration_s": (int, float)},
    **{"rejected": (dict,), "data_version": (str,)},
}
"""What a file may say; of a newer version's it may say more."""


def past(text: str | None, now: datetime) -> datetime | None:
    """A time that has come."""
    at = datetime.fromisoformat(text) if text else None
    return at if at and at <= now + AHEAD else None


def crawl_row(source: str, cell_id: str, account: CrawlAccount | None) -> tuple[Any, ...]:
    """CRAWLS_SCHEMA of a file, None for one that is unreadable."""
    if account is None:
        return source, cell_id, None, None, None, Unknown.UNREADABLE
    unknown = None if account.crawled_at else Unknown.AHEAD
    return source, cell_id, account.crawled_at, account.captures, account.is_complete, unknown
