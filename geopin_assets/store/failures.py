"""The catalog's table of images that could not be embedded, which follows the files that whoever embeds writes.

Not here: those files (`embedding/failures.py`), or what is asked of the table (`lookups.py`, `counts.py`).
"""

from collections.abc import Collection, Mapping

import duckdb
import polars as pl

from geopin_assets.errors import DamagedFileError
from geopin_assets.files import parquet
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore, Stored
from geopin_assets.store.thinning import decide, thinned_m

FAILURE_COLUMNS = [
    *("capture_id", "cell_id", "source", "image_version"),
    *("reason", "attempts", "last_tried_at", "next_try_at"),
]


_INSERT = "insert into embedding_failures by name select * from failures anti join takedowns using (capture_id)"


def follow_failures(
    db: duckdb.DuckDBPyConnection, objects: ObjectStore, changed: Mapping[str, Stored], gone: Collection[str]
) -> None:
    """Take in the files that changed, and forget those that are gone."""
    db.begin()
    for cell_id in {*changed, *gone}:
        db.execute("delete from embedding_failures where cell_id = ?", [cell_id])
        db.execute("delete from failure_files where cell_id = ?", [cell_id])
    for cell_id, stored in changed.items():
        try:
            with objects.as_file(stored.key) as path:
                found = parquet.read_frame(path).with_columns(cell_id=pl.lit(cell_id)).select(FAILURE_COLUMNS)
            db.register("failures", found)
            db.execute(_INSERT)
        except (NoSuchObjectError, FileNotFoundError, DamagedFileError, pl.exceptions.PolarsError):
            continue  # replaced or removed meanwhile, or tried again
        db.execute("insert into failure_files values (?, ?)", [cell_id, stored.version])
    if within_m := thinned_m(db):  # what was given up stands for nothing
        db.register("followed", pl.DataFrame({"cell_id": [*changed, *gone]}, schema={"cell_id": pl.String}))
        keys = db.execute("select distinct md5_number_lower(cell_id) % 4294967296 from followed").fetchall()
        decide(db, [key for (key,) in keys], within_m)
    db.commit()
