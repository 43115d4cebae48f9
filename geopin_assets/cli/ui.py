"""`geopin ui`: webserver and daemon on loopback, the reports and the stand-ins beside them, stopped together.

Not here: what they show. The two Dagster processes get their own process group, so that a stop
reaches the code server and the runs they started too.
"""

import os
import signal
import subprocess
import sys
import time
import webbrowser
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from geopin_assets.cli.console import console
from geopin_assets.cli.home import dagster_home
from geopin_assets.cli.reports import reports
from geopin_assets.cli.stand_ins import stand_ins
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

HOST = "127.0.0.1"
_START_S = 180
_STOP_S = 30
_SENSOR_S = "300"
"""For one look at all cells: seconds, but on a busy machine the usual 60 would not be enough."""


def serve_ui(settings: Settings, port: int) -> int:
    """Serve until Ctrl-C or SIGTERM. Returns the exit code."""
    home = dagster_home()
    if not (home / "workspace.yaml").exists():
        raise ConfigurationError(
            f"no workspace.yaml in {home}: start this from the checkout, or set DAGSTER_HOME to it"
        )
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job starts with it ignored,
        signal.signal(stop, signal.default_int_handler)  # and so would Dagster, which ends cleanly on no other signal
    with stand_ins(settings), reports(settings), _dagster(home, port) as dagster:
        try:
            _announce(dagster, port)
            return dagster.wait()
        except KeyboardInterrupt:
            console.print("stopping")
            return 0
        finally:
            _stop(dagster)


def _dagster(home: Path, port: int) -> subprocess.Popen[bytes]:
    binary = Path(sys.executable).with_name("dagster")
    command = [str(binary), "dev", "-w", str(home / "workspace.yaml"), "-h", HOST, "-p", str(port)]
    environ = {"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": _SENSOR_S, **os.environ, "DAGSTER_HOME": str(home)}
    return subprocess.Popen(command, cwd=home, env=environ, start_new_session=True)


def _announce(dagster: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the webserver answers, then open the lineage."""
    address = f"http://{HOST}:{port}/asset-groups"
    deadline_s = time.monotonic() + _START_S
    while dagster.poll() is None and time.monotonic() < deadline_s:
        if _answers(port):
            console.print(f"\nGeoPin's lineage: {address}   (Ctrl-C stops)\n")
            if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
                webbrowser.open(address)
            return
        time.sleep(0.5)


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(dagster: "subprocess.Popen[bytes]") -> None:
    """Ask the whole group to end, then insist: `dagster dev` leaves its children when only it is told."""
    for signal_, wait_s in ((signal.SIGINT, _STOP_S), (signal.SIGKILL, 5)):
        if dagster.poll() is None:
            os.killpg(dagster.pid, signal_)
            try:
                dagster.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
