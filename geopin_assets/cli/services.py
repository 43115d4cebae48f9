"""What `geopin ui` runs in a process of its own: Dagster's webserver and the reports behind the door, and the daemon.

`dagster dev` does the same with its webserver on a port of its own, which anything on this machine, and any page in
its browsers, may ask. Not here: the rules (`door.py`), what reports answer (`reports.py`), or starting and stopping
all of it (`ui.py`).
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn

from geopin_assets.cli.door import Door
from geopin_assets.cli.reports import reports
from geopin_assets.cli.try_page import try_page
from geopin_assets.defs.dagster_internals import webserver
from geopin_assets.defs.running.home import open_instance
from geopin_assets.locate import locate
from geopin_assets.platform.parts import Storage
from geopin_assets.settings import Settings

HOST = "127.0.0.1"
_CLOSE_S = 5
_DAEMON_STOPS_S = 20


def main() -> int:
    """Serve at the port in the arguments until interrupted. Returns the exit code."""
    port, home, settings = int(sys.argv[1]), Path(os.environ["DAGSTER_HOME"]), Settings.from_env()
    listener = socket.create_server((HOST, port))
    with (
        listener,
        open_instance(is_served=True) as instance,
        webserver(instance, home / "workspace.yaml") as (dagster, workspace),
    ):
        door = Door(
            dagster,
            reports(Storage().quality()),
            try_page(locate),
            {f"http://{HOST}:{port}", f"http://localhost:{port}", settings.ui_url},
            settings.ui_token.get_secret_value(),
        )
        quiet = {"log_level": "warning", "access_log": False, "proxy_headers": False, "server_header": False}
        server = uvicorn.Server(uvicorn.Config(door, timeout_graceful_shutdown=_CLOSE_S, lifespan="off", **quiet))  # type: ignore[arg-type]
        with _daemon(workspace, server) as daemon:
            with suppress(KeyboardInterrupt):  # which is how it is stopped
                server.run(sockets=[listener])
            return daemon.poll() or 0


@contextmanager
def _daemon(workspace: Path, server: uvicorn.Server) -> Iterator["subprocess.Popen[bytes]"]:
    """Dagster's daemon for as long as the context lasts. Where it ends by itself, so does the server."""
    command = [sys.executable, "-m", "geopin_assets.cli.lifeline", "dagster._daemon", "run", "-w", str(workspace)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as daemon:

        def watch() -> None:
            daemon.wait()
            server.should_exit = True

        threading.Thread(target=watch, name="daemon", daemon=True).start()
        try:
            yield daemon
        finally:
            _stop(daemon)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask, then insist."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_DAEMON_STOPS_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main())
