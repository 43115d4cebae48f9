"""How long loading the code location takes: `python -m geopin_assets_tests.benchmarks.definitions_import`.

CPU seconds of a fresh interpreter, median of five each in turn, so that a busy neighbor hits all alike. Every run
of the daemon pays this, and so does every reload. Target: at most 1.8 times `import dagster`.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from geopin_assets_tests.benchmarks.tools.figures import Figure

ROUNDS, TARGET = 5, 1.8
LOADED = {"nothing": "", "dagster": "import dagster", "definitions": "import geopin_assets.definitions"}


def cpu_s(code: str) -> float:
    """CPU seconds of an interpreter that runs `code`, its own start included."""
    script = f"{code}\nimport time; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    measured: dict[str, list[float]] = {name: [] for name in LOADED}
    for _ in range(options.rounds):
        for name, code in LOADED.items():
            measured[name].append(cpu_s(code))
    seconds = {name: median(rounds) for name, rounds in measured.items()}
    print(f"{'import':14} {'cpu s':>6} {'ratio to dagster':>17}")
    for name, value in seconds.items():
        print(f"{name:14} {value:6.2f} {value / seconds['dagster']:17.2f}")
    ratio = seconds["definitions"] / seconds["dagster"]
    return [Figure("loading the definitions, CPU", ratio, beside="import dagster", at_most=TARGET)]


if __name__ == "__main__":
    main(sys.argv[1:])
