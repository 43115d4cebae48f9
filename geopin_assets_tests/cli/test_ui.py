"""`geopin ui` from its start to its end, as a process."""

import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from geopin_assets.cli.ui import Chatter
from geopin_assets_tests.cli.typed import Place, complaint
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
    printed, log = tmp_path / "printed.txt", tmp_path / "data" / "ui.log"
    with printed.open("w") as output:
        ui = subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=output)
    await_port(port)
    while "ready" not in printed.read_text() and ui.poll() is None:
        time.sleep(0.1)
    (ready,) = (line for line in printed.read_text().splitlines() if "ready" in line)
    assert ready == f"GeoPin is ready: http://127.0.0.1:{port} · logs: {log} · Ctrl-C ends it"
    assert status(port, "/server_info") == 200
    assert status(reports_port, "/coverage.html") == 404  # nothing was reported yet
    assert len(processes_of(home)) >= 4  # ours, dagster dev, its webserver, daemon and code server

    ui.send_signal(signal.SIGINT)
    assert ui.wait(60) == 0
    assert processes_of(home) == []
    assert "dagster" not in "".join(printed.read_text().splitlines(keepends=True)[2:]), "chatter belongs to the log"
    assert "Launching Dagster services" in log.read_text()
    assert "\x1b" not in log.read_text()


def saying(*lines: str, code: int) -> "subprocess.Popen[str]":
    """A process that says something and ends."""
    script = f"import sys; print({chr(10).join(lines)!r}); sys.exit({code})"
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, encoding="utf-8")


def test_an_error_of_dagster_is_shown_and_everything_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = "2026-11-29 13:00:00 +0000 - dagster.daemon.SensorDaemon - \x1b[31mERROR\x1b[0m - no such table"
    said = saying("... - dagster - INFO - nothing of interest", error, code=0)
    assert Chatter(said, tmp_path / "data" / "ui.log").wait() == 0
    shown, log = capsys.readouterr().out, (tmp_path / "data" / "ui.log").read_text()
    assert "SensorDaemon - ERROR - no such table" in shown and "ui.log" in shown
    assert "nothing of interest" not in shown
    assert "nothing of interest" in log and "ERROR - no such table" in log


def test_an_end_that_nobody_asked_for_is_shown_with_what_was_said_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Chatter(saying("first", "last words", code=3), tmp_path / "ui.log").wait() == 3
    shown = capsys.readouterr().out
    assert "ended with 3" in shown and "last words" in shown


def test_a_taken_port_is_one_line_before_anything_is_started(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.home / "workspace.yaml").write_text("load_from: []\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"port {port}: " in complaint(place.geopin("ui", "--port", port))
