"""The takedown list: captures that never come back, whatever a source shows. The table `takedowns` of the catalog.

Here: the list, and that nothing on it is in the catalog. Not here: what it makes others do. Raw files are stored
without what is on it (`defs/raw.py`), the merge leaves it out (`merge.sql`), `defs/takedown.py` removes the rest.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from geopin_assets.store.database import Database, frame

TAKEDOWN_SCHEMA = pl.Schema(
    {
        "capture_id": pl.String(),
        "taken_down_at": pl.Datetime("us", "UTC"),
        "note": pl.String(),
        "last_seen_at": pl.Datetime("us", "UTC"),
    }
)
"""One row per capture on the list. `last_seen_at`: by the last crawl merged before; null if none showed it."""


class Takedowns:
    """The list, in a catalog's file. Safe to use from several processes; each call is one short connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_down(self, capture_ids: Sequence[str], *, note: str, now: datetime) -> None:
        """Put captures on the list and remove them from the catalog, all or nothing; tombstones stay.

        One that is on the list already keeps its day, and its note unless there is a new one.
        """
        with self._database.connect() as db:
            db.begin()
            db.executemany(
                """insert into takedowns values (?, ?, ?)
                on conflict do update set note = excluded.note where excluded.note <> ''""",
                [(capture_id, now, note) for capture_id in capture_ids],
            )
            db.execute("delete from captures where capture_id in (select capture_id from takedowns)")
            db.execute("delete from embedding_failures where capture_id in (select capture_id from takedowns)")
            db.execute(
                """update capture_history set removed_at = ?
                where removed_at is null and capture_id in (select capture_id from takedowns)""",
                [now],
            )
            db.commit()

    def undo(self, capture_ids: Sequence[str]) -> list[str]:
        """Take captures off the list, so that the next crawl may bring them back; returns those that were on it."""
        with self._database.connect() as db:
            gone = db.execute(
                "delete from takedowns where list_contains(?, capture_id) returning capture_id", [list(capture_ids)]
            ).fetchall()
        return sorted(capture_id for (capture_id,) in gone)

    def listed(self) -> pl.DataFrame:
        """The whole list, TAKEDOWN_SCHEMA, oldest first. A catalog that was never written to has none."""
        if not self._database.path.exists():
            return TAKEDOWN_SCHEMA.to_frame()
        with self._database.connect(read_only=True) as db:
            if not frame(db, "select 1 from duckdb_tables() where table_name = 'takedowns'").height:
                return TAKEDOWN_SCHEMA.to_frame()  # made before there was a list
            found = frame(
                db,
                """select capture_id, taken_down_at, note, last_seen_at
                from takedowns left join capture_history using (capture_id) order by taken_down_at, capture_id""",
            )
        return found.cast(TAKEDOWN_SCHEMA)

    def of(self, source: str) -> frozenset[str]:
        """Ids of the captures of one source that are on the list."""
        return frozenset(self.listed().filter(pl.col("capture_id").str.starts_with(f"{source}:"))["capture_id"])
