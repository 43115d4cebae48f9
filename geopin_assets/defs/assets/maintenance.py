"""operations/…: what grows although nobody needs it is given back, and what everything takes is measured.

Here: how old something must be before it goes, and the numbers that the UI plots over time. Not here: removing,
compacting and measuring (`files/disk.py`, `index/`). Assets rather than ops, because assets have plots; several,
because each waits for the pool of those who write the same files. Together they are the job `maintenance`.
"""

from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path, PurePosixPath
from shutil import disk_usage
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from geopin_assets.defs.declare import asset, version_of_module
from geopin_assets.defs.graph import EMBEDDINGS, VECTORIZE
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.running.history import purge_backfills, purge_runs
from geopin_assets.files.damage import set_aside_before
from geopin_assets.files.disk import (
    bytes_of,
    damaged_files,
    partial_files,
    remove_files,
    remove_folders,
    untouched_folders,
)
from geopin_assets.index.versions import State
from geopin_assets.platform.index_state import drop_version

if TYPE_CHECKING:
    from geopin_assets.files.object_store import ObjectStore

_CODE = [version_of_module(__file__)]
_ABANDONED_AFTER = timedelta(days=1)
"""Runs end after two hours (`run_monitoring` in dagster.yaml), so nobody goes on writing what is this old."""
_HISTORY = ("history", "schedules", "storage", "logs")


class IndexRetention(dg.Config):
    """How long what was replaced in the index is kept."""

    retired_days: int = Field(
        default=30,
        ge=1,
        description="Days that a retired version of the index is kept; the newest retired one always is",
    )


@asset("operations/search_index", decided_by=_CODE, kinds={"lancedb"})
def search_index_upkeep(config: IndexRetention, search_index: SearchIndex) -> dg.MaterializeResult:
    """Versions of the index that were retired long ago are dropped, and the embedded index is compacted.

    The one that searches use, the one being built and the newest retired one always stay. Runs in the pool of those
    who publish, as nobody may write meanwhile.
    """
    folder = search_index.settings().index_dir
    bytes_before, now = bytes_of(folder), datetime.now(UTC)
    outlived = search_index.versions().outlived(now - timedelta(days=config.retired_days))
    for version in outlived:
        with search_index.leases().held(VECTORIZE, what=f"dropping {version.name}"):  # nobody is publishing to it
            drop_version(search_index, version)
    kept, ledger = search_index.versions().all(), search_index.ledger()
    for version in kept:
        for part in search_index.vectors(version).parts:
            with ledger.turn(part.store_key):
                search_index.backend().compact_index(part.name, version.dim)
    bytes_after = bytes_of(folder)
    return dg.MaterializeResult(
        metadata={
            "dropped": len(outlived),
            "dropped_versions": dg.MetadataValue.json([version.name for version in outlived]),
            "versions": len(kept),
            "bytes_before": bytes_before,
            "bytes": bytes_after,
            "freed_bytes": bytes_before - bytes_after,
        }
    )


@asset("operations/catalog", decided_by=_CODE, kinds={"duckdb"})
def catalog_upkeep(storage: Storage) -> dg.MaterializeResult:
    """The catalog's file is shortened where its end is unused, and a copy published where readers elsewhere are.

    `unused_bytes` is room inside the file that the next writes take first. Runs in the pool of the catalog's writers.
    """
    path = storage.settings().catalog_path
    if not path.exists():
        return dg.MaterializeResult(metadata={"bytes_before": 0, "bytes": 0, "freed_bytes": 0, "unused_bytes": 0})
    bytes_before = bytes_of(path)
    space = storage.catalog().tidy()
    return dg.MaterializeResult(
        metadata={
            "published": _published(storage),
            "bytes_before": bytes_before,
            "bytes": space.bytes,
            "freed_bytes": bytes_before - space.bytes,
            "unused_bytes": space.unused_bytes,
        }
    )


def _published(storage: Storage) -> str:
    """The copy for readers elsewhere; none where the store is this machine's own folder."""
    from geopin_assets.store.snapshot import publish

    settings, catalog = storage.settings(), storage.catalog()
    if settings.store == str(settings.data_dir) or catalog.mark() is None:
        return "not: the store is not shared"
    return publish(catalog, storage.snapshots()).key


class FileRetention(dg.Config):
    """How long what nobody asked for any more is kept."""

    parts_days: int = Field(
        default=30,
        ge=1,
        description="Days without a write after which the parts of a cell whose embedding was killed are removed; "
        "until then the next run over the cell continues from them",
    )
    model_days: int = Field(
        default=30,
        ge=1,
        description="Days without a write after which the vectors of a model are removed that is neither the present "
        "one nor in any version of the index",
    )
    damaged_days: int = Field(default=30, ge=1, description="Days that a file is kept that was damaged and set aside")
    history_days: int = Field(
        default=90,
        ge=14,
        description="Days that Dagster's runs and backfills stay; a run that made what is there now stays longer",
    )
    evaluations_days: int = Field(default=30, ge=1, description="Days that Dagster's evaluations of automation stay")


@asset("operations/leftovers", decided_by=_CODE, kinds={"parquet"})
def leftovers(
    context: dg.AssetExecutionContext,
    config: FileRetention,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
) -> dg.MaterializeResult:
    """What killed runs, forgotten models and Dagster's runs and automation left behind is removed, by age.

    Small Parquet files that the embedding of a killed run left in a cell become one; the next run continues from it.
    A finished cell is one file already, replaced whole. Runs in the pool of those who embed.
    """
    from geopin_assets.embedding.stored_vectors import compact_parts, parts_folders

    settings, now = storage.settings(), datetime.now(UTC)
    vectors = storage.embeddings()
    until = now - timedelta(days=config.damaged_days)
    partial = remove_files(chain.from_iterable(partial_files(one, now - _ABANDONED_AFTER) for one in settings.folders))
    damaged = remove_files(chain.from_iterable(damaged_files(one, until) for one in settings.folders))
    aside = list(set_aside_before(storage.objects().aside(), until))
    storage.objects().delete(aside)
    folders = {folder: _cell_of(folder) for folder in parts_folders(vectors)}
    with storage.leases().free(EMBEDDINGS, folders.values()) as ours:  # what somebody embeds right now is no leftover
        idle = [folder for folder, cell_id in folders.items() if cell_id in ours]
        parts = remove_folders(vectors, untouched_folders(vectors, idle, now - timedelta(days=config.parts_days)))
        compacted = compact_parts(vectors, untouched_folders(vectors, idle, now - _ABANDONED_AFTER))
    _purge_evaluations(context.instance, now - timedelta(days=config.evaluations_days))
    history = now - timedelta(days=config.history_days)
    runs, backfills = purge_runs(context.instance, history), purge_backfills(context.instance, history)
    unused = _unused_models(vectors, embedding, search_index)
    models = remove_folders(vectors, untouched_folders(vectors, unused, now - timedelta(days=config.model_days)))
    return dg.MaterializeResult(
        metadata={
            "partial_files": partial.files,
            "damaged_files": damaged.files + len(aside),
            "part_files": parts.files,
            "part_files_compacted": compacted,
            "files_of_unused_models": models.files,
            "old_runs": runs,
            "old_backfills": backfills,
            "freed_bytes": partial.bytes + damaged.bytes + parts.bytes + models.bytes,
        }
    )


def _cell_of(parts_folder: str) -> str:
    return PurePosixPath(parts_folder).name.removesuffix(".parts")


def _unused_models(vectors: "ObjectStore", embedding: Embedding, search_index: SearchIndex) -> list[str]:
    found, _ = vectors.look()
    if not found:
        return []
    used = {embedding.model().model_id, *(version.model_id for version in search_index.versions().all())}
    return [model_id for model_id in found if model_id not in used]


def _purge_evaluations(instance: dg.DagsterInstance, before: datetime) -> None:
    """Dagster purges those of its own daemon only, not those of automation sensors that run our conditions."""
    if instance.schedule_storage is not None:
        instance.schedule_storage.purge_asset_evaluations(before.timestamp())


@asset("operations/disk", decided_by=_CODE, kinds={"python"})
def disk(context: dg.AssetExecutionContext, storage: Storage, search_index: SearchIndex) -> dg.MaterializeResult:
    """What everything takes, in bytes, and what is left on the disk. See the plots for where it is going.

    `history`, `schedules`, `storage` and `logs` are Dagster's own, where it keeps them in files.
    """
    from geopin_assets.locate.features import FILE

    settings, home = storage.settings(), Path(context.instance.root_directory)
    stored = {name: storage.objects(name).walk() for name in ("raw", "embeddings", "quality")}
    paths = {
        "catalog": settings.catalog_path,
        "index": settings.index_dir,
        "ledger": settings.ledger_path,
        "tiles": settings.tiles_dir,
        "points_of_references": settings.data_dir / FILE,
        **{f"dagster_{name}": home / name for name in _HISTORY},
    }
    sizes = {f"{name}_bytes": sum(one.bytes for one in found) for name, found in stored.items()}
    sizes |= {f"{name}_bytes": bytes_of(path) for name, path in paths.items()}
    space = disk_usage(settings.data_dir if settings.data_dir.exists() else home)
    serving = [version.name for version in search_index.versions().all() if version.state is State.SERVING]
    return dg.MaterializeResult(
        metadata={
            **sizes,
            "total_bytes": sum(sizes.values()),
            "disk_free_bytes": space.free,
            "disk_free_percent": round(100 * space.free / space.total, 1),
            "serving_index": ", ".join(serving) or "none",
        }
    )
