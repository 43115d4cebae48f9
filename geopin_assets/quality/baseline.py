"""The baseline that a municipality's own survey gives: panoramas in every land cell of its city. Nothing else.

Where that is not so, a crawl or the source's API is at fault: the street itself was certainly photographed.
"""

from dataclasses import dataclass

import polars as pl

from geopin_assets.quality.coverage import MUNICIPAL_SOURCE, land_cells
from geopin_assets.quality.names import place_name

BASELINE_PLACE = "amsterdam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How far the survey of a place was found."""

    land_cells: int
    """Dutch-land cells of the place."""
    crawled_cells: int
    """Of these, those that the municipal source has crawled: only these can be judged."""
    without_panorama: tuple[str, ...]
    """Of these, those where no municipal panorama was found, in partition order."""

    @property
    def is_met(self) -> bool:
        """False where nothing was crawled: an unknown baseline is not a met one."""
        return self.crawled_cells > 0 and not self.without_panorama

    def __str__(self) -> str:
        place, source = place_name(BASELINE_PLACE), f"the source {MUNICIPAL_SOURCE}"
        if not self.crawled_cells:
            return f"not judged: {source} has crawled none of the {self.land_cells} land cells of {place}"
        rest = self.land_cells - self.crawled_cells
        apart = f"; {rest} more were not crawled by it yet" if rest else ""
        judged = f"{self.crawled_cells} land cells of {place} that {source} has crawled"
        if not self.without_panorama:
            return f"all {judged} have its panoramas{apart}"
        shown = ", ".join(self.without_panorama[:10])
        more = f" and {len(self.without_panorama) - 10} more" if len(self.without_panorama) > 10 else ""
        return f"{len(self.without_panorama)} of {judged} have no panorama of it: {shown}{more}{apart}"


def municipal_baseline(coverage: pl.DataFrame, crawled: pl.DataFrame) -> Baseline:
    """Frames as in `coverage.py`."""
    place = land_cells().filter(pl.col("place") == BASELINE_PLACE)
    judged = place.join(crawled.filter(pl.col("source") == MUNICIPAL_SOURCE), on="cell_id", how="semi")
    photographed = coverage.filter((pl.col("source") == MUNICIPAL_SOURCE) & (pl.col("panos") > 0))
    missing = judged.join(photographed, on="cell_id", how="anti", maintain_order="left")
    return Baseline(land_cells=place.height, crawled_cells=judged.height, without_panorama=tuple(missing["cell_id"]))
