"""Two machines that share nothing but a Postgres, a Redis and an S3, and are killed at the worst moment."""

import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.defs.declare import asset_key
from geopin_assets.defs.graph import EMBEDDINGS, GRAPH, RAW, node
from geopin_assets.defs.running.backfills import InstanceBackfills
from geopin_assets.defs.running.under_way import living_runs
from geopin_assets.regions import region
from geopin_assets.sandbox.server import running
from geopin_assets.settings import Settings
from geopin_assets_tests.faults.work import content_of
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.platform import Installation, Platform
from geopin_assets_tests.scale import servers
from geopin_assets_tests.scale.machines import Machine, begin, machines, switch_off_automation, until
from geopin_assets_tests.scale.page import PAGE

pytestmark = [
    pytest.mark.skipif("GEOPIN_TEST_SCALE" not in os.environ, reason="minutes of several machines: make test-scale"),
    pytest.mark.timeout(3600),
]
REGION = "around:52.37,4.89,4+ut-utrecht-r074c059"
CELLS = region(REGION)
LAYERS = [row.key for row in GRAPH if row.cells_per_run and row.above]
PUBLISHING = [key for key in LAYERS if node(key).queue == "publish"]
OTHERS = "On the second, and on every other one with a GPU"
CONTROL = 2
"""Services of the first machine before its workers: the webserver and the daemon."""
MINUTE_S = 60.0
IN_THE_MIDDLE_S = 1.0
"""After a step's start: what it imports takes longer, and all cells together some seconds."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = servers.free_port()
    with running(Settings(data_dir=tmp_path_factory.mktemp("sandbox"), sandbox_port=port)):
        yield port


@pytest.fixture(scope="module")
def variables(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    photos = tmp_path_factory.mktemp("photos")
    with servers.postgres() as database, servers.redis() as broker, servers.s3() as objects:
        yield {
            **servers.KEYS,
            "DAGSTER_POSTGRES_URL": database,
            "DAGSTER_CELERY_BROKER_URL": f"{broker}/0",
            "DAGSTER_CELERY_RESULTS_URL": f"{broker}/1",
            "DAGSTER_LOGS_BUCKET": "geopin",
            "GEOPIN_S3_ENDPOINT_URL": objects,
            "GEOPIN_POSTGRES_URL": database,
            "GEOPIN_PROFILE": "sandbox",
            "GEOPIN_SANDBOX_PORT": str(port),
            "GEOPIN_STORE": "s3://geopin/reference",
            "GEOPIN_OWN_PHOTOS_DIR": str(photos),
            "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0",
            "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "Survey",
        }


def made(instance: dg.DagsterInstance, key: str) -> Counter[str]:
    """Cell -> how often it was made."""
    cells, cursor = Counter[str](), None
    while True:
        page = instance.fetch_materializations(asset_key(key), 1000, cursor)
        cells.update(record.partition_key for record in page.records if record.partition_key)
        if not page.has_more:
            return cells
        cursor = page.cursor


def at_work(instance: dg.DagsterInstance, machine: str, keys: Collection[str]) -> dg.DagsterRun | None:
    """A run of these assets that the machine is in the middle of."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        task = instance.run_launcher.celery.AsyncResult(run.tags["dagster-celery/task_id"])  # type: ignore[attr-defined]
        if not {key.to_user_string() for key in run.asset_selection or ()} & set(keys):
            continue
        begun = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
        is_there = task.state == "STARTED" and task.info["hostname"].endswith(f"@{machine}")
        if is_there and begun and time.time() - begun[0].timestamp > IN_THE_MIDDLE_S:
            return run
    return None


def finish(instance: dg.DagsterInstance, ids: list[str]) -> None:
    """Wait until backfills are over; all they were of must be done."""
    states = InstanceBackfills(instance)
    until(lambda: all(states.state(id_).is_over for id_ in ids), patience_s=900, what="the end of backfills")
    for id_ in ids:
        state = states.state(id_)
        assert (state.done, state.failed) == (state.cells, 0), list(states.failures(id_)) or state


def noticed_after_s(instance: dg.DagsterInstance, run: dg.DagsterRun, lost_at_s: float) -> float:
    """How long until the run of a lost machine was failed."""

    def ended() -> float | None:
        record = instance.get_run_record_by_id(run.run_id)
        assert record is not None
        return record.end_time if record.dagster_run.status == dg.DagsterRunStatus.FAILURE else None

    end_s = until(ended, what="noticing that a machine is lost")
    assert end_s is not None
    return end_s - lost_at_s


def test_two_machines_that_are_killed_make_what_one_makes(
    variables: dict[str, str], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: object
) -> None:
    began_s = time.monotonic()
    with instance_in(tmp_path) as alone:
        one = Platform(tmp_path / "one", port, GEOPIN_OWN_PHOTOS_DIR=variables["GEOPIN_OWN_PHOTOS_DIR"])
        layers = one.run(alone, tuple(CELLS), tuple(name.partition("/")[2] for name in RAW))
        assert not [layer for layer in layers.values() if layer.asset in LAYERS and layer.failed]
    wanted = content_of(one, CELLS, port)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with machines(tmp_path, variables, ["first", "second", "third"]) as (first, second, third):
        monkeypatch.setenv("DAGSTER_HOME", str(first.home))
        first.set_up("On the first")
        with dg.DagsterInstance.get() as instance:
            figures = lose_two(instance, first, second, third)
            once = {key: made(instance, key) for key in (*RAW, *LAYERS)}
        two = Installation(tmp_path, variables)
        two.set(GEOPIN_DATA=str(first.home / ".geopin" / "sandbox"))
        assert content_of(two, CELLS, port) == wanted
    for key in LAYERS:
        assert once[key] == Counter(CELLS), key
    took = f"{time.monotonic() - began_s:.0f} s in all"
    noticed = ", ".join(f"lost in {what}: noticed after {after_s:.0f} s" for what, after_s in figures.items())
    print(f"\ntest-scale: {len(CELLS)} cells, three machines, Postgres, Redis, S3: as one machine; {noticed}; {took}")
    assert max(figures.values()) < MINUTE_S


def lose_two(instance: dg.DagsterInstance, first: Machine, second: Machine, third: Machine) -> dict[str, float]:
    """The whole graph, with a machine lost in embedding and one in publishing; when each was noticed."""
    switch_off_automation(instance, first.home / "workspace.yaml")
    first.serve("On the first")
    for machine in (second, third):
        machine.serve(OTHERS)
    until(InstanceBackfills(instance).has_daemon, what="the daemon's start")
    crawl(instance, first)
    figures = {}
    for key in LAYERS:
        ids = begin(instance, [key], CELLS)
        if key == EMBEDDINGS:
            run = until(lambda: at_work(instance, "second", [EMBEDDINGS]), what="embedding on the second")
            figures["embedding"] = noticed_after_s(instance, run, second.lose())
        elif key == PUBLISHING[-1]:
            run = until(lambda: at_work(instance, "first", PUBLISHING), what="publishing on the first")
            lost_at_s = first.lose(keep=CONTROL)
            first.serve("On the first", "celery")
            figures["publishing"] = noticed_after_s(instance, run, lost_at_s)
        finish(instance, ids)
    assert not living_runs(instance)
    return figures


def crawl(instance: dg.DagsterInstance, first: Machine) -> None:
    """One source by the command of the page, all others as it does; some of the sandbox fail in cells on purpose."""
    (command,) = re.findall(r"^geopin backfill .+$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    first.do(command.replace("nh-amsterdam", REGION))
    others = [key for key in RAW if key.replace("raw/", "geopin backfill ") not in command]
    crawled, states = begin(instance, others, CELLS), InstanceBackfills(instance)
    until(lambda: all(states.state(id_).is_over for id_ in crawled), patience_s=900, what="the end of crawls")
