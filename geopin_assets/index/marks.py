"""Which merge of the catalog led to what is published: noted in the ledger's file and in every rows store.

Here: reading and writing the notes, and the copy of the takedown list that every rows store holds. Not here: what a
mark is (`installation.py`), comparing them (`platform/evidence.py`), or the list itself (`store/takedowns.py`).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from geopin_assets.files.journal import check_of
from geopin_assets.files.sqlite import opened, transaction
from geopin_assets.index.protocol import MetadataStore
from geopin_assets.installation import Mark

_SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (
  merge_id TEXT PRIMARY KEY, installation_id TEXT NOT NULL, generation INTEGER NOT NULL
) WITHOUT ROWID
"""
_LINE = ("number", "capture_id", "is_taken_down", "at", "note")


class LedgerMarks:
    """Every mark that was published from, in the ledger's file. A ledger put back from a copy lacks the newest."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Mark]:
        """Oldest first; none where there is no ledger. Makes none."""
        if not self._path.exists():
            return []
        with opened(self._path, _SCHEMA) as connection:
            rows = connection.execute("SELECT installation_id, generation, merge_id FROM marks ORDER BY generation")
            return [Mark(*row) for row in rows.fetchall()]

    def note(self, mark: Mark) -> None:
        """From now on what is published is of this mark, or of one before."""
        with transaction(self._path, _SCHEMA) as connection:
            sql = "INSERT INTO marks (installation_id, generation, merge_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
            connection.execute(sql, (mark.installation_id, mark.generation, mark.merge_id))


def mark_of(store: MetadataStore) -> Mark | None:
    """The mark of a migrated store; None before its first publish."""
    found = store.query("SELECT installation_id, generation, merge_id FROM installation LIMIT 1")
    return Mark.of(found.row(0, named=True)) if found.height else None


def put_mark(store: MetadataStore, mark: Mark) -> None:
    """Note that the store holds what follows from this mark; one row is written."""
    row = {"place": "here", "installation_id": mark.installation_id, "generation": mark.generation}
    store.upsert("installation", pl.DataFrame([row | {"merge_id": mark.merge_id}]))


def takedown_lines(store: MetadataStore) -> list[dict[str, Any]]:
    """The copy of the list that a migrated store holds, as its file has the lines."""
    found = store.query(f"SELECT {', '.join(_LINE)} FROM takedowns ORDER BY number")  # noqa: S608
    return [row | {"is_taken_down": bool(row["is_taken_down"])} for row in found.iter_rows(named=True)]


def put_takedown_lines(store: MetadataStore, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines to the copy."""
    rows = [{name: line[name] for name in _LINE} | {"entry_id": check_of(line)} for line in lines]
    if rows:
        store.upsert("takedowns", pl.DataFrame(rows, infer_schema_length=None))
