"""Runs a module that ends when whoever started it ends, however that is: `python -m …lifeline MODULE ARGUMENTS`.

The starter holds the other end of standard input and never writes. A signal would not do: it reaches nobody when the
starter is killed. Whatever the module starts in its group of processes ends with it. And it is there once in a home:
another one waits until this one is gone. Here: that much. Not here: any module.
"""

import os
import runpy
import signal
import sys
import threading
import time

_GRACE_S = 10.0
_PATIENCE_S = 60.0


def main() -> None:
    """Run the module named in the arguments, as if it had been started itself."""
    threading.Thread(target=_end_with_starter, name="lifeline", daemon=True).start()
    from geopin_assets.files.lease import leases_in

    module = sys.argv[1]
    with leases_in(os.environ["DAGSTER_HOME"]).held(module, what=module, patience_s=_PATIENCE_S):
        sys.argv = sys.argv[1:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    _signal(signal.SIGINT)  # as Ctrl-C: Dagster ends cleanly on nothing else
    time.sleep(_GRACE_S)
    _signal(signal.SIGKILL)


def _signal(number: signal.Signals) -> None:
    """To this process, and to those it started if it has a group of its own."""
    (os.killpg if os.getpgid(0) == os.getpid() else os.kill)(os.getpid(), number)


if __name__ == "__main__":
    main()
