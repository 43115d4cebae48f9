"""An export of a whole platform, opened by programs that know nothing of us."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from geopin_assets.exchange.publish import Published, publish
from geopin_assets.exchange.snapshot import searched_model, snapshot
from geopin_assets.files.object_store import FolderStore
from geopin_assets_tests.platform import CELLS, Platform, Ran

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def export(platform: Platform, folder: Path, now: datetime = NOW) -> Published:
    model = searched_model(platform.embedding, platform.search_index)
    with snapshot(platform.storage, model, CELLS, "amsterdam") as there:
        return publish(there, FolderStore(folder), now=now, takedown_days=7)


def test_an_export_is_opened_by_programs_that_do_not_know_us(ran: Ran, tmp_path: Path) -> None:
    done = export(ran.platform, tmp_path / "out")
    held = sum(ran.platform.captures().values())
    assert done.manifest.summary.counts["captures"] == held > 0
    captures = duckdb.sql(f"from '{tmp_path}/out/captures/*.parquet'")
    assert captures.count("*").fetchone() == (held,)
    vectors = duckdb.sql(f"from '{tmp_path}/out/vectors/*.parquet'")
    assert vectors.aggregate("count(*), any_value(len(embedding))").fetchone() == (
        done.manifest.summary.counts["vectors"],
        512,
    )
    again = export(ran.platform, tmp_path / "out")
    assert again.changes is None
