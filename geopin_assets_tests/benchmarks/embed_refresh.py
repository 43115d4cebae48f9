"""A weekly run against the first one: `python -m geopin_assets_tests.benchmarks.embed_refresh`.

3,000 captures in ten cells. A week later every link is another, as links expire, and one capture in a hundred changed:
as many have a newer image as are gone and as are new. Changes are spread over all cells, the worst case: every file is
replaced. Target: 1.2 % of the images of the first run are fetched.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, print_table
from geopin_assets_tests.embedding.cells import Links, OneImage, Week
from geopin_assets_tests.embedding.pictures import encoded, smooth

CELLS, CAPTURES_PER_CELL, CHANGED_OF_EACH = 10, 300, 1
TARGET = 0.012
COLUMNS = ("run", "images fetched", "ratio", "links renewed", "vectors in replaced files", "CPU s", "ratio")


@dataclass(frozen=True)
class Run:
    """What embedding one week took."""

    fetched: int
    renewed: int
    rewritten: int
    """Vectors in the files that were replaced."""
    cpu_s: float

    @classmethod
    def over(cls, week: Week, folder: Path) -> "Run":
        fetcher, links = OneImage(encoded(smooth(1024, 768))), Links()
        before = _written(folder)
        started = Cost.now()
        tasks = week.tasks(folder)
        for cell_id, done in embed_cells(tasks, embedder=Thumbnail(), fetcher=fetcher, renew=links.renew, many=9**9):
            if isinstance(done, Exception) or done.stats.failed:
                sys.exit(f"{cell_id}: {done}")
        cpu_s = (Cost.now() - started).cpu_s
        after = _written(folder)
        replaced = [task.vectors for task in tasks if before.get(task.vectors.key) != after[task.vectors.key]]
        return cls(fetcher.fetched, links.renewed, sum(len(file.read(["view"])) for file in replaced), cpu_s)

    def row(self, name: str, first: "Run") -> Sequence[object]:
        fetched, cpu = self.fetched / first.fetched, self.cpu_s / first.cpu_s
        return (name, self.fetched, f"{fetched:.4f}", self.renewed, self.rewritten, f"{self.cpu_s:.2f}", f"{cpu:.3f}")


def _written(folder: Path) -> dict[str, int]:
    """When each file of vectors was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print images fetched, vectors rewritten and CPU seconds of each run, and the ratios to the first one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--captures", type=int, default=CAPTURES_PER_CELL, help="in each")
    options = parser.parse_args(arguments)
    first = Week.first(options.cells, options.captures)
    unchanged, changed = first.next(of_each=0), first.next(of_each=CHANGED_OF_EACH)
    weeks = {"first": first, "only links changed": unchanged, "1 % changed": changed, "the same again": changed}
    print(f"{len(first)} captures in {options.cells} cells, {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: Run.over(week, Path(folder)) for name, week in weeks.items()}
    print_table(COLUMNS, [run.row(name, runs["first"]) for name, run in runs.items()])
    ratio = runs["1 % changed"].fetched / runs["first"].fetched
    print(f"ratio {ratio:.4f}, target {TARGET}")
    return [Figure("images fetched when 1 % changed", ratio, beside="a first run", at_most=TARGET)]


if __name__ == "__main__":
    main(sys.argv[1:])
