"""A code location of one source whose cells fail for as long as a file beside the instance names them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher

from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.running.materialize import CellDone, CellFailed, materialize_cells

CELLS_PER_RUN = 4
BROKEN = "broken"


class OwnThreadRunLauncher(SyncInMemoryRunLauncher):
    """Runs in this process, which saves three seconds each; in a thread, as the daemon launches from an event loop."""

    def launch_run(self, context: LaunchRunContext) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(super().launch_run, context).result()


@cell_asset(["raw", "panoramax"], cells_per_run=CELLS_PER_RUN)
def panoramax(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    def crawl(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
        broken = (Path(context.instance.root_directory) / BROKEN).read_text().split()
        for cell_id in cell_ids:
            yield CellFailed(cell_id, f"503 in {cell_id}") if cell_id in broken else CellDone(cell_id, 1, "v1")

    yield from materialize_cells(context, crawl)


defs = dg.Definitions([panoramax], executor=dg.in_process_executor)
