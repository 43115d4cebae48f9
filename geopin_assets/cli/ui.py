"""`geopin ui`: webserver and daemon on loopback, the reports and the stand-ins beside them, stopped together.

Here: starting, the one line that says where it is, the log of what the two Dagster processes say, and stopping. They
get their own process group, so that a stop reaches the code server and the runs they started too. Not here: what they
show, or the reports (`quality/`). Where GEOPIN_REPORTS_URL is another machine's, no reports are served.
"""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from http.client import HTTPConnection, HTTPException
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import urlsplit

from geopin_assets.cli.console import console, dagster_home, stand_ins
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

HOST = "127.0.0.1"
LOG_NAME = "ui.log"
_LOG_BYTES = 10_000_000
_START_S = 180
_STOP_S = 30
_LOOK_S = 0.2
"""The main thread hears of a signal that another thread took only between two steps of its own."""
_SENSOR_S = "300"
"""For one look at all cells: seconds, but on a busy machine the usual 60 would not be enough."""
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_MATTERS = re.compile(r" - (?:ERROR|CRITICAL) - ")
_LAST_LINES = 15


def serve_ui(settings: Settings, port: int) -> int:
    """Serve until Ctrl-C or SIGTERM. Returns the exit code."""
    home = dagster_home()
    if not (home / "workspace.yaml").exists():
        raise ConfigurationError(
            f"no workspace.yaml in {home}: start this from the checkout, or set DAGSTER_HOME to it"
        )
    _listener(port, f"port {port}", "say another with --port").close()  # or its owner would be taken for ours
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job starts with it ignored,
        signal.signal(stop, signal.default_int_handler)  # and so would Dagster, which ends cleanly on no other signal
    log = settings.data_dir / LOG_NAME
    console.print(f"starting the UI with {settings.profile}'s data in {settings.data_dir} …")
    with stand_ins(settings), reports(settings), _dagster(home, port) as dagster:
        chatter = Chatter(dagster, log)
        try:
            _announce(dagster, port, log)
            return chatter.wait()
        except KeyboardInterrupt:
            chatter.is_stopping = True
            console.print("stopping")
            return 0
        finally:
            _stop(dagster)


class Chatter:
    """What Dagster's processes say: all of it in a log file, errors on the console too."""

    is_stopping = False
    """A sensor that is interrupted then calls that an error, and it is none."""

    def __init__(self, dagster: "subprocess.Popen[str]", log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._dagster, self._log, self._last = dagster, log, deque[str](maxlen=_LAST_LINES)
        self._file = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8")
        self._reader = threading.Thread(target=self._read, name="ui log", daemon=True)
        self._reader.start()

    def wait(self) -> int:
        """The exit code of the processes, with their last words if that is not 0."""
        while (code := self._dagster.poll()) is None:
            time.sleep(_LOOK_S)
        self._reader.join(5)
        if code:
            console.print(
                f"Dagster ended with {code}; its last lines, all of them in {self._log}:", *self._last, sep="\n  "
            )
        return code

    def _read(self) -> None:
        with closing(self._file), self._dagster.stdout or nullcontext(()) as lines:
            for line in lines:
                self._hear(_COLORS.sub("", line).rstrip())

    def _hear(self, text: str) -> None:
        self._last.append(text)
        self._file.emit(logging.LogRecord("dagster", logging.INFO, "", 0, text, None, None))
        if _MATTERS.search(text) and not self.is_stopping:
            console.print(f"{text}   (more in {self._log})")


@contextmanager
def reports(settings: Settings) -> Iterator[None]:
    """Serve the folder of reports on loopback for as long as the context lasts: no browser opens files from a page.

    Raises ConfigurationError if the port is taken.
    """
    address = urlsplit(settings.reports_url)
    if address.hostname != HOST:
        yield
        return
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    listener = _listener(address.port or 80, settings.reports_url, "set GEOPIN_REPORTS_URL to a free port")
    settings.quality_dir.mkdir(parents=True, exist_ok=True)
    files = Starlette(routes=[Mount("/", StaticFiles(directory=settings.quality_dir))])  # no listing, nothing outside
    server = uvicorn.Server(uvicorn.Config(files, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="reports", daemon=True)
    with listener:
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _listener(port: int, what: str, remedy: str) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigurationError(f"{what}: {error.strerror}; {remedy}") from error


def _dagster(home: Path, port: int) -> "subprocess.Popen[str]":
    binary = Path(sys.executable).with_name("dagster")
    command = [str(binary), "dev", "-w", str(home / "workspace.yaml"), "-h", HOST, "-p", str(port)]
    environ = {"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": _SENSOR_S, **os.environ, "DAGSTER_HOME": str(home)}
    return subprocess.Popen(
        command,
        cwd=home,
        env=environ,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def _announce(dagster: "subprocess.Popen[str]", port: int, log: Path) -> None:
    """Wait until the webserver answers, then say where, and open the lineage."""
    address = f"http://{HOST}:{port}"
    deadline_s = time.monotonic() + _START_S
    while dagster.poll() is None and time.monotonic() < deadline_s:
        if _answers(port):
            console.print(f"GeoPin is ready: {address} · logs: {log} · Ctrl-C ends it", soft_wrap=True)
            if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
                webbrowser.open(f"{address}/asset-groups")
            return
        time.sleep(0.5)
    if dagster.poll() is None:
        console.print(f"nothing answers at {address} after {_START_S} s: see {log}", soft_wrap=True)


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(dagster: "subprocess.Popen[str]") -> None:
    """Ask the whole group to end, then insist: `dagster dev` leaves its children when only it is told."""
    for signal_, wait_s in ((signal.SIGINT, _STOP_S), (signal.SIGKILL, 5)):
        if dagster.poll() is None:
            os.killpg(dagster.pid, signal_)
            try:
                dagster.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
