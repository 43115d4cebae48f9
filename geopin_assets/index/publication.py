"""What the published databases say of themselves: the table `publication`, and the short tables that go with it.

Here: writing the same few rows into every database, doubts too, and which versions they know. Not here: which versions
there are (`versions.py`), or rows of captures and vectors (`publish.py`). Whoever searches without knowing this project
reads one row first, the one whose `state` is `serving`: it names every index and database to ask, and the model.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
import polars as pl

from geopin_assets.index.protocol import MetadataStore
from geopin_assets.index.tables import TABLES
from geopin_assets.index.versions import IndexVersion
from geopin_assets.licenses import OPEN_LICENSES

_LICENSES = pl.DataFrame(
    [{"license": known.id, "url": known.url, "asks": known.asks} for known in OPEN_LICENSES.values()]
)
_TOLD_ONCE = ("published_at", "embedder")
"""What a row goes on saying as long as nothing else in it changes."""


def announce(
    stores: Sequence[MetadataStore],
    sources: pl.DataFrame,
    vectors: Mapping[IndexVersion, int],
    *,
    captures: int,
    embedder: str,
    now: datetime,
    installation_id: str = "",
    unused: Sequence[MetadataStore] = (),
) -> list[str]:
    """Bring `publication`, `sources` (source, title, homepage, captures) and `licenses` up to date everywhere.

    `vectors`: every version that is kept, and how many vectors it holds. What did not change writes nothing,
    `published_at` included; versions that were dropped are forgotten. `unused`: databases that are told as well, as
    somebody may still ask them. Returns the databases that said something else.
    """
    rows = {
        version.name: {
            "index_name": version.name,
            "model_id": version.model_id,
            "version": version.number,
            "dim": version.dim,
            "indexes": orjson.dumps(version.shard_names()).decode(),
            "databases": orjson.dumps([store.name for store in stores]).decode(),
            "state": version.state.value,
            "since": version.since.isoformat(),
            "captures": captures,
            "vectors": count,
            "installation_id": installation_id or None,
        }
        for version, count in vectors.items()
    }
    changed = []
    for store in (*stores, *unused):
        store.upsert("licenses", _LICENSES)
        store.upsert("sources", sources)
        if _tell(store, rows, {"embedder": embedder, "published_at": now}):
            changed.append(store.name)
    return changed


def announce_doubts(stores: Sequence[MetadataStore], doubts: pl.DataFrame) -> int:
    """Have `doubts` (capture_id, trust, reason) be these rows everywhere; how many changed in all of them together."""
    changed = 0
    for store in stores:
        held = store.query("SELECT capture_id FROM doubts")
        gone = sorted(set(held["capture_id"] if held.height else ()).difference(doubts["capture_id"]))
        changed += store.upsert("doubts", doubts).changes + len(gone)
        if gone:
            store.delete("doubts", gone)
    return changed


def told(store: MetadataStore) -> pl.DataFrame:
    """What a database says of the versions, with the columns of `publication`."""
    columns = TABLES["publication"].columns
    found = store.query(f"SELECT {', '.join(columns)} FROM publication ORDER BY index_name")  # noqa: S608
    return found if found.height else pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def _tell(store: MetadataStore, rows: Mapping[str, Mapping[str, object]], fresh: Mapping[str, object]) -> bool:
    before = {row["index_name"]: row for row in told(store).iter_rows(named=True)}
    new = [
        {**facts, "published_at": fresh["published_at"], "embedder": before.get(name, fresh)["embedder"]}
        for name, facts in rows.items()
        if {column: value for column, value in before.get(name, {}).items() if column not in _TOLD_ONCE} != facts
    ]
    if new:
        store.upsert("publication", pl.DataFrame(new, infer_schema_length=None))
    if gone := sorted(set(before) - set(rows)):
        store.delete("publication", gone)
    return bool(new or gone)
