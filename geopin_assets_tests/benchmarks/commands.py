"""What people wait for: `python -m geopin_assets_tests.benchmarks.commands`.

CPU seconds of the commands that list something, each in a fresh interpreter, and `geopin demo` by the clock, in a
folder of its own. The listings are asked over what the demo left. Targets: a second of CPU, and 45 s on two
quiet cores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from statistics import median

from geopin_assets_tests.benchmarks.tools.figures import CHECKOUT, Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, cost_of, machine, print_table
from geopin_assets_tests.ports import free_port

ROUNDS, TARGET_S, DEMO_S = 3, 1.0, 45.0
LISTINGS = ("sources", "settings", "cells", "status", "plan")


def geopin(folder: str, port: int, *words: str) -> None:
    """A command as its users start it, over data in this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEOPIN_", "DAGSTER_"))}
    own = {"GEOPIN_DATA": f"{folder}/data", "DAGSTER_HOME": folder, "GEOPIN_SANDBOX_PORT": str(port)}
    command = [sys.executable, "-m", "geopin_assets.cli", *words]
    subprocess.run(command, cwd=folder, env=kept | own, check=True, stdout=subprocess.DEVNULL)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--listings", nargs="+", default=LISTINGS, choices=LISTINGS)
    parser.add_argument("--no-demo", action="store_true")
    options = parser.parse_args(arguments)
    demo: list[Cost] = []
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(CHECKOUT / "dagster.yaml", folder)  # as in the checkout: else Dagster tells its makers of each run
        if not options.no_demo:
            demo.append(cost_of(lambda: geopin(folder, port, "demo")))
        costs = {
            name: [cost_of(lambda name=name: geopin(folder, port, name)) for _ in range(options.rounds)]
            for name in options.listings
        }
    rows = {f"geopin {name}": median(cost.cpu_s for cost in rounds) for name, rounds in costs.items()}
    print(machine())
    print_table(("command", "CPU s"), [(name, f"{cpu_s:.2f}") for name, cpu_s in rows.items()])
    print("".join(f"geopin demo: {cost.wall_s:.0f} s by the clock, {cost.cpu_s:.0f} s of CPU" for cost in demo))
    return [
        *(Figure(name, cpu_s, "s of CPU", at_most=TARGET_S) for name, cpu_s in rows.items()),
        *(Figure("geopin demo", cost.wall_s, "s by the clock", at_most=DEMO_S) for cost in demo),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
