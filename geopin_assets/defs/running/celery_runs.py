"""Dagster's Celery launcher, which also notices that a machine is lost.

Celery goes on saying STARTED of a task whose worker was killed, and Dagster believes it: only the time limit of two
hours ended such a run. Here the worker itself is asked, every time Dagster looks after its runs. A run that is lost is
failed, and repeated elsewhere as `run_retries` says. Not here: queues (`queues.py`), the app of workers
(`celery_worker.py`).
"""

import tempfile
import time
from math import inf
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from celery.signals import worker_process_init, worker_process_shutdown

# what Dagster's monitoring asks a launcher for, and takes for an answer
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG


class AskingCeleryRunLauncher(CeleryRunLauncher):
    """A run is healthy if the worker that took it says that it is at it."""

    asked, answers_within_s = 3, 5.0
    """A worker that lives answers in a hundredth of a second, whatever its runs do: they are processes of their own."""
    comes_back_within_s = 60.0
    """A worker whose broker was gone: it tries to reach it ever more seldom, at last twice a minute."""
    gone_for_s = 30.0
    """What did not answer is not asked again for each of its runs: all are to be noticed within a minute."""
    _no_broker_s = -inf
    """When the broker was last found to be gone."""

    def __init__(self, *given: Any, **told: Any) -> None:
        super().__init__(*given, **told)
        self._silent_s = dict[str, float]()

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:  # it is in a command's own process: see `under_way.py`
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            return self._health(run)
        except Exception:  # Celery's, the broker's, or of where it keeps results: Dagster asks again
            self._no_broker_s = time.monotonic()
            raise

    def _health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        told, task_id = super().check_run_worker_health(run), run.tags[DAGSTER_CELERY_TASK_ID_TAG]
        if told.status is WorkerStatus.SUCCESS:
            return CheckRunHealthResult(WorkerStatus.FAILED, "the worker is done with this run, which has not ended")
        is_forgotten = told.status is WorkerStatus.UNKNOWN and self.celery.AsyncResult(task_id).state == "PENDING"
        if told.status is not WorkerStatus.RUNNING and not is_forgotten:
            return told
        if self._is_found(task_id) if is_forgotten else self._is_at_work(task_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if time.monotonic() - self._no_broker_s < self.comes_back_within_s:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the broker was gone, and the worker is not back yet")
        return CheckRunHealthResult(WorkerStatus.FAILED, "the worker of this run is gone: killed, or its host lost")

    def _is_at_work(self, task_id: str) -> bool:
        task = self.celery.AsyncResult(task_id)
        for _ in range(self.asked):
            told = task.info  # of a task that has begun: where; it may have ended meanwhile, which is asked next time
            if task.state != "STARTED":
                return True
            worker = told["hostname"]
            if time.monotonic() - self._silent_s.get(worker, -inf) < self.gone_for_s:
                return False
            answer = self._answer(task_id, worker)
            if answer is not None:
                return task_id in answer[worker] or task.state != "STARTED"
        self._silent_s[worker] = time.monotonic()
        return False

    def _is_found(self, task_id: str) -> bool:
        """Of a task of which the results say nothing, as after those were lost: whether anybody is at it."""
        for _ in range(self.asked):
            for worker, tasks in (self._answer(task_id) or {}).items():
                if task_id in tasks:
                    _, about = tasks[task_id]
                    where = {"hostname": worker, "pid": about["worker_pid"]}
                    self.celery.backend.store_result(task_id, where, "STARTED")
                    return True
        return False

    def _answer(self, task_id: str, worker: str | None = None) -> Any:
        """What a worker, or each of them, says of a task; None if nobody answers."""
        asked, most = ([worker], 1) if worker else (None, None)
        inspect = self.celery.control.inspect(asked, timeout=self.answers_within_s, limit=most)
        return inspect.query_task(task_id)


class OwnFolder:
    """Temporary files of a worker's process, which does one run: Dagster leaves a copy of all that the run printed.

    Logs are in the bucket by then, and no other machine could remove what is here.
    """

    folder: TemporaryDirectory[str] | None = None

    def begin(self, **_: object) -> None:
        self.folder = TemporaryDirectory(prefix="geopin-run-")
        tempfile.tempdir = self.folder.name

    def end(self, **_: object) -> None:
        if self.folder:
            tempfile.tempdir = None
            self.folder.cleanup()
            self.folder = None


_own_folder = OwnFolder()
worker_process_init.connect(_own_folder.begin)
worker_process_shutdown.connect(_own_folder.end)
