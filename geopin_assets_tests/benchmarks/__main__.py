"""Every benchmark, one after the other: `python -m geopin_assets_tests.benchmarks [NAME ...]`, or `make bench`.

Each is a module with `main()` that prints its figures beside a baseline of the same run and returns those that are
kept, and runs alone as well. Several have a process each: what one loads, or frees too late, is not the next one's.
`--embed` runs those of fetching and embedding images only, as `make bench-embed` does. At the end all figures stand in
one table, and in `--out` as JSON; `--compare OLD.json` says what became of older ones. One that breaks off keeps
nobody from running; the exit status is 1 then.
"""

import argparse
import subprocess
import sys
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
    parser.add_argument("--no-table", action="store_true", help="leave the table at the end out")
    options = parser.parse_args(arguments)
    names = options.names or (EMBED_BENCHMARKS if options.embed else BENCHMARKS)
    if strangers := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(strangers))}")
    if len(names) == 1:
        measure(names[0], options.out)
        broken = []
    else:
        broken = [name for name in names if not measure_apart(name, options.out)]
    if not options.no_table:
        old = figures.read(options.compare) if options.compare else []
        print(f"\nall figures, kept in {options.out}")
        figures.show([record for record in figures.read(options.out) if record["benchmark"] in names], old)
    if broken:
        sys.exit(f"broke off, see above: {', '.join(broken)}")


def measure(name: str, out: Path) -> None:
    """Run a benchmark here, and keep its figures."""
    started = time.perf_counter()
    print(f"\n== {name}", flush=True)
    found = import_module(f"{__package__}.{name}").main([]) or []
    figures.keep(out, name, figures.records_of(name, found))
    print(f"-- {time.perf_counter() - started:.0f} s", flush=True)


def measure_apart(name: str, out: Path) -> bool:
    """The same in a process of its own; whether it came to its end."""
    command = [sys.executable, "-m", __package__, name, "--out", str(out), "--no-table"]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    main()
