"""quality/layers: captures, cells and gaps as vector tiles that any map can show.

Not here: what is in them (`quality/layers.py`), or coverage itself (`coverage.py`).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import frame_table, report
from geopin_assets.defs.resources import Storage
from geopin_assets.errors import DamagedFileError
from geopin_assets.files.object_store import NoSuchObjectError

if TYPE_CHECKING:
    from geopin_assets.quality.streets import Measured

_SHOWN = 50


@report("quality/layers", kinds={"pmtiles"})
def layers(storage: Storage) -> dg.MaterializeResult:
    """Vector tiles of every capture (source, age, direction, kind), of crawled cells and of gaps, and a map of them.

    Files only: beside the reports, or on any server that answers ranges. docs/layers.md tells how QGIS, MapLibre and
    others open them. With an OpenStreetMap extract (GEOPIN_STREETS) streets are a layer too, and `streets` says what
    share of their kilometers has an image, and a recent one, by municipality.
    """
    from geopin_assets.quality.coverage import Expectations, find_gaps
    from geopin_assets.quality.layers import FOLDER, LAYER_COLUMNS, write_layers

    catalog, settings = storage.catalog(), storage.settings()
    coverage = _coverage(storage)
    crawled = catalog.crawls().select("source", "cell_id", "is_complete")
    expectations = Expectations(
        now=datetime.now(UTC),
        max_age_years=settings.coverage_max_age_years,
        captures_per_1000_inhabitants=settings.coverage_captures_per_1000,
    )
    url, streets = f"{settings.reports_url}/{FOLDER}", _streets(storage)
    with storage.quality().below(FOLDER).as_folder() as folder:
        made = write_layers(
            lambda cell_ids: catalog.captures(cell_ids, columns=LAYER_COLUMNS),
            catalog.cell_counts(),
            coverage,
            find_gaps(coverage, crawled, expectations),
            folder,
            url,
            streets.lines if streets else (),
        )
    shown: dict[str, Any] = {
        "map": dg.MetadataValue.url(f"{url}/{made.page.name}"),
        "captures_tilejson": dg.MetadataValue.url(f"{url}/captures.json"),
        "cells_tilejson": dg.MetadataValue.url(f"{url}/cells.json"),
        "captures": made.captures,
        "tiles": made.tiles,
        "bytes": made.bytes,
    }
    return dg.MaterializeResult(metadata=shown | ({} if streets is None else _of_streets(streets)))


def _coverage(storage: Storage) -> pl.DataFrame:
    """Of the last report; counted here where there was none yet."""
    from geopin_assets.files.parquet import read_frame
    from geopin_assets.quality.coverage import COVERAGE_SCHEMA

    try:
        with storage.quality().as_file("coverage.parquet") as path:
            return read_frame(path).cast(COVERAGE_SCHEMA)
    except (NoSuchObjectError, FileNotFoundError, DamagedFileError, pl.exceptions.PolarsError):
        return storage.catalog().coverage().cast(COVERAGE_SCHEMA)


def _streets(storage: Storage) -> "Measured | None":
    from geopin_assets.files.parquet import write_frame
    from geopin_assets.quality.streets import measure, read_extract

    catalog, settings = storage.catalog(), storage.settings()
    if not settings.streets:
        return None
    measured = measure(
        read_extract(Path(settings.streets)),
        lambda cell_ids: catalog.captures(cell_ids, columns=("lon", "lat", "captured_at")),
        now=datetime.now(UTC),
        max_age_years=settings.coverage_max_age_years,
    )
    with storage.quality().as_folder() as folder:
        write_frame(folder / "streets.parquet", measured.by_municipality)
    return measured


def _of_streets(measured: "Measured") -> dict[str, Any]:
    table = measured.by_municipality
    total = table.row(-1, named=True)
    shown = pl.concat([table.tail(1), table.head(-1)]).head(_SHOWN)
    return {
        "street_km": total["street_km"],
        "shown_share": total["shown_share"],
        "recent_share": total["recent_share"],
        "streets": frame_table(shown.with_columns(pl.col("newest").dt.strftime("%Y-%m-%d"))),
    }
