"""Every benchmark, one after the other: `python -m geopin_assets_tests.benchmarks`, or `make bench`.

Each is a module with `main()` that prints its figures beside a baseline of the same run, and runs alone as well.
`--embed` runs those of fetching and embedding images only, as `make bench-embed` does.
"""

import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

EMBED_BENCHMARKS = ("http_clients", "embed_fetch", "embed_pipeline", "embed_gpu", "embed_refresh", "embed_memory")
BENCHMARKS = (
    *(
        "definitions_import",
        "cell_overhead",
        "splitting",
        "workload",
        "national_crawl",
        "merge",
        "growth",
        "recall",
        "real_photos",
        "publish",
        "quarter",
        "index_upkeep",
        "index_memory",
        "locate_search",
        "export",
        "locate_answer",
        "locate_sandbox",
    ),
    "pages",
    *EMBED_BENCHMARKS,
)


def main(names: Sequence[str] = BENCHMARKS) -> None:
    for name in names:
        module = f"{__package__}.{name}"
        if find_spec(module) is None:
            print(f"\n== {name}: not in this checkout")
            continue
        started = time.perf_counter()
        print(f"\n== {name}", flush=True)
        import_module(module).main()
        print(f"-- {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(EMBED_BENCHMARKS if "--embed" in sys.argv[1:] else BENCHMARKS)
