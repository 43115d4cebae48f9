"""What a worker of Celery runs: the app that the instance's launcher sends runs to.

    celery -A geopin_assets.defs.running.celery_worker worker --queues gpu --concurrency 1

So broker, results and prefetch are those of dagster.yaml, for whoever sends and whoever takes. Importing this opens
the instance of DAGSTER_HOME; nothing else imports it.
"""

import dagster as dg
from dagster_celery.tasks import create_execute_job_task

from geopin_assets.defs.running.celery_runs import AskingCeleryRunLauncher
from geopin_assets.errors import ConfigurationError

with dg.DagsterInstance.get() as _instance:
    _launcher = _instance.run_launcher
    if not isinstance(_launcher, AskingCeleryRunLauncher):
        raise ConfigurationError("the dagster.yaml of DAGSTER_HOME names no Celery launcher: see deploy/celery")
    app = _launcher.celery
    create_execute_job_task(app)
