"""Every benchmark, one after the other: `python -m geopin_assets_tests.benchmarks [NAME ...]`, or `make bench`.

Each is a module with `main()` that prints its figures beside a baseline of the same run and returns those that are
kept, and runs alone as well. `--embed` runs those of fetching and embedding images only, as `make bench-embed` does.
At the end all figures stand in one table, and in `--out` as JSON; `--compare OLD.json` says what became of older ones.
"""

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from geopin_assets_tests.benchmarks.tools import figures

EMBED_BENCHMARKS = ("http_clients", "embed_fetch", "embed_pipeline", "embed_gpu", "embed_refresh", "embed_memory")
BENCHMARKS = (
    *("definitions_import", "commands", "cell_overhead", "splitting", "workload", "national_crawl", "merge", "growth"),
    *("recall", "real_photos", "publish", "quarter", "index_upkeep", "index_memory", "locate_search", "export"),
    *("locate_answer", "locate_sandbox", "layers", "thinning", "scale", "pages"),
    *EMBED_BENCHMARKS,
)
OUT = Path(".geopin/bench.json")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--embed", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON to keep figures in")
    parser.add_argument("--compare", type=Path, help="JSON of an earlier run")
    options = parser.parse_args(arguments)
    names = options.names or (EMBED_BENCHMARKS if options.embed else BENCHMARKS)
    if strangers := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(strangers))}")
    old = figures.read(options.compare) if options.compare else []
    for name in names:
        started = time.perf_counter()
        print(f"\n== {name}", flush=True)
        found = import_module(f"{__package__}.{name}").main([]) or []
        figures.keep(options.out, name, figures.records_of(name, found))
        print(f"-- {time.perf_counter() - started:.0f} s", flush=True)
    print(f"\nall figures, kept in {options.out}")
    figures.show([record for record in figures.read(options.out) if record["benchmark"] in names], old)


if __name__ == "__main__":
    main()
