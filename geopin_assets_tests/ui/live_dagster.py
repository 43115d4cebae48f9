"""A real webserver and daemon over an instance in a folder, as `geopin ui` starts them, and its GraphQL."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg

from geopin_assets_tests.ports import free_port
from geopin_assets_tests.ui.city import HOST, await_port

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class LiveDagster:
    """Where it listens, and where its history is."""

    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def ask(self, query: str, **variables: object) -> Any:
        """The data of a GraphQL answer."""
        connection = HTTPConnection(HOST, self.port, timeout=120)
        body = json.dumps({"query": query, "variables": variables})
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert "errors" not in answer, answer
        return answer["data"]

    def backfill(self, backfill_id: str) -> dict[str, Any]:
        """Its status and, per asset, cells targeted, materialized and failed."""
        found = self.ask(
            """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
                 status numPartitions partitionNames
                 assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
                   numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } } } } }""",
            id=backfill_id,
        )
        return dict(found["partitionBackfillOrError"])

    def backfills(self) -> list[str]:
        """Ids, newest first."""
        found = self.ask("{ partitionBackfillsOrError { ... on PartitionBackfills { results { id } } } }")
        return [backfill["id"] for backfill in found["partitionBackfillsOrError"]["results"]]

    def stop_sensors(self) -> None:
        """From now on only what somebody asks for is run."""
        repository = {"repositoryName": "__repository__", "repositoryLocationName": "geopin_assets"}
        found = self.ask(
            "query($of: RepositorySelector!) { sensorsOrError(repositorySelector: $of)"
            " { ... on Sensors { results { id } } } }",
            of=repository,
        )
        for sensor in found["sensorsOrError"]["results"]:
            stopped = self.ask("mutation($id: String!) { stopSensor(id: $id) { __typename } }", id=sensor["id"])
            assert stopped["stopSensor"]["__typename"] == "StopSensorMutationResult"

    def latest_run(self, asset: str) -> str | None:
        """The run that materialized an asset last."""
        found = self.ask(
            """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
                 assetMaterializations(limit: 1) { runId } } } }""",
            key={"path": asset.split("/")},
        )
        runs = [made["runId"] for made in found["assetOrError"]["assetMaterializations"]]
        return runs[0] if runs else None

    def await_another_run(self, asset: str, than: str | None, patience_s: float = 600) -> None:
        """Return once an asset was materialized by another run."""
        deadline_s = time.monotonic() + patience_s
        while self.latest_run(asset) == than:
            assert time.monotonic() < deadline_s, f"{asset} was not materialized again"
            time.sleep(1)

    def await_backfill(self, backfill_id: str, patience_s: float = 900) -> dict[str, Any]:
        """The backfill once it has ended, well or not."""
        deadline_s = time.monotonic() + patience_s
        while True:
            backfill = self.backfill(backfill_id)
            if backfill["status"] not in ("REQUESTED", "COMPLETED_SUCCESS_PENDING", "FAILING"):
                return backfill
            assert time.monotonic() < deadline_s, backfill
            time.sleep(1)


def prepare_home(folder: Path) -> Path:
    """A DAGSTER_HOME with the checkout's own instance file and workspace."""
    folder.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


@contextmanager
def instance_at(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance in this process. Its file names DAGSTER_HOME."""
    with mock.patch.dict(os.environ, DAGSTER_HOME=str(home)), dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@contextmanager
def live_dagster(home: Path, variables: Mapping[str, str], *, has_daemon: bool = True) -> Iterator[LiveDagster]:
    """`geopin ui` would start this too; here without its own stand-ins, as the city has its own."""
    port = free_port()
    command = [Path(sys.executable).with_name("dagster"), "dev"] if has_daemon else [_webserver()]
    command += ["-w", home / "workspace.yaml", "-h", HOST]
    environ = {**os.environ, **variables, "DAGSTER_HOME": str(home)}
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [*map(str, command), "-p", str(port)],
            env=environ, cwd=home, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        await_port(port)
        yield LiveDagster(port, home)
    finally:
        stop_group(process)


def _webserver() -> Path:
    return Path(sys.executable).with_name("dagster-webserver")


def stop_group(process: "subprocess.Popen[bytes]") -> None:
    """Ask, then insist."""
    for signal_ in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, signal_)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                continue
