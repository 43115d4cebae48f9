"""quality/attribution: who made the captures, under which licenses, and where their platforms take more.

Not here: counting and the text of the notice (`quality/attribution.py`).
"""

from datetime import UTC, datetime

import dagster as dg

from geopin_assets.defs.declare import Columns, frame_table, report
from geopin_assets.defs.resources import Storage
from geopin_assets.quality.attribution import ATTRIBUTION_DESCRIPTIONS, ATTRIBUTION_SCHEMA, write_attribution
from geopin_assets.sources import SOURCES


@report("quality/attribution", columns=Columns(ATTRIBUTION_SCHEMA, ATTRIBUTION_DESCRIPTIONS), kinds={"polars"})
def attribution(storage: Storage) -> dg.MaterializeResult:
    """Captures per source, license and creator, and a notice that is ready to publish beside the index.

    `notice` names every source, license and creator and what must be shown; `creators` lists all creators for a
    spreadsheet. `contribute` says, for each platform, where people add imagery and how many land cells it was asked
    for and showed nothing: `empty` cells, the `people` who live there, and the place of the most populated one.
    """
    catalog, settings = storage.catalog(), storage.settings()
    crawls = catalog.crawls().select("source", "cell_id", "captures")
    with storage.quality().as_folder() as folder:
        report = write_attribution(catalog.attributions(), crawls, SOURCES, folder, now=datetime.now(UTC))
    return dg.MaterializeResult(
        metadata={
            "notice": dg.MetadataValue.url(f"{settings.reports_url}/{report.notice.name}"),
            "creators": dg.MetadataValue.url(f"{settings.reports_url}/{report.creators_csv.name}"),
            "notice_file": dg.MetadataValue.path(storage.quality().address(report.notice.name)),
            "attribution_parquet": dg.MetadataValue.path(storage.quality().address(report.parquet.name)),
            "dagster/row_count": report.rows,
            "captures": report.captures,
            "source_count": report.sources,
            "license_count": report.licenses,
            "creator_count": report.creators,
            "captures_without_creator": report.unnamed,
            "by_license": frame_table(report.by_license),
            "top_creators": frame_table(report.top_creators),
            "contribute": frame_table(report.contribute),
        }
    )
