"""Every benchmark, one after the other: `python -m geopin_assets_tests.benchmarks`, or `make bench`.

Each is a module with `main()` that prints its figures beside a baseline of the same run, and runs alone as well.
"""

import time
from importlib import import_module
from importlib.util import find_spec

BENCHMARKS = ("definitions_import", "cell_overhead", "splitting", "workload", "national_crawl", "embedding")


def main() -> None:
    for name in BENCHMARKS:
        module = f"{__package__}.{name}"
        if find_spec(module) is None:
            print(f"\n== {name}: not in this checkout")
            continue
        started = time.perf_counter()
        print(f"\n== {name}", flush=True)
        import_module(module).main()
        print(f"-- {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
