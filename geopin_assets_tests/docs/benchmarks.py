"""Writes the table at the end of docs/benchmarks.md: `python -m geopin_assets_tests.docs.benchmarks [bench.json]`.

The figures of a run, by default of `make bench`, take the place of older ones in docs/benchmarks.json, of which the
table is made. Not here: any figure (`benchmarks/`).
"""

import sys
from itertools import groupby
from pathlib import Path

from geopin_assets_tests.benchmarks.__main__ import OUT
from geopin_assets_tests.benchmarks.tools import figures

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
KEPT = PAGE.with_suffix(".json")
HEADING = "## Every figure\n"


def page() -> str:
    """The page with its table as the figures that are kept say."""
    before, heading, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    records = figures.read(KEPT)
    machines = sorted({(r["machine"].partition(",")[0], r["machine"].rpartition(",")[2].strip()) for r in records})
    versions = records[-1]["versions"] if records else {}
    said = "; ".join(f"{cores} of {processor}" for cores, processor in machines)
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    about = f"On {said}, with {libraries}. `docs/benchmarks.json` holds commit and load too."
    return f"{before}{heading}\n{about}\n\n{figures.markdown(records)}"


def main(file: Path = OUT) -> None:
    for benchmark, records in groupby(figures.read(file), key=lambda record: record["benchmark"]):
        figures.keep(KEPT, benchmark, records)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
