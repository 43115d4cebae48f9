"""Invented drives through the streets of towns, many captures at once: what maps are drawn of. No assertions."""

import numpy as np
import polars as pl

from geopin_assets.cells import all_cells
from geopin_assets.grid import CELL_LAT_DEG, CELL_LON_DEG, SOUTH, WEST
from geopin_assets.quality.layers import LAYER_COLUMNS

SOURCES = ("mapillary", "panoramax", "amsterdam", "kartaview")
TOWNS = ((4.895, 52.37), (5.12, 52.09), (4.64, 52.38), (4.48, 51.92), (4.30, 52.07), (5.22, 52.37))
_LONG, _STEP_DEG = 100, 5e-5


def drives(captures: int, seed: int = 0) -> pl.DataFrame:
    """So many (in hundreds) with the columns of a layer and `cell_id`: straight streets, each driven on one day."""
    random, streets = np.random.default_rng(seed), captures // _LONG
    center = np.array(TOWNS)[random.integers(len(TOWNS), size=streets)]
    start = center + random.normal(0, [0.035, 0.02], (streets, 2)).round(3)
    is_north = random.random(streets) < 0.5
    step = np.where(is_north[:, None], [0, 0.6 * _STEP_DEG], [_STEP_DEG, 0])
    at = (start[:, None] + np.arange(_LONG)[None, :, None] * step[:, None]).reshape(-1, 2)
    at += random.normal(0, 4e-6, at.shape)
    days = pl.Series(random.integers(16_000, 20_700, streets).repeat(_LONG)).cast(pl.Date)
    source = np.array(SOURCES)[random.integers(len(SOURCES), size=streets)].repeat(_LONG)
    frame = pl.DataFrame({"source": source, "lon": at[:, 0], "lat": at[:, 1]}).with_columns(
        capture_id=pl.format("{}:{}", "source", pl.int_range(pl.len())),
        captured_at=days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        heading_deg=pl.Series(np.where(is_north, 0.0, 90.0).repeat(_LONG)),
        is_pano=pl.Series((random.random(streets) < 0.3).repeat(_LONG)),
        license=pl.lit("CC-BY-SA-4.0"),
        attribution=pl.lit("Anna – Panoramax, CC BY-SA 4.0"),
        page_url=pl.format("https://panoramax.example/#{}", pl.int_range(pl.len())),
        not_indexed_because=pl.lit(None, pl.String),
        row=((pl.col("lat") - SOUTH) / CELL_LAT_DEG).floor().cast(pl.Int64),
        column=((pl.col("lon") - WEST) / CELL_LON_DEG).floor().cast(pl.Int64),
    )
    cells = pl.DataFrame(
        [(f.row, f.column, f.cell.cell_id) for f in all_cells()], ["row", "column", "cell_id"], orient="row"
    )
    return frame.join(cells, on=["row", "column"]).select(*LAYER_COLUMNS, "cell_id")
