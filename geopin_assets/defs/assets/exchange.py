"""exchange/publication: the index as others may take it, and a feed of what changed.

Not here: what is passed on, and the files (`exchange/`).
"""

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import asset, frame_table
from geopin_assets.defs.graph import EXCHANGE
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.regions import region


@asset(EXCHANGE, kinds={"parquet"})
def exchange(storage: Storage, embedding: Embedding, search_index: SearchIndex) -> dg.MaterializeResult:
    """Captures of each province as STAC-GeoParquet, their vectors, licenses and a notice; no pixels.

    What changed since the last publish is the newest entry of the feed, by which whoever took it keeps up. Captures
    that were taken down, or may not be passed on, are in neither: `withheld` counts them by reason. Where nothing
    changed, nothing is written.
    """
    from geopin_assets.exchange.exporting import export
    from geopin_assets.exchange.snapshot import searched_model

    name, model = storage.settings().export_region, searched_model(embedding, search_index)
    done = export(storage, model, region(name), name, storage.exports())
    manifest = done.manifest
    provinces = [{"province": name, **part.counts} for name, part in manifest.parts.items()]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": manifest.summary.counts.get("captures", 0),
            "where": storage.exports().address(),
            "sequence": manifest.sequence,
            "bytes": sum(file.bytes for file in manifest.files()),
            "by_province": frame_table(pl.DataFrame(provinces)),
            "withheld": dg.MetadataValue.json(dict(manifest.summary.withheld)),
            "changes": dg.MetadataValue.json(dict(done.changes or {})),
            **manifest.summary.counts,
        }
    )
