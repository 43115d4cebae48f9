"""Machines of one installation: folders and processes that share nothing but servers, and losing one of them.

Here: what an operator does on each, as docs/scale-out.md says. Not here: what is asked of them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import dagster as dg
import httpx
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.regions import ranges
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.scale.page import CHECKOUT, documented

_POLL_S = 0.1
T = TypeVar("T")


_JOB = {
    "repositoryLocationName": "geopin_assets",
    "repositoryName": "__repository__",
    "jobName": "__ASSET_JOB",
}
_LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename ... on Error { message } } }
"""
_SERVICES = ("celery ", "dagster-daemon ", "dagster-webserver ")
_INSTALLS = ("export ", "cd ", "python3 -m venv ", "$DAGSTER_HOME/.venv/bin/python -m pip ")
"""What is there already where tests run: the environment, and what is installed into it."""


def steps(heading: str) -> list[str]:
    """What is to be typed there, but for what tests have already."""
    return [line for line in documented(heading) if not line.startswith(_INSTALLS)]


@dataclass
class Machine:
    """A folder that is its DAGSTER_HOME, and what runs on it."""

    name: str
    home: Path
    variables: Mapping[str, str]
    """Of the whole installation: where its servers are."""
    port: str = "3000"
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir()
        for line in steps("On both"):
            self.do(line, CHECKOUT)

    @property
    def webserver(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def has_webserver(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.webserver}/server_info").is_success
        return False

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **self.variables, "DAGSTER_HOME": str(self.home), "PATH": path}

    def set_up(self, heading: str) -> None:
        """Do what the page says of it, but for services."""
        for line in steps(heading):
            if not line.startswith(_SERVICES):
                self.do(line)

    def serve(self, heading: str, *services: str) -> None:
        """Start the services that the page says, or those of them."""
        for line in steps(heading):
            if line.startswith(services or _SERVICES):
                self.start(line.replace("%h", self.name).replace("3000", self.port))

    def do(self, command: str, folder: Path | None = None) -> None:
        """Run a command to its end."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder or self.home, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-1500:]}{done.stderr[-1500:]}"

    def start(self, command: str) -> None:
        """Run a command until the machine ends, with a log beside it."""
        with (self.home / f"{command.partition(' ')[0]}-{len(self.processes)}.log").open("wb") as log:
            told = ["bash", "-c", f"exec {command}"]
            self.processes.append(
                subprocess.Popen(
                    told, cwd=self.home, env=self.environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def lose(self, keep: int = 0) -> float:
        """Kill all that runs on it but the first so many, with what those have started; when that was."""
        gone, self.processes = self.processes[keep:], self.processes[:keep]
        for process in gone:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return time.time()

    def said(self) -> str:
        """The last that its processes wrote, for a test that fails."""
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in self.home.glob("*.log"))


@contextmanager
def machines(folder: Path, variables: Mapping[str, str], names: Sequence[str]) -> Iterator[list[Machine]]:
    """So many machines, lost at the end."""
    with ExitStack() as stack:
        found = [Machine(name, folder / name, variables, str(free_port())) for name in names]
        for machine in found:
            stack.callback(machine.lose)
        yield found


def switch_off_automation(instance: dg.DagsterInstance, workspace: Path) -> None:
    """Stop all sensors and schedules, as in the UI: tests say themselves what is made when."""
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as process:
        for location in process.create_request_context().code_locations:
            for repository in location.get_repositories().values():
                for sensor in repository.get_sensors():
                    instance.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
                for schedule in repository.get_schedules():
                    instance.stop_schedule(schedule.get_remote_origin_id(), schedule.selector_id, schedule)


def materialize(address: str, key: str, cells: Collection[str]) -> int:
    """Launch runs of an asset over the cells, as the UI of that webserver does; how many."""
    blocks = ranges(cells)
    for block in blocks:
        tags = {RANGE_START: block[0], RANGE_END: block[-1]}
        params = {
            "selector": _JOB | {"assetSelection": [{"path": key.split("/")}], "assetCheckSelection": []},
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": name, "value": value} for name, value in tags.items()]},
        }
        answer = httpx.post(f"{address}/graphql", json={"query": _LAUNCH, "variables": {"params": params}}, timeout=60)
        assert answer.json()["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", answer.text
    return len(blocks)


def until(look: Callable[[], T], *, patience_s: float = 300.0, what: str = "it") -> T:
    """What `look` finds, once it finds something."""
    end_s = time.monotonic() + patience_s
    while not (found := look()):
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what} did not happen within {patience_s:g} s")
        time.sleep(_POLL_S)
    return found
