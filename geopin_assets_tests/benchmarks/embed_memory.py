"""Memory of embedding one cell of 100,000 captures: `python -m geopin_assets_tests.benchmarks.embed_memory`.

The most memory that a process of its own took, beside what it took before it began (with torch in it, as in a real
one). Fetching is from memory, and the model takes none and costs nothing; decoding, cutting, batches as for a GPU and
files are real. Each core decodes and cuts one image at a time, so machines with more cores take more. Target: below
2 GB. Cases:

many        99,700 flat captures and 300 panoramas, none embedded yet
panoramas   100,000 panoramas, all but 100 of which a killed run left in parts: 1.2 million vectors
large       150 panoramas of 8000 x 4000 and 5 MB: what is on the way and waits for the model
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.embedding.model.inference import BATCH_SIZE
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets.embedding.plan import CellTask
from geopin_assets.embedding.protocol import VIEWS, CaptureImage, Image, Model
from geopin_assets.embedding.vectors import vector_rows
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.image_host import street_jpegs
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, print_table
from geopin_assets_tests.embedding.cells import OneImage, captures, cell_task

TARGET_MB = 2000
STATUS = Path("/proc/self/status")
LINK = "http://street/{}?signature=" + 200 * "0"


@dataclass(frozen=True)
class Case:
    captures: int
    panoramas: int
    done: int
    """Panoramas that a killed run has embedded already."""
    image_size: tuple[int, int]

    def part(self, one_of: int) -> "Case":
        captures, panoramas = (max(count // one_of, 1) for count in (self.captures, self.panoramas))
        height = max(self.image_size[1] // one_of, 400)
        return replace(
            self, captures=captures, panoramas=panoramas, done=self.done // one_of, image_size=(2 * height, height)
        )

    def task(self, folder: Path) -> CellTask:
        links = [LINK.format(number) for number in range(self.captures)]
        return cell_task(captures(links, panoramas=self.panoramas), folder)


CASES = {
    "many": Case(100_000, 300, 0, (800, 400)),
    "panoramas": Case(100_000, 100_000, 99_900, (800, 400)),
    "large": Case(150, 150, 0, (8000, 4000)),
}


class Constant:
    """Every image has the same vector, at no cost."""

    model = Model("constant-512-p1", dim=512, is_place_recognition=False)
    batch_size = BATCH_SIZE["cuda"]

    def preprocess(self, image: Image) -> Image:
        return image

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        return np.full((len(batch), self.model.dim), self.model.dim**-0.5, np.float32)


def leave_parts(task: CellTask, panoramas: int) -> None:
    """Write what a killed run would have left."""
    for some in task.captures.head(panoramas).iter_slices(500):
        task.vectors.append(_rows(task.cell_id, some))


def _rows(cell_id: str, some: pl.DataFrame) -> pl.DataFrame:
    columns = ("capture_id", "source", "source_capture_id", "image_url", "image_version", "is_pano", "heading_deg")
    images = [CaptureImage(cell_id, *row) for row in some.select(columns).iter_rows() for _ in range(VIEWS)]
    vectors = np.full((len(images), Constant.model.dim), Constant.model.dim**-0.5, np.float16)
    return vector_rows(images, [*range(VIEWS)] * len(some), vectors, Constant.model.model_id)


def embed(case: Case, folder: Path) -> dict[str, float]:
    """In the process that is measured."""
    task, image = case.task(folder), (folder / "image.jpg").read_bytes()
    before_mb, started = _peak_mb(), Cost.now()
    ((_, done),) = embed_cells([task], embedder=Constant(), fetcher=OneImage(image), many=9**9)
    cost = Cost.now() - started
    if isinstance(done, Exception) or done.stats.failed:
        sys.exit(f"{case}: {done}")
    return {
        "captures": case.captures,
        "embedded": done.stats.embedded,
        "vectors": done.stats.vectors,
        "file MB": len(task.vectors.objects.get(task.vectors.key)) / 1e6,
        "MB before": before_mb,
        "peak MB": _peak_mb(),
        "CPU s": cost.cpu_s,
        "s": cost.wall_s,
    }


def _peak_mb() -> float:
    """Linux lets ru_maxrss begin at what the parent took; the peak of the address space begins at nothing."""
    if STATUS.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]) * 1024 / 1e6  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # of macOS, in bytes


def in_a_process(name: str, one_of: int) -> dict[str, float]:
    """Prepare files here, so that only embedding is in the memory of the process."""
    case = CASES[name].part(one_of)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "image.jpg").write_bytes(street_jpegs(1, case.image_size)[0])
        leave_parts(case.task(Path(folder)), case.done)
        command = [sys.executable, "-m", "geopin_assets_tests.benchmarks.embed_memory", name, folder]
        command.append(f"--one-of={one_of}")
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print the peak memory of each case; with a case and a folder, its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--one-of", type=int, default=1, metavar="N", help="an Nth of the captures, and of their size")
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(embed(CASES[options.case].part(options.one_of), options.folder)))
        return []
    print(f"batches of {Constant.batch_size}, {machine()}")
    rows = {name: in_a_process(name, options.one_of) for name in CASES}
    columns = list(rows["many"])
    print_table(
        ("cell", *columns), [(name, *(f"{row[column]:.0f}" for column in columns)) for name, row in rows.items()]
    )
    peak_mb = max(row["peak MB"] for row in rows.values())
    print(f"at most {peak_mb:.0f} MB, target {TARGET_MB}")
    return [Figure("memory of embedding the largest cells", peak_mb / 1000, "GB", at_most=TARGET_MB / 1000)]


if __name__ == "__main__":
    main(sys.argv[1:])
