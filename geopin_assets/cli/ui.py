"""`geopin ui`: Dagster and the reports on loopback, its daemon, and the stand-ins beside them, stopped together.

Here: starting, the one line that says where it is, the log of what Dagster's processes say, and stopping. They get
their own process group, so that a stop reaches the code server and the runs they started too; should this process be
killed, they hear of it (`lifeline.py`). One in a home: a second one says who has it. Not here: what is served
(`services.py`), to whom (`door.py`), or the reports (`quality/`).
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
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from http.client import HTTPConnection, HTTPException
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import urlsplit

from geopin_assets.cli.console import console, dagster_home, stand_ins
from geopin_assets.cli.door import REPORTS
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.lease import StillHeldError, leases_in
from geopin_assets.settings import Settings

HOST = "127.0.0.1"
LOG_NAME = "ui.log"
_LOG_BYTES = 10_000_000
_START_S = 180
_STOP_S = 30
_INSIST_S = 5
_LOOK_S = 0.2
"""The main thread hears of a signal that another thread took only between two steps of its own."""
_SENSOR_S = "300"
"""For one look at all cells: seconds, but on a busy machine the usual 60 would not be enough."""
_COLORS = re.compile(r"\x1b\[[0-9;]*+m")
_MATTERS = re.compile(r" - (?:ERROR|CRITICAL) - ")
_LAST_LINES = 15


def serve_ui(settings: Settings, port: int) -> int:
    """Serve until Ctrl-C or SIGTERM. Returns the exit code."""
    home = dagster_home()
    if not (home / "workspace.yaml").exists():
        raise ConfigurationError(
            f"no workspace.yaml in {home}: start this from the checkout, or set DAGSTER_HOME to it"
        )
    with _home_of_ours(home):
        _check_reports(settings)
        _check_port(port)
        # SIGINT too: a shell's background job starts with it ignored, and Dagster ends cleanly on no other signal
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(stop, signal.default_int_handler)
        return _serve(settings, home, port)


def _serve(settings: Settings, home: Path, port: int) -> int:
    log = settings.data_dir / LOG_NAME
    console.print(f"starting the UI with {settings.profile}'s data in {settings.data_dir} …")
    with stand_ins(settings), _dagster(home, port) as dagster:
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
            chatter.end()


class _LogFile(RotatingFileHandler):
    """Says once that it cannot be written: logging would say it for each line, in twenty."""

    _has_said = False

    def handleError(self, record: logging.LogRecord) -> None:
        self._say(sys.exception())

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._say(error)

    def _say(self, error: BaseException | None) -> None:
        if not self._has_said:
            self._has_said = True
            text = f"{self.baseFilename} cannot be written, what is missing there stays so: {error}"
            console.print(text, soft_wrap=True)


class Chatter:
    """What Dagster's processes say: all of it in a log file, errors on the console too."""

    is_stopping = False
    """A sensor that is interrupted then calls that an error, and it is none."""

    def __init__(self, dagster: "subprocess.Popen[str]", log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._dagster, self._log, self._last = dagster, log, deque[str](maxlen=_LAST_LINES)
        self._starter = Starter()
        self._file = _LogFile(log, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8", delay=True)
        self._reader = threading.Thread(target=self._read, name="ui log", daemon=True)
        self._reader.start()

    def wait(self) -> int:
        """The exit code of the processes, with their last words if that is not 0."""
        while (code := self._dagster.poll()) is None:
            if self._starter.has_gone():
                raise KeyboardInterrupt
            time.sleep(_LOOK_S)
        self.end()
        if code:
            console.print(
                f"Dagster ended with {code}; its last lines, all of them in {self._log}:", *self._last, sep="\n  "
            )
        return code

    def end(self) -> None:
        """Hear what was said last, of processes that are gone."""
        self._reader.join(5)

    def _read(self) -> None:
        with closing(self._file), self._dagster.stdout or nullcontext(()) as lines:
            for line in lines:
                self._hear(_COLORS.sub("", line).rstrip())

    def _hear(self, text: str) -> None:
        self._last.append(text)
        self._file.emit(logging.LogRecord("dagster", logging.INFO, "", 0, text, None, None))
        if _MATTERS.search(text) and not self.is_stopping:
            console.print(f"{text}   (more in {self._log})")


class Starter:
    """The `make` that started this process, if one did.

    Told to hang up it says nothing to its children and waits for them: it only no longer catches that signal.
    """

    def __init__(self) -> None:
        self._pid = os.getppid() if "MAKELEVEL" in os.environ else None
        self._did_catch = self._catches()

    def has_gone(self) -> bool:
        """Whether it was told to, or is not there any more."""
        return self._pid is not None and (os.getppid() != self._pid or (self._did_catch and not self._catches()))

    def _catches(self) -> bool:
        """False where the system does not tell."""
        with suppress(OSError):
            status = Path(f"/proc/{self._pid}/status").read_text(errors="replace")
            caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
            return bool(int(caught, 16) & 1 << signal.SIGHUP - 1)
        return False


@contextmanager
def _home_of_ours(home: Path) -> Iterator[None]:
    """Raises ConfigurationError naming who serves this home already."""
    with ExitStack() as stack:
        try:
            stack.enter_context(leases_in(home).held("geopin ui", patience_s=0.0))
        except StillHeldError as error:
            raise ConfigurationError(f"{home} is served already: {error}") from error
        yield


def _check_port(port: int) -> None:
    """Raises ConfigurationError if it is taken: its owner would be taken for ours."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ConfigurationError(f"port {port}: {error.strerror}; say another with --port") from error


def _check_reports(settings: Settings) -> None:
    """Raises ConfigurationError for a place on this machine at which nobody serves the reports any more."""
    if urlsplit(settings.reports_url).hostname in (HOST, "localhost") and not settings.reports_url.endswith(REPORTS):
        raise ConfigurationError(
            f"GEOPIN_REPORTS_URL={settings.reports_url}: the UI serves the reports itself, at {REPORTS}: unset it"
        )


def _dagster(home: Path, port: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "geopin_assets.cli.lifeline", "geopin_assets.cli.services", str(port)]
    usual = {"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": _SENSOR_S, "GEOPIN_UI_URL": f"http://{HOST}:{port}"}
    return subprocess.Popen(
        command,
        cwd=home,
        env=usual | os.environ | {"DAGSTER_HOME": str(home)},
        start_new_session=True,
        stdin=subprocess.PIPE,
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
        return connection.getresponse().status in (200, 401)
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(dagster: "subprocess.Popen[str]") -> None:
    """Ask the whole group to end, then insist: `dagster dev` leaves its children when only it is told."""
    for signal_, wait_s in ((signal.SIGINT, _STOP_S), (signal.SIGKILL, _INSIST_S)):
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(dagster.pid, signal_)
            _await_end(dagster, wait_s)


def _await_end(dagster: "subprocess.Popen[str]", wait_s: float) -> None:
    """Wait for the first of the group, then a while for its code servers, which end a little later.

    Raises ProcessLookupError when nobody is left.
    """
    with suppress(subprocess.TimeoutExpired):
        dagster.wait(wait_s)
    deadline_s = time.monotonic() + _INSIST_S
    while time.monotonic() < deadline_s:
        os.killpg(dagster.pid, 0)
        time.sleep(_LOOK_S / 4)
