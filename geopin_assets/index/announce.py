"""What the index holds, told in the index itself: its sources, its versions, and when they last changed.

For whoever searches it without knowing this project: the version whose state is `serving` is the one to search. Not
here: captures and vectors (`publish.py`), our own record of versions (`versions.py`).
"""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from geopin_assets.index.protocol import MetadataStore
from geopin_assets.index.versions import IndexVersion


def announce(
    store: MetadataStore,
    sources: pl.DataFrame,
    vectors: Mapping[IndexVersion, int],
    *,
    captures: int,
    embedder: str,
    now: datetime,
) -> None:
    """Bring the tables `sources` (source, title, homepage, captures) and `publication` up to date.

    `vectors`: every version that is kept, and how many vectors it holds. Facts that did not change write nothing,
    `published_at` included; versions that were dropped are forgotten.
    """
    store.upsert("sources", sources)
    known = store.query("SELECT index_name, captures, vectors, state, published_at, embedder FROM publication")
    before = {row["index_name"]: row for row in known.iter_rows(named=True)}
    rows = []
    for version, count in vectors.items():
        facts = {"captures": captures, "vectors": count, "state": version.state.value}
        old = before.pop(version.name, {})
        if {name: old.get(name) for name in facts} != facts:
            about = {"index_name": version.name, "model_id": version.model_id, "published_at": now}
            rows.append(facts | about | {"embedder": old.get("embedder", embedder)})
    if rows:
        store.upsert("publication", pl.DataFrame(rows))
    if before:
        store.delete("publication", list(before))
