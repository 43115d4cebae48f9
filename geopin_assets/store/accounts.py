"""Accounts of the raw files of a source without reading the end of each: `{source}/known/accounts.parquet` remembers.

An account belongs to one version of a file, and a list says which version there is: what is remembered of another one
is not used. So the object is only a shortcut, which anybody may replace or lose; it costs nothing to whoever crawls.
Here: what was read is remembered. Not here: what an account says (`raw.py`).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from geopin_assets.errors import DamagedFileError
from geopin_assets.files import parquet
from geopin_assets.files.object_store import READERS, NoSuchObjectError, ObjectStore, Stored

_SCHEMA = pl.Schema({"key": pl.String(), "version": pl.String(), "account": pl.String()})
_FEWEST, _SHARE = 50, 0.02
"""So many new ones, and such a share of all, are worth another object."""


def accounts_of(
    objects: ObjectStore, source: str, stored: list[Stored], read: Callable[[str], str | None]
) -> dict[str, str | None]:
    """By key the text of each file's account, None where there is none; `read` is asked for those not remembered."""
    place = f"{source}/known/accounts.parquet"
    known = _known(objects, place) if len(stored) >= _FEWEST else {}
    found = {one.key: known.get((one.key, one.version)) for one in stored}
    new = [key for key, text in found.items() if text is None]
    if new:
        with ThreadPoolExecutor(READERS) as pool:
            found |= dict(zip(new, pool.map(read, new), strict=True))
    if len(new) >= max(_FEWEST, _SHARE * len(stored)):
        rows = [(one.key, one.version, found[one.key]) for one in stored if found[one.key] is not None]
        objects.put(place, parquet.frame_bytes(pl.DataFrame(rows, _SCHEMA, orient="row")))
    return found


def _known(objects: ObjectStore, place: str) -> Mapping[tuple[str, str], str]:
    try:
        with objects.as_file(place) as path:
            rows = parquet.read_frame(path, _SCHEMA.names()).cast(_SCHEMA)  # type: ignore[arg-type]
    except (NoSuchObjectError, FileNotFoundError, DamagedFileError, pl.exceptions.PolarsError):
        return {}
    return {(key, version): text for key, version, text in rows.iter_rows()}
