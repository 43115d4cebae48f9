"""What is done while faults befall it: each a function of a folder and the sandbox's port, run in a forked process.

Here: a region through the whole graph, takedowns, a new version of the index, and what is there afterwards. Not here:
faults, or what is right.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.defs.graph import VECTORIZE
from geopin_assets.defs.running.local_run import LayerResult, layer
from geopin_assets.defs.running.takedown import Takedown
from geopin_assets.embedding.views import VIEWS
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.platform import CELLS, Platform

SOURCES = ("panoramax", "amsterdam")
Failures = dict[str, list[str]]
"""Asset -> what was said of its cells, each once."""


@contextmanager
def at(folder: str, port: int) -> Iterator[tuple[Platform, dg.DagsterInstance]]:
    """The platform in a folder, made where there is none, and its Dagster home."""
    for name in ("home", "platform/photos"):
        Path(folder, name).mkdir(parents=True, exist_ok=True)
    with instance_in(Path(folder, "home")) as instance:
        yield Platform(Path(folder, "platform"), port), instance


def region(folder: str, port: int) -> Failures:
    """Crawl, merge, embed, publish and report; failures by asset."""
    with at(folder, port) as (platform, instance):
        return failures(platform.run(instance, CELLS, SOURCES).values())


def switch(folder: str, port: int) -> Failures:
    """A new version of the index, which searches use when it is complete."""
    with at(folder, port) as (platform, instance):
        model = platform.embedding.model()
        if len(platform.search_index.versions().all()) < 2:
            platform.search_index.rebuild(model)
        cells = platform.storage.vectors(model).cell_ids()
        job = platform.definitions.resolve_implicit_global_asset_job_def()
        return failures([layer(job, instance, VECTORIZE, cells)])


def take_down(folder: str, port: int, capture_ids: Sequence[str]) -> Failures:
    """Captures out of everything."""
    with at(folder, port) as (platform, instance):
        takedown = Takedown(tuple(capture_ids), platform.storage, platform.search_index)
        return failures(takedown.finish(platform.definitions, instance, takedown.begin("asked for")))


def failures(layers: Iterable[LayerResult]) -> Failures:
    return {result.asset: sorted(set(result.failed.values())) for result in layers if result.failed_count}


def content(folder: str, port: int) -> dict[str, Any]:
    """A digest of everything that is there, except when it happened, and counts of it."""
    with at(folder, port) as (platform, _):
        embedded = pl.concat([platform.vectors(cell_id).read() for cell_id in CELLS]).sort("vector_id")
        rows, ids = platform.rows, embedded["vector_id"].to_list()
        version = platform.search_index.versions().serving()
        assert version is not None
        (index,) = platform.search_index.vectors(version).parts
        vectors = [index.get(ids[start : start + 20]) for start in range(0, len(ids), 20)]
        frames = {
            "captures": platform.storage.catalog().captures(CELLS),
            "embeddings": embedded,
            "vectors": pl.concat(vectors).sort("vector_id"),
            "rows": rows.query("SELECT * FROM captures ORDER BY capture_id"),
            "vector rows": rows.query("SELECT * FROM vectors ORDER BY vector_id"),
        }
        lacking = {name: frame.height for name, frame in frames.items() if not frame.height}
        assert not lacking, lacking
        return {name: [frame.height, _digest(frame)] for name, frame in frames.items()} | {
            "in index": index.info().vector_count
        }


def _digest(frame: pl.DataFrame) -> str:
    return sha256(frame.write_csv().encode() if "embedding" not in frame.columns else _bytes(frame)).hexdigest()[:16]


def _bytes(frame: pl.DataFrame) -> bytes:
    text = frame.drop("embedding").write_csv().encode()
    return text + frame["embedding"].to_numpy().tobytes()


def captures_of(folder: str, port: int, source: str) -> list[str]:
    """Ids in the catalog, to choose from."""
    with at(folder, port) as (platform, _):
        found = platform.storage.catalog().captures(CELLS).filter(source=source)["capture_id"]
        return found.sort().to_list()


def served(folder: str, port: int, capture_ids: Sequence[str]) -> list[str]:
    """Which of these captures the index or the rows beside it hold, asked of themselves, in every version."""
    with at(folder, port) as (platform, _):
        found = set()
        views = [vector_id(capture_id, view) for capture_id in capture_ids for view in range(VIEWS)]
        for version in platform.search_index.versions().all():
            for part in platform.search_index.vectors(version).parts:
                for start in range(0, len(views), 20):
                    found |= set(part.get(views[start : start + 20])["vector_id"].str.head(-3))
        for table in ("captures", "vectors"):
            found |= set(platform.rows.query(f"SELECT capture_id FROM {table}")["capture_id"])  # noqa: S608
        return sorted(found & set(capture_ids))
