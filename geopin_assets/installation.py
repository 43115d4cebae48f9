"""Which installation something belongs to, and how far it had come: the mark on everything that is made from crawls.

The catalog writes down every merge; stored vectors, the ledger and every published store remember the newest one that
they were made from. A catalog that does not know that merge is missing, older, or another one.

Here: the mark. Not here: where each is kept (`store/catalog.py`, `embedding/stored_vectors.py`, `index/marks.py`), or
comparing them (`platform/evidence.py`).
"""

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Mark:
    """One merge. `installation_id` is made up once, with the list of takedowns; `generation` counts the merges."""

    installation_id: str
    generation: int
    merge_id: str
    """Of this very merge: a catalog put back from a copy counts on from where it was, with other merges."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """From a row or an object with these fields."""
        return cls(str(row["installation_id"]), int(row["generation"]), str(row["merge_id"]))
