"""Each check of quality/integrity says no when what it guards is broken, and only then."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from geopin_assets.defs.assets.integrity import CHECKS, budget_check, publishing_month
from geopin_assets.http_client import DailyUse
from geopin_assets_tests.instances import new_instance
from geopin_assets_tests.platform import CELLS, Platform

HERE = CELLS[0]


def change_catalog(platform: Platform, sql: str) -> None:
    with duckdb.connect(str(Path(platform.overrides["GEOPIN_DATA"]) / "catalog.duckdb")) as db:
        db.execute(sql)


def duplicate_a_capture(platform: Platform) -> None:
    change_catalog(platform, "insert into captures select * from captures limit 1")


def close_a_license(platform: Platform) -> None:
    change_catalog(platform, "update captures set license = 'CC-BY-NC-4.0' where is_pano = false")


def forget_an_attribution(platform: Platform) -> None:
    change_catalog(platform, "update captures set attribution = ' ' where is_pano = false")


def stretch_the_vectors(platform: Platform) -> None:
    vectors = platform.vectors(HERE)
    stored = vectors.read()
    longer = pl.Series("embedding", stored["embedding"].to_numpy() * 2, dtype=stored.schema["embedding"])
    with vectors.objects.replacing(vectors.key) as path:
        stored.with_columns(longer).write_parquet(path)


def lose_a_vector(platform: Platform) -> None:
    ids = platform.vectors(HERE).read()["vector_id"].head(1).to_list()
    platform.index.delete(ids)


def double_the_vectors(platform: Platform) -> None:
    table = platform.index._table()  # type: ignore[attr-defined]
    table.add(table.to_arrow())


def forget_the_switch(platform: Platform) -> None:
    """As a run that was killed after it switched, before it said so."""
    platform.rows.delete("publication", [platform.search_index.versions().all()[0].name])


def lose_a_row(platform: Platform) -> None:
    platform.rows.delete("captures", [platform.storage.catalog().ids()[0]])


def lose_the_images(platform: Platform) -> None:
    change_catalog(
        platform,
        """insert into embedding_failures
        select capture_id, cell_id, source, image_version, 'not_found', 1, now(), null from captures limit 1""",
    )


def spend_a_budget(platform: Platform) -> None:
    platform.set(GEOPIN_MAPILLARY_TILES_PER_DAY="1")
    DailyUse(platform.storage.settings().daily_use_path).spend("mapillary", "tiles", 1)


@pytest.fixture(scope="module")
def published(sandbox_port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A platform that has published one cell of one source; each test breaks a copy of it."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "photos").mkdir()
    with new_instance() as instance:
        Platform(folder, sandbox_port).run(instance, (HERE,), ("panoramax",), reports=False)
    return folder


@pytest.fixture
def platform(published: Path, sandbox_port: int, tmp_path: Path) -> Platform:
    shutil.copytree(published, tmp_path / "copy")
    return Platform(tmp_path / "copy", sandbox_port)


def verdicts(platform: Platform, instance: dg.DagsterInstance) -> dict[str, bool]:
    return {check.check_name: check.passed for check in platform.checks(instance)}


@pytest.mark.parametrize(
    ("break_it", "check"),
    [
        (duplicate_a_capture, "no_duplicates"),
        (close_a_license, "license_and_attribution"),
        (forget_an_attribution, "license_and_attribution"),
        (stretch_the_vectors, "vectors_unit_norm"),
        (lose_a_vector, "index_in_sync"),
        (lose_a_row, "index_in_sync"),
        (double_the_vectors, "index_in_sync"),
        (forget_the_switch, "index_in_sync"),
        (lose_the_images, "embedding_failures"),
        (spend_a_budget, "budget"),
    ],
)
def test_a_check_fails_for_what_it_guards_and_the_others_do_not(
    break_it: Callable[[Platform], None], check: str, platform: Platform, instance: dg.DagsterInstance
) -> None:
    break_it(platform)
    assert {name for name, passed in verdicts(platform, instance).items() if not passed} == {check}


def test_a_sound_platform_passes_every_check_and_says_what_was_looked_at(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    said = {check.check_name: check for check in platform.checks(instance)}
    assert {name for name, check in said.items() if not check.passed} == set()
    assert set(said) == set(CHECKS)
    assert all(len(check.description or "") > 10 for check in said.values())
    assert str(said["budget"].description).endswith("publishing is embedded and costs nothing")


def test_a_month_that_costs_more_than_it_may_is_a_warning(platform: Platform, instance: dg.DagsterInstance) -> None:
    """At Cloudflare: what its runs said they wrote, and what storing costs."""
    platform.set(GEOPIN_INDEX="cloudflare", GEOPIN_MONTHLY_BUDGET_USD="9.99")
    for cell_id, rows in ((HERE, 59_000_000), (CELLS[1], 1_000_000)):
        written = {"rows_written": rows, "store_requests": 7}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(["publish", "d1"], partition=cell_id, metadata=written)
        )
    month = publishing_month(
        platform.storage, instance, vectors=0, captures=0, dim=512, now=datetime.now(UTC) + timedelta(days=29)
    )
    check = budget_check([], month)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).endswith(
        "60,000,000 rows written, 14 requests, about $10.00 with storage and search (budget $9.99)"
    )
    later = publishing_month(
        platform.storage, instance, vectors=0, captures=0, dim=512, now=datetime.now(UTC) + timedelta(days=31)
    )
    assert later is not None and (later.rows_written, later.requests, later.is_within) == (0, 0, True)


def test_the_check_names_the_vector_that_is_gone(platform: Platform, instance: dg.DagsterInstance) -> None:
    gone = platform.vectors(HERE).read()["vector_id"][0]
    lose_a_vector(platform)
    (text,) = (check.description for check in platform.checks(instance) if check.check_name == "index_in_sync")
    assert f"lost: {gone}" in str(text)
    assert f"in the cells: {HERE}" in str(text)


def test_the_check_names_the_cell_whose_vectors_are_not_of_unit_length(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    stretch_the_vectors(platform)
    (text,) = (check.description for check in platform.checks(instance) if check.check_name == "vectors_unit_norm")
    assert str(text).endswith(f"in the cells: {HERE}")
