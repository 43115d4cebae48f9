"""What the index holds, told in the index itself: its sources, its model, and when it last changed.

For whoever searches it without knowing this project. Not here: captures and vectors (`publish.py`).
"""

from datetime import datetime

import polars as pl

from geopin_assets.index.protocol import MetadataStore


def announce(
    store: MetadataStore, sources: pl.DataFrame, *, index_name: str, model_id: str, embedder: str, now: datetime
) -> None:
    """Bring the tables `sources` (source, title, homepage, captures) and `publication` up to date.

    Facts that did not change write nothing, `published_at` included.
    """
    store.upsert("sources", sources)
    counts = {"captures": store.count("captures"), "vectors": store.count("vectors")}
    before = store.query("SELECT captures, vectors FROM publication WHERE index_name = ?1", [index_name])
    if before.rows() != [tuple(counts.values())]:
        facts = {"index_name": index_name, "model_id": model_id, "embedder": embedder, "published_at": now}
        store.upsert("publication", pl.DataFrame([facts | counts]))
