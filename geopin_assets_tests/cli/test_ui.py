"""`geopin ui` from its start to its end, as a process."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from geopin_assets.cli.ui import Chatter
from geopin_assets_tests.cli.typed import Place, complaint
from geopin_assets_tests.depth import some
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.ui.city import await_port
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
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path)
    found = connection.getresponse().status
    connection.close()
    return found


@contextmanager
def started(home: Path, port: int, data: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[str]]]:
    """`geopin ui` as a process, when it says that it is ready; and what it has said."""
    variables = {
        "DAGSTER_HOME": str(home),
        "GEOPIN_PROFILE": "sandbox",
        "GEOPIN_DATA": str(data),
        "GEOPIN_SANDBOX_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "geopin_assets.cli", "ui", "--port", str(port)]
    printed = home / "printed.txt"
    with printed.open("w") as output:
        ui = subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=output)
    try:
        await_port(port)
        while "ready" not in printed.read_text() and ui.poll() is None:
            time.sleep(0.1)
        yield ui, printed.read_text().splitlines()
    finally:
        ui.kill()


def await_end(home: Path, patience_s: float = 120) -> None:
    """Return once no process of this home is left."""
    deadline_s = time.monotonic() + patience_s
    while left := processes_of(home):
        assert time.monotonic() < deadline_s, left
        time.sleep(0.2)


def wiped(port: int, method: str, **headers: str) -> int:
    """Ask for the history of an asset to be wiped; the status of the answer."""
    query = (
        'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["catalog", "captures"]}}]) { __typename } }'
    )
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    path = "/graphql" if method == "POST" else f"/graphql?{urlencode({'query': query})}"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, json.dumps({"query": query}) if method == "POST" else None, given)
    found = connection.getresponse().status
    connection.close()
    return found


@pytest.mark.skipif(not PROC.exists(), reason="counts processes in /proc")
def test_stopping_the_ui_leaves_no_process_behind(tmp_path: Path) -> None:
    home, port, data = prepare_home(tmp_path / "home"), free_port(), tmp_path / "data"
    log = data / "ui.log"
    with started(home, port, data) as (ui, said):
        (ready,) = (line for line in said if "ready" in line)
        assert ready == f"GeoPin is ready: http://127.0.0.1:{port} · logs: {log} · Ctrl-C ends it"
        assert status(port, "/server_info") == 200
        assert status(port, "/reports/coverage.html") == 404  # nothing was reported yet
        (data / "quality").mkdir(exist_ok=True)
        (data / "quality" / "coverage.html").write_text("<h1>map</h1>")
        assert status(port, "/reports/coverage.html") == 200
        assert len(processes_of(home)) >= 4  # ours, Dagster's webserver, daemon and code server

        assert wiped(port, "GET") == 405
        assert wiped(port, "POST", Content_Type="text/plain") == 415
        assert wiped(port, "POST", Content_Type="application/json", Origin="https://evil.example") == 403
        assert wiped(port, "POST", Content_Type="application/json", Host=f"evil.example:{port}") == 421
        assert wiped(port, "POST", Content_Type="application/json", Origin=f"http://127.0.0.1:{port}") == 200

        second = subprocess.run(
            [sys.executable, "-m", "geopin_assets.cli", "ui", "--port", str(free_port())],
            env=os.environ | {"DAGSTER_HOME": str(home)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert f"{home} is served already: geopin ui is held by process {ui.pid} " in second.stderr

        ui.send_signal(signal.SIGINT)
        assert ui.wait(240) == 0
        await_end(home)  # Python's own tracker of resources hears of it a moment later
    printed = (home / "printed.txt").read_text()
    assert "dagster" not in "".join(printed.splitlines(keepends=True)[2:]), "chatter belongs to the log"
    assert "dagster.code_server" in log.read_text()
    assert "\x1b" not in log.read_text()


@pytest.mark.skipif(not PROC.exists(), reason="counts processes in /proc")
def test_nothing_outlives_a_terminal_that_was_closed_or_a_process_that_was_killed(tmp_path: Path) -> None:
    home, port = prepare_home(tmp_path / "home"), free_port()
    for ending in some((signal.SIGKILL, signal.SIGHUP)):  # a closed terminal ends it as Ctrl-C does, see above
        with started(home, port, tmp_path / "data") as (ui, said):
            assert any("ready" in line for line in said), said
            ui.send_signal(ending)
            ui.wait(240)
            await_end(home)


def _heard() -> None:
    """What `nohup` starts ignores that the terminal was closed, and so does all that it starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGKILL])
def test_it_hears_that_its_make_alone_was_told_to_hang_up_or_killed(how: signal.Signals, tmp_path: Path) -> None:
    lines = ("import time", "from geopin_assets.cli.ui import Starter", "starter = Starter()", "print(1, flush=True)")
    waiting = "while not starter.has_gone(): time.sleep(0.01)"
    (tmp_path / "x.py").write_text("\n".join((*lines, waiting, "print(2, flush=True)")))
    (tmp_path / "Makefile").write_text(f"ui:\n\t@{sys.executable} x.py\n")
    told = ["make", "--no-print-directory", "ui"]  # a make within another says where it is
    with subprocess.Popen(told, cwd=tmp_path, stdout=subprocess.PIPE, preexec_fn=_heard) as make:
        try:
            assert make.stdout and make.stdout.readline() == b"1\n"
        finally:
            make.send_signal(how)
        assert make.stdout.readline() == b"2\n"


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


def test_a_log_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = saying(*(f"line {number}" for number in range(100)), code=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as on a full disk
    try:
        assert Chatter(said, tmp_path / "ui.log").wait() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    shown = capsys.readouterr()
    assert " ".join(shown.out.split()).count("cannot be written") == 1 and "Traceback" not in shown.err


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


def test_reports_are_asked_for_where_nobody_serves_them_any_more(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.home / "workspace.yaml").write_text("load_from: []\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        old = place.geopin("ui", "--port", port, GEOPIN_REPORTS_URL="http://127.0.0.1:3001")
        assert "GEOPIN_REPORTS_URL=http://127.0.0.1:3001: " in complaint(old)
        elsewhere = place.geopin("ui", "--port", port, GEOPIN_REPORTS_URL="https://maps.example.org/coverage")
        assert f"port {port}: " in complaint(elsewhere)
