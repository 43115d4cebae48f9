"""Each check of quality/integrity says no when what it guards is broken, and only then."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

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
    path = platform.vectors(HERE).path
    stored = pl.read_parquet(path)
    longer = pl.Series("embedding", stored["embedding"].to_numpy() * 2, dtype=stored.schema["embedding"])
    stored.with_columns(longer).write_parquet(path)


def lose_a_vector(platform: Platform) -> None:
    ids = platform.vectors(HERE).read()["vector_id"].head(1).to_list()
    platform.index.delete(ids)


def lose_a_row(platform: Platform) -> None:
    platform.rows.delete("captures", [platform.storage.catalog().ids()[0]])


def checks(platform: Platform, instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    job = platform.definitions.resolve_implicit_global_asset_job_def()
    ended = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["quality", "integrity"])])
    return list(ended.get_asset_check_evaluations())


def verdicts(platform: Platform, instance: dg.DagsterInstance) -> dict[str, bool]:
    return {check.check_name: check.passed for check in checks(platform, instance)}


@pytest.mark.parametrize(
    ("break_it", "check"),
    [
        (duplicate_a_capture, "no_duplicates"),
        (close_a_license, "license_and_attribution"),
        (forget_an_attribution, "license_and_attribution"),
        (stretch_the_vectors, "vectors_unit_norm"),
        (lose_a_vector, "index_in_sync"),
        (lose_a_row, "index_in_sync"),
    ],
)
def test_a_check_fails_for_what_it_guards_and_the_others_do_not(
    break_it: Callable[[Platform], None], check: str, platform: Platform, instance: dg.DagsterInstance
) -> None:
    platform.run(instance, (HERE,), ("panoramax",))
    assert set(verdicts(platform, instance).values()) == {True}
    break_it(platform)
    assert {name for name, passed in verdicts(platform, instance).items() if not passed} == {check}


def test_the_check_names_the_vector_that_is_gone(platform: Platform, instance: dg.DagsterInstance) -> None:
    platform.run(instance, (HERE,), ("panoramax",))
    gone = platform.vectors(HERE).read()["vector_id"][0]
    lose_a_vector(platform)
    (text,) = (check.description for check in checks(platform, instance) if check.check_name == "index_in_sync")
    assert f"lost: {gone}" in str(text)
