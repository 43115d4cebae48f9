"""One cell's captures to vectors: reuse what is unchanged, read, embed, and account for every capture.

Here: the run through one cell and the account of it. Not here: what is reused and what is tried (`plan.py`),
rows (`vectors.py`, `failures.py`), fetching (`images.py`), overlap and bounds on memory (`reader.py`), batches
(`batches.py`), the model (`cosplace.py`, `thumbnail.py`), files and Dagster. Importing this imports no torch.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from geopin_assets.embedding.batches import Batches
from geopin_assets.embedding.decode import FLAT_AT_LEAST, PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.failures import FAILURE_SCHEMA, Failure, FailureReason, next_try_at
from geopin_assets.embedding.panorama import is_equirectangular, perspective_views
from geopin_assets.embedding.plan import Plan, of_current_images, plan_cell
from geopin_assets.embedding.protocol import Embedder, Image
from geopin_assets.embedding.reader import Fetcher, ReadAhead
from geopin_assets.embedding.stages import StageClock
from geopin_assets.embedding.vectors import EMBEDDING_SCHEMA, embedding_schema, vector_rows

__all__ = ["EMBEDDING_SCHEMA", "FAILURE_SCHEMA", "CellEmbeddings", "CellStats", "embed_cell", "embedding_schema"]

BATCH = 128

Renew = Callable[[pl.DataFrame], Mapping[str, str | Failure]]
"""For the captures that will be fetched: another address, or why there is none, of those whose address has expired."""


@dataclass(frozen=True, slots=True)
class CellStats:
    """What embedding one cell did. Captures are counted, except `vectors` and `removed_vectors`."""

    embedded: int
    reused: int
    failed: dict[str, int]
    """By reason, in this run."""
    renewed: int
    """Fetched from a new address, as the stored one had expired."""
    deferred: int
    """Failed before and not due yet, or given up."""
    vectors: int
    removed_vectors: int
    """Vector ids that were there before and are not any more."""
    seconds: dict[str, float]
    """Wall time each stage needed itself; stages overlap."""
    bottleneck: str
    """The stage that needed most; empty when nothing was fetched."""


@dataclass(frozen=True, slots=True)
class CellEmbeddings:
    """The new content of a cell: `vectors` (by vector_id) and `failures` (by capture_id) replace the previous."""

    vectors: pl.DataFrame
    failures: pl.DataFrame
    stats: CellStats


def embed_cell(
    captures: pl.DataFrame,
    previous: pl.DataFrame,
    failures: pl.DataFrame,
    *,
    embedder: Embedder,
    fetcher: Fetcher,
    now: datetime,
    renew: Renew | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    checkpoint: Callable[[pl.DataFrame], None] | None = None,
    checkpoint_s: float = 60.0,
    decode: Callable[..., Image | Failure] = decode_image,
    batch_size: int = BATCH,
) -> CellEmbeddings:
    """Bring the vectors of one cell up to date with its captures.

    `captures`: all of the cell (capture_id, source, image_url, image_version, is_pano, heading_deg).
    `previous`, `failures`: what this function returned last time, or empty.
    `renew`: asked once, and only if there is something to fetch; it gets those rows of `captures`, all columns.
    `on_progress(done, total)` counts captures that were fetched or failed.
    `checkpoint(vectors)` gets the cell's vectors so far every `checkpoint_s`; stored, they are the `previous` of a
    run that follows a killed one. Panoramas that are not complete yet are embedded again then.
    A bad image is a failure row; what the embedder raises is raised.
    """
    failures = of_current_images(failures, captures)
    plan = plan_cell(captures, previous, failures, embedder.model_id, now)
    changed = renew(plan.todo) if renew and len(plan.todo) else {}
    clock = StageClock()
    batches = Batches(embedder, clock, batch_size)
    saved_at = time.monotonic()

    def new_vectors() -> pl.DataFrame:
        return vector_rows(batches.keys, batches.views, batches.vectors(), plan.todo, embedder.model_id)

    def after_each(done: int) -> None:
        nonlocal saved_at
        if on_progress:
            on_progress(done, len(plan.todo))
        if checkpoint and time.monotonic() - saved_at >= checkpoint_s:
            checkpoint(plan.vectors(new_vectors()))
            saved_at = time.monotonic()

    with closing(_read(plan.todo, changed, embedder, fetcher, clock, decode)) as ready:
        failed = _embed(ready, batches, after_each)
    failures = _failure_rows(failed, plan, failures, now)
    given_up = failures.filter(pl.col("next_try_at").is_null())["capture_id"]
    vectors = plan.vectors(new_vectors(), given_up)
    renewed = sum(isinstance(link, str) for link in changed.values())
    return CellEmbeddings(vectors, failures, _stats(plan, batches, failed, previous, vectors, clock, renewed))


def _embed(
    ready: Iterable[tuple[str, list[Image] | Failure]], batches: Batches, after_each: Callable[[int], None]
) -> dict[str, Failure]:
    """Send views through the model; returns the captures that failed."""
    failed = {}
    for done, (capture_id, views) in enumerate(ready, start=1):
        if isinstance(views, Failure):
            failed[capture_id] = views
        else:
            batches.add(capture_id, views)
        after_each(done)
    batches.flush()
    return failed


def _read(
    todo: pl.DataFrame,
    changed: Mapping[str, str | Failure],
    embedder: Embedder,
    fetcher: Fetcher,
    clock: StageClock,
    decode: Callable[..., Image | Failure],
) -> Generator[tuple[str, list[Image] | Failure]]:
    """Preprocessed views, or the failure, of each capture to do."""
    panoramas = set(todo.filter("is_pano")["capture_id"])

    def prepare(capture_id: str, data: bytes) -> list[Image] | Failure:
        return _prepare(data, capture_id in panoramas, embedder, clock, decode)

    urls: dict[str, str] = {}
    for capture_id, stored in todo.select("capture_id", "image_url").iter_rows():
        url = changed.get(capture_id, stored)
        if isinstance(url, Failure):
            yield capture_id, url
        else:
            urls[capture_id] = url
    yield from ReadAhead(urls, fetcher, prepare, clock)


def _prepare(
    data: bytes, is_pano: bool, embedder: Embedder, clock: StageClock, decode: Callable[..., Image | Failure]
) -> list[Image] | Failure:
    """Decode one image, cut it into its views and preprocess them."""
    with clock.stage("decode"):
        image = decode(data, at_least=PANORAMA_AT_LEAST if is_pano else FLAT_AT_LEAST)
    if isinstance(image, Failure):
        return image
    height, width = image.shape[:2]
    if is_pano and not is_equirectangular(width, height):
        return Failure(FailureReason.NOT_EQUIRECTANGULAR, f"{width}x{height}")
    with clock.stage("preprocess"):
        views = perspective_views(image) if is_pano else [image]
        return [embedder.preprocess(view) for view in views]


def _failure_rows(failed: dict[str, Failure], plan: Plan, failures: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The failures that stay and those of this run, counted up."""
    attempts = dict(failures.select("capture_id", "attempts").iter_rows())
    about = {key: rest for key, *rest in plan.todo.select("capture_id", "source", "image_version").iter_rows()}
    rows = [
        (
            capture_id,
            about[capture_id][0],
            about[capture_id][1] or "",
            failure.reason.value,
            tries := attempts.get(capture_id, 0) + failure.reason.is_attempt,
            now,
            next_try_at(failure.reason, tries, now),
        )
        for capture_id, failure in failed.items()
    ]
    new = pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row")
    return pl.concat([plan.deferred.select(FAILURE_SCHEMA.names()).cast(FAILURE_SCHEMA), new]).sort("capture_id")


def _stats(
    plan: Plan,
    fresh: Batches,
    failed: dict[str, Failure],
    previous: pl.DataFrame,
    vectors: pl.DataFrame,
    clock: StageClock,
    renewed: int,
) -> CellStats:
    seconds = clock.seconds()
    return CellStats(
        embedded=len(set(fresh.keys)),
        reused=plan.reused["capture_id"].n_unique(),
        failed=dict(Counter(failure.reason.value for failure in failed.values())),
        renewed=renewed,
        deferred=len(plan.deferred),
        vectors=len(vectors),
        removed_vectors=len(previous.join(vectors, on="vector_id", how="anti")),
        seconds=seconds,
        bottleneck=max(seconds, key=seconds.__getitem__, default=""),
    )
