"""Runs are put into the queue of their asset, and one whose worker is gone is not healthy."""

import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from celery.contrib.testing.worker import start_worker
from celery.signals import worker_process_init, worker_process_shutdown
from dagster._core.launcher import WorkerStatus
from dagster._core.run_coordinator import SubmitRunContext

from geopin_assets.defs.graph import GRAPH, QUEUES, queue_of
from geopin_assets.defs.running.celery_runs import AskingCeleryRunLauncher
from geopin_assets.defs.running.queues import QUEUE_TAG

TASK_TAG = "dagster-celery/task_id"
GPU = {"dagster-k8s/config": '{"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}'}
COORDINATOR = {
    "module": "geopin_assets.defs.running.queues",
    "class": "QueueByAsset",
    "config": {"tags": {"gpu": GPU, "publish": {QUEUE_TAG: "catalog"}}},
}


def test_every_asset_has_a_queue_and_what_writes_the_catalog_and_the_ledger_has_one_worker() -> None:
    assert {row.queue for row in GRAPH} == set(QUEUES)
    assert {row.queue for row in GRAPH if row.group == "raw"} == {"crawl"}
    assert {row.queue for row in GRAPH if row.pool == "duckdb"} == {"catalog"}
    assert {row.key for row in GRAPH if row.queue == "gpu"} == {"index/embeddings"}


@pytest.mark.parametrize(
    ("keys", "queue"),
    [
        (["raw/mapillary"], "crawl"),
        (["index/embeddings"], "gpu"),
        (["publish/d1", "publish/vectorize"], "publish"),
        (["raw/mapillary", "catalog/captures", "index/embeddings"], "catalog"),
        (["raw/mapillary", "index/embeddings"], "crawl"),
        (["quality/coverage"], "catalog"),
        (["somebody/elses"], "catalog"),
        ([], "catalog"),
    ],
)
def test_a_run_goes_where_everything_is_that_its_assets_need(keys: list[str], queue: str) -> None:
    assert queue_of(keys) == queue


@pytest.mark.parametrize(
    ("key", "own", "tags"),
    [
        ("raw/mapillary", {}, {QUEUE_TAG: "crawl"}),
        ("index/embeddings", {}, {QUEUE_TAG: "gpu", **GPU}),
        ("publish/d1", {}, {QUEUE_TAG: "catalog"}),
        ("index/embeddings", {QUEUE_TAG: "gpu-large"}, {QUEUE_TAG: "gpu-large", **GPU}),
    ],
)
def test_a_run_is_tagged_when_it_is_queued(key: str, own: dict[str, str], tags: dict[str, str], tmp_path: Path) -> None:
    with dg.instance_for_test({"run_coordinator": COORDINATOR}, temp_dir=str(tmp_path)) as instance:
        selected = frozenset([dg.AssetKey(key.split("/"))])  # past the queue: that wants to know where its code is
        run = dg.DagsterRun("job", tags=own, asset_selection=selected, status=dg.DagsterRunStatus.STARTING)
        instance.add_run(run)
        workspace: Any = None
        instance.run_coordinator.submit_run(SubmitRunContext(run, workspace))
        queued = instance.get_run_by_id(run.run_id)
        assert queued is not None
        assert queued.tags == own | tags


class Impatient(AskingCeleryRunLauncher):
    asked, answers_within_s, has_broker = 2, 0.3, True

    def __init__(self, *given: Any, **told: Any) -> None:
        super().__init__(*given, **told)
        self.questions = list[tuple[str, str | None]]()

    def _answer(self, task_id: str, worker: str | None = None) -> Any:
        self.questions.append((task_id, worker))
        if not self.has_broker:
            raise ConnectionError
        return super()._answer(task_id, worker)


@pytest.fixture
def launcher() -> Iterator[Impatient]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    launcher = Impatient("catalog", broker="memory://", backend="cache+memory://")
    yield launcher
    launcher.celery.close()
    root.setLevel(level)  # a worker of Celery takes the logs of its process over
    root.handlers[:] = handlers


def health(launcher: AskingCeleryRunLauncher, task_id: str) -> WorkerStatus:
    return launcher.check_run_worker_health(dg.DagsterRun("job", tags={TASK_TAG: task_id})).status


def test_a_run_is_healthy_as_long_as_its_worker_says_so(launcher: AskingCeleryRunLauncher) -> None:
    begun, may_end = threading.Event(), threading.Event()

    @launcher.celery.task(track_started=True)
    def work() -> None:
        begun.set()
        may_end.wait(240)

    launcher.answers_within_s = 60.0  # a busy machine is no lost worker
    with start_worker(launcher.celery, pool="threads", perform_ping_check=False, queues=["catalog"]):
        task = work.apply_async(queue="catalog")
        assert begun.wait(240)
        assert health(launcher, task.id) is WorkerStatus.RUNNING
        launcher.answers_within_s = 2.0  # all are waited for
        launcher.celery.backend.forget(task.id)  # as by a Redis that was killed
        assert health(launcher, task.id) is WorkerStatus.RUNNING
        assert launcher.celery.AsyncResult(task.id).state == "STARTED", "and is noted again"
        assert health(launcher, "nobody's") is WorkerStatus.FAILED
        may_end.set()
        task.get(timeout=240)
        assert health(launcher, task.id) is WorkerStatus.FAILED  # a run that has ended is not asked about


def test_a_run_whose_worker_does_not_answer_or_does_not_know_it_is_lost(launcher: AskingCeleryRunLauncher) -> None:
    where = {"hostname": "gone@nowhere", "pid": 1}
    launcher.celery.backend.store_result("lost", where, "STARTED")
    assert health(launcher, "lost") is WorkerStatus.FAILED
    with start_worker(launcher.celery, pool="threads", perform_ping_check=False, queues=["catalog"]) as worker:
        launcher.celery.backend.store_result(
            "before it was started anew", {**where, "hostname": worker.hostname}, "STARTED"
        )
        assert health(launcher, "before it was started anew") is WorkerStatus.FAILED


def test_all_runs_of_a_lost_worker_are_noticed_at_once(launcher: Impatient) -> None:
    for task_id in ("one", "two", "three"):
        launcher.celery.backend.store_result(task_id, {"hostname": "gone@nowhere", "pid": 1}, "STARTED")
        assert health(launcher, task_id) is WorkerStatus.FAILED
    assert launcher.questions == [("one", "gone@nowhere")] * 2
    launcher.gone_for_s = 0.0
    assert health(launcher, "two") is WorkerStatus.FAILED
    assert len(launcher.questions) == 4, "it is asked anew in time"


def test_a_run_in_a_command_s_own_process_is_no_worker_s(launcher: Impatient) -> None:
    launcher.celery.backend.store_result("lost", {"hostname": "gone@nowhere", "pid": 1}, "STARTED")
    assert launcher.check_run_worker_health(dg.DagsterRun("job")).status is WorkerStatus.RUNNING
    assert health(launcher, "lost") is WorkerStatus.FAILED, "which is noticed beside it"


def test_a_worker_may_be_back_later_than_its_broker(launcher: Impatient) -> None:
    launcher.celery.backend.store_result("one", {"hostname": "not back@yet", "pid": 1}, "STARTED")
    launcher.has_broker = False
    with pytest.raises(ConnectionError):
        health(launcher, "one")
    launcher.has_broker = True
    assert health(launcher, "one") is health(launcher, "forgotten") is WorkerStatus.RUNNING
    launcher.comes_back_within_s = 0.0
    assert health(launcher, "one") is health(launcher, "forgotten") is WorkerStatus.FAILED


def test_what_a_run_leaves_among_temporary_files_goes_with_its_worker_s_process() -> None:
    before = tempfile.gettempdir()
    worker_process_init.send(None)
    own = Path(tempfile.gettempdir())
    (own / "run" / "compute_logs").mkdir(parents=True)
    worker_process_shutdown.send(None)
    assert own != Path(before) == Path(tempfile.gettempdir()) and not own.exists()
    worker_process_shutdown.send(None)
    assert Path(before).exists()
