"""What a merge says it did: of each cell what it holds now, and what came, changed and went.

Not here: the merge (`merge.py`), whose tables `incoming` and `changes` this reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import duckdb
import polars as pl

from geopin_assets.store.database import frame
from geopin_assets.store.places import near

REPORT_SCHEMA = pl.Schema(
    {
        **{"cell_id": pl.String(), "captures": pl.Int64(), "sources": pl.Int64(), "data_version": pl.String()},
        **{"inserted": pl.Int64(), "updated": pl.Int64(), "removed": pl.Int64(), "is_asked": pl.Boolean()},
    }
)
_REASON = " || coalesce(not_indexed_because, '')"
_AFTER = """insert into after
from (select cell_id, source, count(*), bit_xor(md5_number(capture_id || row_hash{more})) from {table}
      where {is_near} group by all)
semi join told using (cell_id)"""
_REPORT = """
select k.cell_id, coalesce(n.captures, 0) as captures, coalesce(n.sources, 0) as sources,
       coalesce(n.version, 'empty') as data_version, coalesce(c.inserted, 0) as inserted,
       coalesce(c.updated, 0) as updated, coalesce(c.removed, 0) as removed, k.is_asked
from reported k left join (
    select cell_id, sum(captures) as captures, count(*) as sources, md5(bit_xor(content)::varchar) as version
    from after group by cell_id) n using (cell_id)
left join (
    select cell_id, sum(inserted) as inserted, sum(updated) as updated, sum(removed) as removed
    from (
        select cell_id, count(*) as inserted, 0 as updated, 0 as removed
        from incoming anti join changes using (capture_id) group by cell_id
        union all
        select case when action = 'REMOVE' then from_cell else to_cell end, 0, count(*) filter (action = 'UPDATE'),
               count(*) filter (action = 'REMOVE')
        from changes group by 1) group by cell_id) c using (cell_id)
"""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What one merge did. `cells`: REPORT_SCHEMA, those asked for, then others that captures came from or went to."""

    cells: pl.DataFrame
    duplicates: int
    unreadable: dict[str, str]
    """cell_id -> why a raw file there could not be read; its captures of earlier merges stay."""


class Merged(Protocol):
    """A cell to tell of."""

    cell_id: str
    key: int
    is_known: bool
    """What it held before may still be there; else it holds nothing but `incoming`."""


def report(db: duckdb.DuckDBPyConnection, batch: Sequence[Merged], others: Sequence[Merged]) -> pl.DataFrame:
    """REPORT_SCHEMA of the cells of a batch, and of others that it changed."""
    db.execute(
        "create or replace temp table after (cell_id varchar, source varchar, captures bigint, content uhugeint)"
    )
    for table, more, cells in (
        ("captures", _REASON, [cell for cell in (*batch, *others) if cell.is_known]),
        ("incoming", "", [cell for cell in batch if not cell.is_known]),
    ):
        if cells:
            db.register("told", pl.DataFrame({"cell_id": [cell.cell_id for cell in cells]}))
            is_near = near(db, (cell.key for cell in cells)) if more else "true"
            db.execute(_AFTER.format(table=table, more=more, is_near=is_near))
    reported = [(cell.cell_id, True) for cell in batch] + [(cell.cell_id, False) for cell in others]
    db.register("reported", pl.DataFrame(reported, {"cell_id": pl.String, "is_asked": pl.Boolean}, orient="row"))
    return frame(db, _REPORT).cast(REPORT_SCHEMA)


def one_row_per_cell(reports: pl.DataFrame) -> pl.DataFrame:
    """A cell that a later batch changed too is as that left it; its changes are those of both."""
    summed = reports.group_by("cell_id", maintain_order=True).agg(
        pl.col("captures", "sources", "data_version").last(),
        pl.col("inserted", "updated", "removed").sum(),
        pl.col("is_asked").any(),
    )
    return summed.sort(pl.col("is_asked"), "cell_id", descending=[True, False]).select(REPORT_SCHEMA.names())
