"""What is done while faults befall it: each a function of a folder, a port and a backend, run in a forked process.

Here: a region through the whole graph, takedowns, a new version of the index, reconciling, upkeep, a disk of some size,
and what is there afterwards. Not here: faults, or what is right.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

import geopin_assets
from geopin_assets.capture import vector_id
from geopin_assets.cells import all_cells
from geopin_assets.defs.graph import VECTORIZE
from geopin_assets.defs.running.home import open_instance
from geopin_assets.defs.running.local_run import LayerResult, layer
from geopin_assets.defs.running.materialize import root_cause
from geopin_assets.defs.running.restoring import publish_again
from geopin_assets.defs.running.takedown import Takedown
from geopin_assets.embedding.model.thumbnail import SIDE_PX, Thumbnail
from geopin_assets.embedding.views import VIEWS
from geopin_assets.files import atomic
from geopin_assets.platform.index_state import announce_versions
from geopin_assets.platform.reconcile import reconcile
from geopin_assets_tests.instances import instance_in, prepared_files
from geopin_assets_tests.parts import WITH_PYTORCH
from geopin_assets_tests.platform import CELLS, Installation, Platform

SOURCES = ("panoramax", "amsterdam")
ROOT = Path(__file__).parents[2]
Failures = dict[str, list[str]]
"""Asset -> what was said of its cells, each once."""


def warm() -> None:
    """Load and prepare, before anything is forked, what every piece of work would for itself."""
    prepared_files()
    all_cells()
    Thumbnail().embed([np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)])
    for module in walk_packages(geopin_assets.__path__, "geopin_assets."):
        is_run = module.name.endswith(("__main__", "celery_worker"))
        if not is_run and not module.name.startswith(WITH_PYTORCH):
            with suppress(ModuleNotFoundError):  # of an extra that is not installed
                import_module(module.name)
    for name in ("lancedb", "matplotlib.figure", "aiohttp"):
        import_module(name)


@dataclass(frozen=True, slots=True)
class Where:
    """An installation: its folder, the port of its sandbox, and where it publishes to (GEOPIN_INDEX)."""

    folder: str
    port: int
    index: str

    @contextmanager
    def opened(self) -> Iterator[tuple[Platform, dg.DagsterInstance]]:
        """The platform in the folder, made where there is none, and its Dagster home."""
        for name in ("home", "platform/photos"):
            Path(self.folder, name).mkdir(parents=True, exist_ok=True)
        with instance_in(Path(self.folder, "home")) as instance:
            yield Platform(Path(self.folder, "platform"), self.port, GEOPIN_INDEX=self.index), instance


def birth(where: Where) -> Failures:
    """A Dagster home as commands open it, made where there is none; it keeps what is put into it."""
    home = Path(where.folder, "home")
    home.mkdir(parents=True, exist_ok=True)
    atomic.create_bytes(home / "dagster.yaml", (ROOT / "dagster.yaml").read_bytes())
    os.environ["DAGSTER_HOME"] = str(home)
    with open_instance() as instance:
        instance.run_storage.set_cursor_values({"kept": "here"})
        instance.report_runless_asset_event(dg.AssetMaterialization("seen"))
        assert instance.run_storage.get_cursor_values({"kept"}) and instance.get_runs_count() == 0
        assert instance.get_latest_materialization_event(dg.AssetKey("seen"))
        assert instance.schedule_storage and not instance.schedule_storage.all_instigator_state()
    return {}


def region(where: Where) -> Failures:
    """Crawl, merge, embed, publish and report; failures by asset."""
    with where.opened() as (platform, instance):
        return failures(platform.run(instance, CELLS, SOURCES).values())


def switch(where: Where) -> Failures:
    """A new version of the index, which searches use when it is complete."""
    with where.opened() as (platform, instance):
        model = platform.embedding.model()
        if len(platform.search_index.versions().all()) < 2:
            platform.search_index.rebuild(model)
        cells = platform.storage.vectors(model).cell_ids()
        job = platform.definitions.resolve_implicit_global_asset_job_def()
        return failures([layer(job, instance, VECTORIZE, cells)])


def take_down(where: Where, capture_ids: Sequence[str]) -> Failures:
    """Captures out of everything."""
    with where.opened() as (platform, instance):
        takedown = Takedown(tuple(capture_ids), platform.storage, platform.search_index)
        return failures(takedown.finish(platform.definitions, instance, takedown.begin("asked for")))


def a_day_later(where: Where) -> Failures:
    """Images that two kills were blamed on are due again, in either cell; then a run."""
    with where.opened() as (platform, _):
        files = platform.storage.failures()
        for cell_id in CELLS:
            files.write(cell_id, files.read(cell_id).with_columns(next_try_at=pl.col("last_tried_at")))
    return region(where)


def reconcile_all(where: Where) -> Failures:
    """Every store asked what it holds, and made what it should be."""
    with where.opened() as (platform, instance):
        storage, search_index, model = platform.storage, platform.search_index, platform.embedding.model()
        found = reconcile(storage, search_index, model)
        failed = failures(publish_again(platform.definitions, instance, found))
        announce_versions(storage, search_index, model)
        return failed


def upkeep(where: Where) -> Failures:
    """What is due each week."""
    with where.opened() as (platform, instance):
        job = platform.definitions.resolve_job_def("maintenance")
        ended = job.execute_in_process(instance=instance, raise_on_error=False)
        errors = [event.step_failure_data.error for event in ended.get_step_failure_events()]
        return {"maintenance": [root_cause(error) for error in errors]} if errors else {}


def disk(folder: str, kilobytes: int) -> None:
    """A disk of that size at the folder, or the one there made that size; 0: none. It ends with who forks."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    is_there = os.path.ismount(folder)
    how = ["-o", f"{'remount,' * is_there}size={kilobytes}k"]
    words = ["mount", "-t", "tmpfs", *how, "none", folder] if kilobytes else ["umount", folder]
    subprocess.run(words, check=True, capture_output=True)


def do(name: str, arguments: dict[str, Any]) -> Any:
    """A function of this module by its name; `where` comes as a list."""
    if where := arguments.pop("where", None):
        return globals()[name](Where(*where), **arguments)
    return globals()[name](**arguments)


def failures(layers: Iterable[LayerResult]) -> Failures:
    return {result.asset: sorted(set(result.failed.values())) for result in layers if result.failed_count}


def content(where: Where) -> dict[str, Any]:
    """A digest of everything that is there, except when it happened, and counts of it."""
    with where.opened() as (platform, _):
        return content_of(platform, CELLS, where.port)


def content_of(platform: Installation, cells: Sequence[str], port: int) -> dict[str, Any]:
    """The same of any installation. `port`: of its sandbox."""
    embedded = pl.concat([platform.vectors(cell_id).read() for cell_id in cells]).sort("vector_id")
    rows, ids = platform.rows, embedded["vector_id"].to_list()
    version = platform.search_index.versions().serving()
    assert version is not None
    (index,) = platform.search_index.vectors(version).parts
    vectors = [index.get(ids[start : start + 20]) for start in range(0, len(ids), 20)]
    frames = {
        "captures": platform.storage.catalog().captures(cells),
        "embeddings": embedded,
        "vectors": pl.concat(vectors).sort("vector_id"),
        "rows": rows.query("SELECT * FROM captures ORDER BY capture_id"),
        "vector rows": rows.query("SELECT * FROM vectors ORDER BY vector_id"),
    }
    lacking = {name: frame.height for name, frame in frames.items() if not frame.height}
    assert not lacking, lacking
    return {name: [frame.height, _digest(frame, port)] for name, frame in frames.items()} | {
        "in index": index.info().vector_count
    }


def _digest(frame: pl.DataFrame, port: int) -> str:
    """Of all but where it was served: some addresses name the port, and a hash the addresses."""
    plain = frame.drop("embedding", "row_hash", strict=False).write_csv().replace(f"127.0.0.1:{port}/", "")
    vectors = frame["embedding"].to_numpy().tobytes() if "embedding" in frame.columns else b""
    return sha256(plain.encode() + vectors).hexdigest()[:16]


def captures_of(where: Where, source: str) -> list[str]:
    """Ids in the catalog, to choose from."""
    with where.opened() as (platform, _):
        found = platform.storage.catalog().captures(CELLS).filter(source=source)["capture_id"]
        return found.sort().to_list()


def served(where: Where, capture_ids: Sequence[str]) -> list[str]:
    """Which of these captures the index or the rows beside it hold, asked of themselves, in every version."""
    with where.opened() as (platform, _):
        found = set()
        views = [vector_id(capture_id, view) for capture_id in capture_ids for view in range(VIEWS)]
        for version in platform.search_index.versions().all():
            for part in platform.search_index.vectors(version).parts:
                for start in range(0, len(views), 20):
                    found |= set(part.get(views[start : start + 20])["vector_id"].str.head(-3))
        for table in ("captures", "vectors"):
            found |= set(platform.rows.query(f"SELECT capture_id FROM {table}")["capture_id"])  # noqa: S608
        return sorted(found & set(capture_ids))
