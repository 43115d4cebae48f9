"""The lease that every asset takes, whichever door its run came in by: a schedule, a backfill, a command, a takedown.

Cell by cell: the cells that nobody else is at, then those that others had, when they are done with them. As a whole:
a report, or maintenance. Dagster's pools do not do this: what runs in a command's own process takes none. Not here:
what a lease is (`files/lease.py`), stores of the index (`index/ledger.py`), the catalog (DuckDB has one writer).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, TypeVar

import dagster as dg

from geopin_assets.defs.running.deadline import Deadline, InTime
from geopin_assets.defs.running.under_way import leases_in, tell_process
from geopin_assets.files.lease import Leases, StillHeldError
from geopin_assets.platform.parts import Parts

T = TypeVar("T")


def leases_of(context: dg.AssetExecutionContext) -> Leases:
    """Those of the data that a step works on; of the instance where it has none."""
    resources = (getattr(context.resources, name, None) for name in ("storage", "search_index"))
    parts = next((part for part in resources if isinstance(part, Parts)), None)
    return parts.leases() if parts else leases_in(context.instance.root_directory)


def alone(make: Callable[..., T]) -> Callable[..., T]:
    """The same function for an asset that is made as a whole, by one process at a time."""

    @wraps(make)
    def made(*arguments: Any, **resources: Any) -> T:
        context = dg.AssetExecutionContext.get()
        tell_process(context.instance, context.run)
        key, what = context.asset_key.to_user_string(), f"run {context.run_id[:8]}"
        with leases_of(context).held(key, what=what, say=context.log.info):
            return make(*arguments, **resources)

    return made


def in_turns(
    context: dg.AssetExecutionContext,
    cell_ids: Sequence[str],
    work: Callable[[Sequence[str]], Iterator[T]],
    deadline: Deadline,
) -> Iterator[tuple[T, Callable[[str], None]]]:
    """What `work` yields over cells while nobody else is at them, and how to let go of one that is done.

    Each cell is worked on once it is ours: what is read for it is what the one before left. Ends with cells left over
    when no more may be begun.
    """
    leases, key, left = leases_of(context), context.asset_key.to_user_string(), list(cell_ids)
    what = f"run {context.run_id[:8]}"
    while left and not deadline.is_near:
        try:
            taken = leases.some(key, left, what=what, patience_s=deadline.left_s, say=context.log.info)
            with taken as lease:
                for outcome in work(InTime([cell_id for cell_id in left if cell_id in lease.units], deadline)):
                    yield outcome, lease.let_go
        except StillHeldError as error:
            context.log.warning(str(error))
            return
        left = [cell_id for cell_id in left if cell_id not in lease.units]
