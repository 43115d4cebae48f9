"""One cell's captures to vectors: reuse what is unchanged, read, embed, and account for every capture.

Here: the frames that are stored, what is reused, what is tried, batching. Not here: fetching (`images.py`),
overlap and bounds on memory (`reader.py`), the model (`cosplace.py`, `thumbnail.py`), files and Dagster.
Importing this module imports no torch.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.embedding.batches import Batches
from geopin_assets.embedding.decode import FLAT_AT_LEAST, PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.failures import FAILURE_SCHEMA, Failure, FailureReason, next_try_at
from geopin_assets.embedding.panorama import VIEWS, YAW_STEP_DEG, is_equirectangular, perspective_views
from geopin_assets.embedding.protocol import Embedder, Image
from geopin_assets.embedding.reader import Fetcher, ReadAhead
from geopin_assets.embedding.stages import StageClock

BATCH = 64


def embedding_schema(dim: int) -> pl.Schema:
    """Columns of the stored vectors of a model of `dim` dimensions."""
    return pl.Schema(
        {
            "vector_id": pl.String(),
            "capture_id": pl.String(),
            "source": pl.String(),
            "view": pl.Int16(),
            "heading_deg": pl.Float64(),
            "model_id": pl.String(),
            "image_version": pl.String(),
            "embedding": pl.Array(pl.Float16(), dim),
        }
    )


EMBEDDING_SCHEMA = embedding_schema(512)


@dataclass(frozen=True, slots=True)
class CellStats:
    """What embedding one cell did. Captures are counted, except `vectors` and `removed_vectors`."""

    embedded: int
    reused: int
    failed: dict[str, int]
    """By reason, in this run."""
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """`reused`: vectors that stay. `superseded`: of changed images, to keep if the new image cannot be had yet.

    `todo`: captures to fetch. `deferred`: failure rows that stay.
    """

    reused: pl.DataFrame
    superseded: pl.DataFrame
    todo: pl.DataFrame
    deferred: pl.DataFrame


def embed_cell(
    captures: pl.DataFrame,
    previous: pl.DataFrame,
    failures: pl.DataFrame,
    *,
    embedder: Embedder,
    fetcher: Fetcher,
    now: datetime,
    on_progress: Callable[[int, int], None] | None = None,
    decode: Callable[..., Image | Failure] = decode_image,
    batch_size: int = BATCH,
) -> CellEmbeddings:
    """Bring the vectors of one cell up to date with its captures.

    `captures`: all of the cell (capture_id, source, image_url, image_version, is_pano, heading_deg).
    `previous`, `failures`: what this function returned last time, or empty.
    `on_progress(done, total)` counts captures that were fetched or failed.
    A bad image is a failure row; what the embedder raises is raised.
    """
    plan = _plan(captures, previous, failures, embedder.model_id, now)
    clock = StageClock()
    fresh, failed = _embed(plan.todo, embedder, fetcher, clock, on_progress, decode, batch_size)
    failures = _failure_rows(failed, plan, failures, now)
    waiting = failures.filter(pl.col("next_try_at").is_not_null()).select("capture_id")
    kept = [frame for frame in (plan.reused, plan.superseded.join(waiting, on="capture_id", how="semi")) if len(frame)]
    vectors = pl.concat([*kept, _vector_rows(fresh, plan.todo, embedder)]).sort("vector_id")
    return CellEmbeddings(vectors, failures, _stats(plan, fresh, failed, previous, vectors, clock))


def _plan(
    captures: pl.DataFrame, previous: pl.DataFrame, failures: pl.DataFrame, model_id: str, now: datetime
) -> _Plan:
    wanted = captures.select(
        "capture_id",
        pl.col("image_version").fill_null("").alias("wanted_version"),
        pl.col("heading_deg").cast(pl.Float64).alias("center_deg"),
        pl.when("is_pano").then(VIEWS).otherwise(1).alias("views"),
    )
    complete = (
        previous.filter(pl.col("model_id") == model_id)
        .join(wanted, on="capture_id", how="inner")
        .filter(pl.col("view").n_unique().over("capture_id", "image_version") == pl.col("views"))
        .with_columns(_heading())
    )
    is_current = pl.col("image_version") == pl.col("wanted_version")
    reused = complete.filter(is_current).select(previous.columns)
    missing = captures.join(reused, on="capture_id", how="anti")
    deferred = failures.filter(pl.col("next_try_at").is_null() | (pl.col("next_try_at") > now)).join(
        missing, on="capture_id", how="semi"
    )
    return _Plan(
        reused=reused,
        superseded=complete.filter(~is_current).select(previous.columns),
        todo=missing.join(deferred, on="capture_id", how="anti"),
        deferred=deferred,
    )


def _heading() -> pl.Expr:
    """Bearing of each view, clockwise from the image center; null when the capture's is unknown."""
    return ((pl.col("center_deg") + YAW_STEP_DEG * pl.col("view")) % 360.0).alias("heading_deg")


def _embed(
    todo: pl.DataFrame,
    embedder: Embedder,
    fetcher: Fetcher,
    clock: StageClock,
    on_progress: Callable[[int, int], None] | None,
    decode: Callable[..., Image | Failure],
    batch_size: int,
) -> tuple[Batches, dict[str, Failure]]:
    """Vectors and failures of the captures to do."""
    panoramas = set(todo.filter("is_pano")["capture_id"])

    def prepare(capture_id: str, data: bytes) -> list[Image] | Failure:
        return _prepare(data, capture_id in panoramas, embedder, clock, decode)

    batches, failed = Batches(embedder, clock, batch_size), {}
    urls = dict(todo.select("capture_id", "image_url").iter_rows())
    with closing(iter(ReadAhead(urls, fetcher, prepare, clock))) as ready:
        for done, (capture_id, views) in enumerate(ready, start=1):
            if isinstance(views, Failure):
                failed[capture_id] = views
            else:
                batches.add(capture_id, views)
            if on_progress:
                on_progress(done, len(urls))
    batches.flush()
    return batches, failed


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


def _vector_rows(fresh: Batches, todo: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """The stored form of new vectors."""
    about = todo.select(
        "capture_id",
        "source",
        pl.col("image_version").fill_null(""),
        pl.col("heading_deg").cast(pl.Float64).alias("center_deg"),
    )
    rows = pl.DataFrame(
        {
            "vector_id": [vector_id(key, view) for key, view in zip(fresh.keys, fresh.views, strict=True)],
            "capture_id": fresh.keys,
            "view": fresh.views,
            "embedding": fresh.vectors(),
        },
        schema={
            "vector_id": pl.String(),
            "capture_id": pl.String(),
            "view": pl.Int16(),
            "embedding": pl.Array(pl.Float16, embedder.dim),
        },
    )
    rows = rows.join(about, on="capture_id", how="left").with_columns(
        _heading(), pl.lit(embedder.model_id).alias("model_id")
    )
    return rows.select(embedding_schema(embedder.dim).names())


def _failure_rows(failed: dict[str, Failure], plan: _Plan, failures: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The failures that stay and those of this run, counted up."""
    attempts = dict(failures.select("capture_id", "attempts").iter_rows())
    source = dict(plan.todo.select("capture_id", "source").iter_rows())
    rows = [
        (
            capture_id,
            source[capture_id],
            failure.reason.value,
            tries := attempts.get(capture_id, 0) + 1,
            now,
            next_try_at(failure.reason, tries, now),
        )
        for capture_id, failure in failed.items()
    ]
    new = pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row")
    return pl.concat([plan.deferred.select(FAILURE_SCHEMA.names()).cast(FAILURE_SCHEMA), new]).sort("capture_id")


def _stats(
    plan: _Plan,
    fresh: Batches,
    failed: dict[str, Failure],
    previous: pl.DataFrame,
    vectors: pl.DataFrame,
    clock: StageClock,
) -> CellStats:
    seconds = clock.seconds()
    return CellStats(
        embedded=len(set(fresh.keys)),
        reused=plan.reused["capture_id"].n_unique(),
        failed=dict(Counter(failure.reason.value for failure in failed.values())),
        deferred=len(plan.deferred),
        vectors=len(vectors),
        removed_vectors=len(previous.join(vectors, on="vector_id", how="anti")),
        seconds=seconds,
        bottleneck=max(seconds, key=seconds.__getitem__, default=""),
    )
