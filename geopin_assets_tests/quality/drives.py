"""Invented drives through the streets of towns, many captures at once: what maps are drawn of. No assertions."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.cells import all_cells, stored_facts
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
    frame = _driven(start, random).with_columns(
        row=((pl.col("lat") - SOUTH) / CELL_LAT_DEG).floor().cast(pl.Int64),
        column=((pl.col("lon") - WEST) / CELL_LON_DEG).floor().cast(pl.Int64),
    )
    cells = pl.DataFrame(
        [(f.row, f.column, f.cell.cell_id) for f in all_cells()], ["row", "column", "cell_id"], orient="row"
    )
    return frame.join(cells, on=["row", "column"]).select(*LAYER_COLUMNS, "cell_id")


class Country:
    """About so many in all cells, where people live, that are drawn anew whenever they are asked for."""

    def __init__(self, captures: int) -> None:
        self._captures = captures

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """By cell, in hundreds."""
        weights = {one.cell.cell_id: one.population + 20 for one in all_cells()}
        each = self._captures / sum(weights.values()) / _LONG
        streets = {cell_id: round(weight * each) for cell_id, weight in weights.items()}
        return {cell_id: _LONG * count for cell_id, count in streets.items() if count}

    def captures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Of some cells: LAYER_COLUMNS and `cell_id`."""
        return pl.concat([self._of(cell_id) for cell_id in cell_ids])

    def _of(self, cell_id: str) -> pl.DataFrame:
        facts, streets = stored_facts(cell_id), self.counts[cell_id] // _LONG
        random, box = np.random.default_rng([facts.row, facts.column]), facts.cell.bbox
        room = np.array([box.east - box.west, box.north - box.south]) - _LONG * _STEP_DEG - 1e-4
        start = np.array([box.west, box.south]) + 5e-5 + room * random.random((streets, 2)).round(2)
        about = _driven(start, random).with_columns(
            capture_id=pl.concat_str("capture_id", pl.lit(f"-{cell_id}")), cell_id=pl.lit(cell_id)
        )
        return about.select(*LAYER_COLUMNS, "cell_id")


def _driven(start: NDArray[np.float64], random: np.random.Generator) -> pl.DataFrame:
    """Streets that begin there, east or north: LAYER_COLUMNS."""
    streets = len(start)
    is_north = random.random(streets) < 0.5
    step = np.where(is_north[:, None], [0, 0.6 * _STEP_DEG], [_STEP_DEG, 0])
    at = (start[:, None] + np.arange(_LONG)[None, :, None] * step[:, None]).reshape(-1, 2)
    at += random.normal(0, 4e-6, at.shape)
    days = pl.Series(random.integers(16_000, 20_700, streets).repeat(_LONG)).cast(pl.Date)
    source = np.array(SOURCES)[random.integers(len(SOURCES), size=streets)].repeat(_LONG)
    return pl.DataFrame({"source": source, "lon": at[:, 0], "lat": at[:, 1]}).with_columns(
        capture_id=pl.format("{}:{}", "source", pl.int_range(pl.len())),
        captured_at=days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        heading_deg=pl.Series(np.where(is_north, 0.0, 90.0).repeat(_LONG)),
        is_pano=pl.Series((random.random(streets) < 0.3).repeat(_LONG)),
        license=pl.lit("CC-BY-SA-4.0"),
        attribution=pl.lit("Anna – Panoramax, CC BY-SA 4.0"),
        page_url=pl.format("https://panoramax.example/#{}", pl.int_range(pl.len())),
        not_indexed_because=pl.lit(None, pl.String),
    )
