"""quality/layers: captures, cells and gaps as vector tiles that any map can show.

Not here: what is in them (`quality/layers.py`), or coverage itself (`coverage.py`).
"""

from datetime import UTC, datetime

import dagster as dg

from geopin_assets.defs.declare import report
from geopin_assets.defs.resources import Storage


@report("quality/layers", kinds={"pmtiles"})
def layers(storage: Storage) -> dg.MaterializeResult:
    """Vector tiles of every capture (source, age, direction, kind), of crawled cells and of gaps, and a map of them.

    Files only: beside the reports, or on any server that answers ranges. docs/layers.md tells how QGIS, MapLibre and
    others open them.
    """
    from geopin_assets.files.parquet import read_frame
    from geopin_assets.quality.coverage import Expectations, find_gaps
    from geopin_assets.quality.layers import FOLDER, LAYER_COLUMNS, write_layers

    catalog, settings = storage.catalog(), storage.settings()
    coverage = read_frame(storage.quality_dir() / "coverage.parquet")
    crawled = catalog.crawls().select("source", "cell_id", "is_complete")
    expectations = Expectations(
        now=datetime.now(UTC),
        max_age_years=settings.coverage_max_age_years,
        captures_per_1000_inhabitants=settings.coverage_captures_per_1000,
    )
    url = f"{settings.reports_url}/{FOLDER}"
    made = write_layers(
        lambda cell_ids: catalog.captures(cell_ids, columns=LAYER_COLUMNS),
        catalog.cell_counts(),
        coverage,
        find_gaps(coverage, crawled, expectations),
        storage.quality_dir() / FOLDER,
        url,
    )
    return dg.MaterializeResult(
        metadata={
            "map": dg.MetadataValue.url(f"{url}/{made.page.name}"),
            "map_file": dg.MetadataValue.path(str(made.page)),
            "captures_tilejson": dg.MetadataValue.url(f"{url}/captures.json"),
            "cells_tilejson": dg.MetadataValue.url(f"{url}/cells.json"),
            "captures": made.captures,
            "tiles": made.tiles,
            "bytes": made.bytes,
        }
    )
