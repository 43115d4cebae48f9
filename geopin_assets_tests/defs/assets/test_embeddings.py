"""What a partition of index/embeddings says of a cell."""

from datetime import UTC, datetime

import polars as pl

from geopin_assets.defs.assets.embeddings import _done
from geopin_assets.embedding.plan import FAILURE_SCHEMA, CellEmbeddings, CellStats
from geopin_assets.embedding.protocol import STAND_IN
from geopin_assets.embedding.vectors import HELD_SCHEMA

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def shown(*failures: tuple[str, str]) -> dict[str, object]:
    """The metadata of a cell with failures of (source, reason), none of them of this run."""
    rows = [(f"{source}:{n}", source, "", reason, 1, NOW, None) for n, (source, reason) in enumerate(failures)]
    stats = CellStats(0, 0, {}, 0, len(rows), 0, 0, {}, "")
    nothing = pl.DataFrame(schema=HELD_SCHEMA)
    table = pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row")
    return _done("cell", CellEmbeddings(nothing, table, False, stats), stats, STAND_IN).metadata


def test_images_whose_owners_said_no_are_counted_per_source_in_later_runs_too() -> None:
    said = shown(("flickr", "opted_out"), ("flickr", "opted_out"), ("flickr", "not_found"), ("stac", "opted_out"))
    assert said["opted_out"].value == {"flickr": 2, "stac": 1}
    assert "opted_out" not in shown(("flickr", "not_found"))
