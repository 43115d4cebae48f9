"""What maintenance removes, and what it must never touch."""

import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geopin_assets.defs.assets.maintenance import catalog_upkeep, disk, leftovers, search_index_upkeep
from geopin_assets.index.versions import IndexVersion, State
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.index.frames import DIM, upsertable
from geopin_assets_tests.platform import Installation

NOW = datetime.now(UTC)
CELL = "nh-amsterdam-r090c051"


@pytest.fixture
def memory() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})


def maintain(
    asset: dg.AssetsDefinition, installation: Installation, instance: dg.DagsterInstance, **config: int
) -> dict[str, Any]:
    """What the asset shows afterwards."""
    ended = dg.materialize(
        [asset],
        instance=instance,
        resources={
            "storage": installation.storage,
            "search_index": installation.search_index,
            "embedding": installation.embedding,
        },
        run_config={"ops": {asset.op.name: {"config": config}}} if config else None,
    )
    (materialization,) = ended.asset_materializations_for_node(asset.op.name)
    return {name: value.value for name, value in materialization.metadata.items()}


def aged(path: Path, days: float, content: str = "x" * 100) -> Path:
    """A file that was written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    for changed in (path, path.parent):
        os.utime(changed, times=((NOW - timedelta(days=days)).timestamp(),) * 2)
    return path


def retire(installation: Installation, model_id: str, days: float) -> IndexVersion:
    """A version that served until so many days ago, with vectors."""
    versions, when = installation.search_index.versions(), NOW - timedelta(days=days)
    version = versions.publishing(model_id, DIM, shards=1, now=when)
    if version.state is State.BUILDING:
        versions.switch(version, when)
    version = next(v for v in versions.all() if v.name == version.name)
    (part,) = installation.search_index.vectors(version).parts
    part.create()
    for number in range(3):
        part.upsert(upsertable([(f"{model_id}{number}", number)]))
    return version


def test_versions_retired_long_ago_are_dropped_and_the_newest_retired_one_stays(
    installation: Installation, memory: dg.DagsterInstance
) -> None:
    for model_id, days in (("a", 200), ("b", 100), ("c", 90), ("d", 80)):
        retire(installation, model_id, days)  # each retires the one before: a 100 days ago, b 90, c 80
    versions = installation.search_index.versions()
    building = versions.rebuild("d", DIM, shards=1, now=NOW - timedelta(days=70))
    installation.search_index.vectors(building).parts[0].create()
    shown = maintain(search_index_upkeep, installation, memory, retired_days=95)
    assert shown["dropped_versions"] == ["geopin-a-v1"]
    assert shown["freed_bytes"] == shown["bytes_before"] - shown["bytes"]
    shown = maintain(search_index_upkeep, installation, memory, retired_days=1)
    assert shown["dropped_versions"] == ["geopin-b-v1"]
    assert [(v.name, v.state) for v in versions.all()] == [
        ("geopin-c-v1", State.RETIRED),
        ("geopin-d-v1", State.SERVING),
        ("geopin-d-v2", State.BUILDING),
    ]
    folders = {path.name for path in (installation.storage.settings().index_dir / "vectors").iterdir()}
    assert folders == {"geopin-c-v1.lance", "geopin-d-v1.lance", "geopin-d-v2.lance"}


def test_compacting_keeps_every_vector(installation: Installation, memory: dg.DagsterInstance) -> None:
    version = retire(installation, "a", 10)
    maintain(search_index_upkeep, installation, memory)
    (part,) = installation.search_index.vectors(version).parts
    assert sorted(part.ids()) == ["a0", "a1", "a2"]


def test_an_index_that_was_never_published_to_costs_nothing(
    installation: Installation, memory: dg.DagsterInstance
) -> None:
    shown = maintain(search_index_upkeep, installation, memory)
    assert (shown["versions"], shown["bytes"], shown["dropped"]) == (0, 0, 0)
    assert maintain(catalog_upkeep, installation, memory)["bytes"] == 0


def test_the_catalog_is_tidied_and_holds_what_it_held(installation: Installation, memory: dg.DagsterInstance) -> None:
    raw, catalog = installation.storage.raw(), installation.storage.catalog()
    crawl(raw, CELL, [capture("a1"), capture("a2")])
    catalog.merge([CELL], raw)
    shown = maintain(catalog_upkeep, installation, memory)
    assert shown["bytes"] == installation.storage.settings().catalog_path.stat().st_size > 0
    assert 0 <= shown["unused_bytes"] < shown["bytes"]
    assert list(catalog.ids()) == ["panoramax:a1", "panoramax:a2"]


def test_only_what_nobody_writes_or_reads_any_more_is_removed(
    installation: Installation, memory: dg.DagsterInstance
) -> None:
    settings, present = installation.storage.settings(), installation.embedding.model().model_id
    installation.search_index.versions().publishing("indexed", DIM, shards=1, now=NOW)
    vectors, lately = settings.data_dir / "embeddings", datetime.now(UTC) - timedelta(days=4)
    gone = [
        aged(settings.data_dir / "raw" / "panoramax" / f".{CELL}.parquet.77.partial", 2),
        aged(settings.data_dir / "raw" / "panoramax" / f"{CELL}.parquet.damaged-20260101T000000-ab12", 40),
        aged(vectors / present / f"{CELL}.parts" / "0000001.parquet", 40),
        aged(vectors / "forgotten" / f"{CELL}.parquet", 40),
    ]
    kept = [
        aged(settings.data_dir / "raw" / "panoramax" / f".{CELL}.parquet.78.partial", 0.1),
        aged(settings.data_dir / "raw" / "panoramax" / f"{CELL}.parquet", 400),
        aged(settings.data_dir / "raw" / "panoramax" / f"{CELL}.parquet.damaged-{lately:%Y%m%dT%H%M%S}-ab13", 4),
        aged(vectors / present / f"{CELL}.parquet", 400),
        aged(vectors / present / "nh-amsterdam-r090c052.parts" / "0000001.parquet", 5),
        aged(vectors / "indexed" / f"{CELL}.parquet", 400),
        aged(vectors / "yesterdays" / f"{CELL}.parquet", 1),
    ]
    shown = maintain(leftovers, installation, memory)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert (shown["partial_files"], shown["part_files"], shown["files_of_unused_models"]) == (1, 1, 1)
    assert (shown["damaged_files"], shown["freed_bytes"]) == (1, 400)


def test_parts_that_are_being_written_now_are_kept_however_old_the_first_of_them_is(
    installation: Installation, memory: dg.DagsterInstance
) -> None:
    folder = installation.storage.settings().data_dir / "embeddings" / installation.embedding.model().model_id
    new = aged(folder / f"{CELL}.parts" / "0000002.parquet", 0)
    old = aged(folder / f"{CELL}.parts" / "0000001.parquet", 90)
    maintain(leftovers, installation, memory)
    assert old.exists() and new.exists()


@dg.asset(automation_condition=dg.AutomationCondition.eager())
def eager() -> None:
    """Evaluated, so that there is an evaluation."""


def test_old_evaluations_of_automation_are_purged(
    installation: Installation, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    storage = instance.schedule_storage
    assert storage is not None
    for number in (1, 2):
        result = dg.evaluate_automation_conditions([eager], instance)
        found = [r.serializable_evaluation.with_run_ids(frozenset()) for r in result.results]
        storage.add_auto_materialize_asset_evaluations(number, found)
    with sqlite3.connect(next(tmp_path.glob("**/schedules.db"))) as db:
        db.execute("update asset_daemon_asset_evaluations set create_timestamp = '2020-01-01' where evaluation_id = 1")
    maintain(leftovers, installation, instance)
    left = storage.get_auto_materialize_asset_evaluations(eager.key, limit=10)
    assert [record.evaluation_id for record in left] == [2]


def test_the_disk_report_measures_every_folder(installation: Installation, memory: dg.DagsterInstance) -> None:
    settings = installation.storage.settings()
    aged(settings.data_dir / "raw" / "panoramax" / f"{CELL}.parquet", 1)
    aged(settings.data_dir / "embeddings" / "m" / f"{CELL}.parquet", 1)
    aged(Path(memory.root_directory) / "storage" / "run" / "stdout", 1)
    shown = maintain(disk, installation, memory)
    assert (shown["raw_bytes"], shown["embeddings_bytes"], shown["dagster_storage_bytes"]) == (100, 100, 100)
    assert shown["total_bytes"] == sum(value for name, value in shown.items() if name.endswith("_bytes")) - (
        shown["total_bytes"] + shown["disk_free_bytes"]
    )
    assert 0 <= shown["disk_free_percent"] <= 100
