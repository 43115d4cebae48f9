"""What is still to be done: raw files that the catalog has yet to merge, cells whose own files have yet to follow it.

A raw file is merged if it is of the crawl that the table `crawl_cells` names; cells to write stand in the table
`unwritten_cells`. Here: finding both. Not here: doing it (`merge.py`, `cell_files.py`), or who asks (`catalog.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import polars as pl

from geopin_assets.cells import pages
from geopin_assets.errors import GeoPinError
from geopin_assets.store.accounts import CrawlAccount
from geopin_assets.store.database import frame
from geopin_assets.store.places import CLOSE, near
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import CAPTURE_COLUMNS, CATALOG_SCHEMA

_FILES_CAPTURES = 50_000
"""Captures that are written to files of their cells at a time."""
_MERGED = "select source, cell_id, number, data_version, crawled_at"
"""Which crawl of a cell was merged, of `crawl_cells`."""
Damaged = dict[tuple[str, str], GeoPinError]
"""(source, cell_id) -> why its file cannot be read: damage, or a disk that does not give it."""


@dataclass(slots=True)
class CellToMerge:
    """A cell to merge: its files that are newer than what was merged, and how much it holds in all."""

    cell_id: str
    key: int
    is_known: bool = False
    """Something of it was merged before."""
    captures: int = 0
    newer: list[tuple[CrawlAccount, tuple[int, int, datetime | None]]] = field(default_factory=list)
    """Each with what was merged of it: number, complete number, and when that was."""


def cells_to_merge(
    db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str], raw: RawStore
) -> tuple[dict[str, CellToMerge], Damaged]:
    """Sorted by key: the rows of a cell, and of those merged with it, are to lie in few places of the catalog."""
    asked = pl.DataFrame({"cell_id": list(dict.fromkeys(cell_ids))}, schema={"cell_id": pl.String})
    db.register("asked", asked)
    keys = dict(db.execute("select cell_id, md5_number_lower(cell_id) % 4294967296 from asked").fetchall())
    merged = {
        tuple(row[:2]): row[2:]
        for row in db.execute(
            f"{_MERGED}, coalesce(complete_number, 0), complete_at from crawl_cells semi join asked using (cell_id)"
        ).fetchall()
    }
    cells = {cell_id: CellToMerge(cell_id, keys[cell_id]) for cell_id in sorted(keys, key=keys.__getitem__)}
    damaged = Damaged()
    for (source, cell_id), account in raw.some_accounts(asked["cell_id"].to_list()).items():
        cell = cells[cell_id]
        if isinstance(account, GeoPinError):
            damaged[source, cell_id] = account
            continue
        *crawl, complete_number, complete_at = merged.get((source, cell_id), (-1, "", None, 0, None))
        cell.captures += account.captures
        if _of_crawl(account) != tuple(crawl):
            cell.newer.append((account, (crawl[0], complete_number, complete_at)))
    for _, cell_id in merged:
        cells[cell_id].is_known = True
    return cells, damaged


def unmerged_cells(
    db: duckdb.DuckDBPyConnection, accounts: Mapping[tuple[str, str], CrawlAccount | None]
) -> dict[str, set[str]]:
    """Cells with raw files that a merge would read, and the sources of these; without any, if only the cell's own
    file is to be written. `accounts`: of all raw files; one that cannot be read is not waited for.
    """
    merged = {tuple(row[:2]): row[2:] for row in db.execute(f"{_MERGED} from crawl_cells").fetchall()}
    found: dict[str, set[str]] = {cell_id: set() for (cell_id,) in db.execute("from unwritten_cells").fetchall()}
    for (source, cell_id), account in accounts.items():
        if account and _of_crawl(account) != merged.get((source, cell_id)):
            found.setdefault(cell_id, set()).add(source)
    return found


def unwritten_cells(db: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, pl.DataFrame, set[str]]]:
    """The cells whose files are older than the catalog: CAPTURE_COLUMNS, and the sources with a complete crawl."""
    rows = db.execute(
        """select cell_id, md5_number_lower(cell_id) % 4294967296 as cell_key,
           list(source) filter (complete_number is not null), coalesce(sum(captures), 0)::bigint
        from (select distinct cell_id from unwritten_cells)
        left join crawl_cells using (cell_id) group by all order by cell_key"""
    ).fetchall()
    cells = {cell_id: (key, set(complete or ())) for cell_id, key, complete, _ in rows}
    for some in pages(list(cells), {cell_id: captures for cell_id, *_, captures in rows}, _FILES_CAPTURES):
        db.register("told", pl.DataFrame({"cell_id": some}))
        close = CLOSE.format(
            columns=", ".join(CAPTURE_COLUMNS), is_near=near(db, (cells[cell_id][0] for cell_id in some))
        )
        held = frame(db, f"{close} from close semi join told using (cell_id)").cast(pl.Schema(CATALOG_SCHEMA))
        captures = held.sort("cell_id", "capture_id")  # DuckDB sorts so much text for three times the CPU
        of_cell = captures.partition_by("cell_id", as_dict=True)
        yield from ((cell_id, of_cell.get((cell_id,), captures.clear()), cells[cell_id][1]) for cell_id in some)


def _of_crawl(account: CrawlAccount) -> tuple[int, str, datetime | None]:
    """What tells one crawl from another, as in _MERGED."""
    return account.number, account.data_version, account.crawled_at
