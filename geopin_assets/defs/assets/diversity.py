"""quality/diversity: seasons, years and directions that the captures of each place show.

Not here: how they are counted (`quality/diversity.py`).
"""

import dagster as dg

from geopin_assets.defs.declare import Columns, frame_table, report
from geopin_assets.defs.resources import Storage
from geopin_assets.quality.diversity import PLACE_DESCRIPTIONS, PLACE_SCHEMA, SEASONS, write_diversity

_PLACES_SHOWN, _YEARS_SHOWN = 25, 25
_SPREAD = [*SEASONS, "years", "first_year", "last_year"]
_OF_A_PROVINCE = ["province", "captures", "covered_places", "all_seasons_share", "all_headings_share", *_SPREAD]
_OF_A_PLACE = ["place", "population", "captures", "seasons", "heading_sectors", *_SPREAD]


@report("quality/diversity", columns=Columns(PLACE_SCHEMA, PLACE_DESCRIPTIONS), kinds={"polars"})
def diversity(storage: Storage) -> dg.MaterializeResult:
    """Whether a place is shown in every season, over the years and from every side, and not just on one summer day.

    A photo is found by images that look alike, so a place known only in summer, or from one side, is found less
    well. `one_sided` lists the largest places that lack a season or a direction: that is where other imagery helps.
    Seasons are meteorological (winter is December to February); directions are eighths of a turn, and a panorama
    looks into all of them.
    """
    with storage.quality().as_folder() as folder:
        report = write_diversity(storage.catalog().tally(), folder)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.by_place.height,
            "captures": report.captures,
            "places": report.places,
            "covered_places": report.covered_places,
            "all_seasons_share": report.all_seasons_share,
            "all_headings_share": report.all_headings_share,
            "winter_share": report.winter_share,
            "undated_share": report.undated_share,
            "undirected_share": report.undirected_share,
            "by_province": frame_table(report.by_province.select(_OF_A_PROVINCE)),
            "by_year": frame_table(report.by_year.head(_YEARS_SHOWN)),
            "one_sided": frame_table(report.one_sided.head(_PLACES_SHOWN).select(_OF_A_PLACE)),
            "places_parquet": dg.MetadataValue.path(storage.quality().address(report.parquet.name)),
            "years_parquet": dg.MetadataValue.path(storage.quality().address(report.years_parquet.name)),
        }
    )
