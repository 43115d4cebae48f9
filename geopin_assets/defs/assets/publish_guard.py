"""Nothing is published after a source lost so much at once that it is likelier broken than empty.

Here: the losses since what the index holds, and how a run is refused as a whole. The same losses are the check
`source_lost`, but a check alone would not do: publishing by hand, by backfill or by `geopin run` asks no check of
another asset. Not here: the limit (`quality/limits.py`), counting (`store/counts.py`), or whether the catalog is to be
trusted at all (`platform/evidence.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import asset_key
from geopin_assets.defs.graph import group
from geopin_assets.errors import GeoPinError
from geopin_assets.platform.parts import Storage
from geopin_assets.quality.limits import WHAT_TO_DO_ABOUT_LOSSES, losses_described, losses_too_large

_WEEK = timedelta(days=7)


def losses(storage: Storage, instance: dg.DagsterInstance, *, now: datetime) -> tuple[pl.DataFrame, datetime]:
    """What every source lost (source, had, lost), and since when that is: a week, or longer ago the last publish.

    What was held back for more than a week is still news to the index.
    """
    since = min([now - _WEEK, *_last_published(instance)])
    return storage.catalog().losses(since, now), since


def loss_limit(storage: Storage) -> float:
    """The share of its captures that a source may lose."""
    return storage.settings().max_source_loss


def refuse_losses(context: dg.AssetExecutionContext, storage: Storage) -> None:
    """Raise dagster.Failure, before anything is written, if a source lost too much."""
    found, since = losses(storage, context.instance, now=datetime.now(UTC))
    large = losses_too_large(found, loss_limit(storage))
    if large.is_empty():
        return
    raise _failure(context, f"{losses_described(large, f'{since:%Y-%m-%d}')}. {WHAT_TO_DO_ABOUT_LOSSES}")


@contextmanager
def refusing(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Fail all cells of the run, before anything is done, with an error that is about none of them alone."""
    try:
        yield
    except GeoPinError as error:
        raise _failure(context, f"{type(error).__name__}: {error}") from error


def _failure(context: dg.AssetExecutionContext, text: str) -> dg.Failure:
    cells = list(context.partition_keys)
    return dg.Failure(
        text, metadata={"failed_cells": len(cells), "failed": dg.MetadataValue.json({_named(cells): text})}
    )


def _last_published(instance: dg.DagsterInstance) -> list[datetime]:
    events = (instance.get_latest_materialization_event(asset_key(node.key)) for node in group("publish"))
    return [datetime.fromtimestamp(event.timestamp, UTC) for event in events if event]


def _named(cell_ids: list[str]) -> str:
    return cell_ids[0] if len(cell_ids) == 1 else f"all {len(cell_ids)} cells"
