"""`geopin ui` from its start to its end, as a process."""

import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from geopin_assets_tests.ui.city import await_port, free_port
from geopin_assets_tests.ui.live_dagster import prepare_home

PROC = Path("/proc")


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes whose environment names this folder as DAGSTER_HOME."""
    setting, found = f"DAGSTER_HOME={home}".encode(), []
    for process in PROC.glob("[0-9]*"):
        try:
            if setting in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended, or is not ours
    return found


def status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    found = connection.getresponse().status
    connection.close()
    return found


@pytest.mark.skipif(not PROC.exists(), reason="counts processes in /proc")
def test_stopping_the_ui_leaves_no_process_behind(tmp_path: Path) -> None:
    home, port, reports_port, sandbox_port = prepare_home(tmp_path / "home"), free_port(), free_port(), free_port()
    variables = {
        "DAGSTER_HOME": str(home),
        "GEOPIN_PROFILE": "sandbox",
        "GEOPIN_DATA": str(tmp_path / "data"),
        "GEOPIN_SANDBOX_PORT": str(sandbox_port),
        "GEOPIN_REPORTS_URL": f"http://127.0.0.1:{reports_port}",
    }
    command = [sys.executable, "-m", "geopin_assets.cli", "ui", "--port", str(port)]
    with (tmp_path / "ui.log").open("w") as log:
        ui = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
    await_port(port)
    assert status(port, "/server_info") == 200
    assert status(reports_port, "/coverage.html") == 404  # nothing was reported yet
    assert len(processes_of(home)) >= 4  # ours, dagster dev, its webserver, daemon and code server

    ui.send_signal(signal.SIGINT)
    assert ui.wait(60) == 0
    assert processes_of(home) == []
