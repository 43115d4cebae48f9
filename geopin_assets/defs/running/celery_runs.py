"""Dagster's Celery launcher, which also notices that a machine is lost.

Celery goes on saying STARTED of a task whose worker was killed, and Dagster believes it: only the time limit of two
hours ended such a run. Here the worker itself is asked, every time Dagster looks after its runs. A run that is lost is
failed, and repeated elsewhere as `run_retries` says. Not here: queues (`queues.py`), the app of workers
(`celery_worker.py`).
"""

import tempfile
from tempfile import TemporaryDirectory

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

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        told = super().check_run_worker_health(run)
        if told.status is WorkerStatus.SUCCESS:
            return CheckRunHealthResult(WorkerStatus.FAILED, "the worker is done with this run, which has not ended")
        if told.status is WorkerStatus.RUNNING and not self._is_at_work(run.tags[DAGSTER_CELERY_TASK_ID_TAG]):
            return CheckRunHealthResult(WorkerStatus.FAILED, "the worker of this run is gone: killed, or its host lost")
        return told

    def _is_at_work(self, task_id: str) -> bool:
        task = self.celery.AsyncResult(task_id)
        for _ in range(self.asked):
            told = task.info  # of a task that has begun: where; it may have ended meanwhile, which is asked next time
            if task.state != "STARTED":
                return True
            worker = told["hostname"]
            inspect = self.celery.control.inspect([worker], timeout=self.answers_within_s, limit=1)
            answer = inspect.query_task(task_id)
            if answer is not None:
                return task_id in answer[worker] or task.state != "STARTED"
        return False


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
