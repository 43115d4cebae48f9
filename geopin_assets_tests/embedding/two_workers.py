"""One of several workers that embed the same cells, with nothing in common but the store. Not here: any assertion."""

import sys

import numpy as np

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets.embedding.plan import CellTask
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.files.object_store import open_store
from geopin_assets_tests.embedding.cells import NO_FAILURES, OneImage, Week
from geopin_assets_tests.embedding.pictures import encoded

CELLS, PER_CELL = 4, 6
PICTURE = encoded(np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8))


def tasks(files: VectorFiles) -> list[CellTask]:
    """Cells that are to be embedded from the beginning."""
    week = Week.first(CELLS, PER_CELL)
    return [CellTask(name, captures, NO_FAILURES, files.cell(name)) for name, captures in week.cells.items()]


def main() -> None:
    """Embed once a line comes in: so that all begin at once."""
    address, endpoint_url, is_reversed = sys.argv[1:]
    model = Thumbnail()
    files = VectorFiles(open_store(address, endpoint_url=endpoint_url), "model", model.model.dim)
    todo = tasks(files)
    print("ready", flush=True)
    input()
    some = reversed(todo) if int(is_reversed) else todo
    for cell_id, result in embed_cells(some, embedder=model, fetcher=OneImage(PICTURE), batch_size=2, many=10**6):  # type: ignore[arg-type]
        print(cell_id, result if isinstance(result, Exception) else "done", flush=True)


if __name__ == "__main__":
    main()
