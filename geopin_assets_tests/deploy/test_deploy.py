"""What `deploy/` ships is understood by what reads it: Dagster's own schemas, Amazon's and Kubernetes'."""

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import dagster as dg
import pytest
import yaml
from botocore.validate import ParamValidator
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.s3 import S3ComputeLogManager
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from geopin_assets.defs.graph import QUEUES
from geopin_assets.defs.running.celery_runs import AskingCeleryRunLauncher
from geopin_assets.defs.running.queues import QUEUE_TAG, QueueByAsset
from geopin_assets.variables import VARIABLES

DEPLOY = Path(__file__).parents[2] / "deploy"
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
RUN: dict[str, Any] = json.loads((DEPLOY / "ecs" / "run.json").read_text())
CLASSES = {
    "AskingCeleryRunLauncher": AskingCeleryRunLauncher,
    "EcsRunLauncher": EcsRunLauncher,
    "QueueByAsset": QueueByAsset,
    "S3ComputeLogManager": S3ComputeLogManager,
}


def instance_of(kind: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A dagster.yaml as Dagster reads it, every variable of the environment that it names being set."""
    text = (DEPLOY / kind / "dagster.yaml").read_text()
    for name in re.findall(r"\{env: (\w+)\}", text):
        monkeypatch.setenv(name, f"redis://{name}" if "CELERY" in name else name)
    found, _ = dagster_instance_config(str(DEPLOY / kind))
    return dict(found)


@pytest.mark.parametrize("kind", ["celery", "ecs"])
def test_dagster_understands_every_part_of_the_instance(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = instance_of(kind, monkeypatch)
    for part in ("run_launcher", "run_coordinator", "compute_logs"):
        class_: Any = CLASSES[found[part]["class"]]
        processed = process_config(class_.config_type(), found[part].get("config") or {})
        assert processed.success, processed.errors
    assert found["run_monitoring"]["max_resume_run_attempts"] == 0
    assert found["run_retries"]["retry_on_asset_or_op_failure"] is False
    limits = {limit["value"]: limit["limit"] for limit in found["concurrency"]["runs"]["tag_concurrency_limits"]}
    assert limits.keys() == set(QUEUES)
    assert limits["catalog"] == limits["publish"] == 1


def test_a_worker_takes_one_run_at_a_time_and_no_run_is_sent_to_a_queue_that_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = instance_of("celery", monkeypatch)["run_launcher"]["config"]
    launcher = AskingCeleryRunLauncher("catalog", broker="memory://", config_source=told["config_source"])
    conf = launcher.celery.conf
    assert (conf.worker_prefetch_multiplier, conf.worker_disable_prefetch, conf.task_acks_late) == (1, True, False)
    assert launcher.supports_check_run_worker_health


def test_amazon_takes_the_task_and_what_runs_of_a_queue_change_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    service = botocore.session.get_session().get_service_model("ecs")
    tags = instance_of("ecs", monkeypatch)["run_coordinator"]["config"]["tags"]["gpu"]
    overrides = json.loads(tags["ecs/container_overrides"])
    for operation, told in {
        "RegisterTaskDefinition": RUN,
        "RunTask": {
            "taskDefinition": RUN["family"],
            "overrides": {"containerOverrides": overrides, "cpu": tags["ecs/cpu"], "memory": tags["ecs/memory"]},
            **json.loads(tags["ecs/run_task_kwargs"]),
        },
    }.items():
        report = ParamValidator().validate(told, service.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    (container,) = RUN["containerDefinitions"]
    assert overrides[0]["name"] == container["name"] == "run"
    assert overrides[0]["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert_variables_exist({one["name"] for one in container["environment"] + container["secrets"]})


def test_kubernetes_gets_a_job_on_a_node_with_a_gpu_for_runs_that_need_one() -> None:
    coordinator = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    processed = process_config(QueueByAsset.config_type(), coordinator["config"])
    assert processed.success, processed.errors
    own = UserDefinedDagsterK8sConfig.from_dict(json.loads(coordinator["config"]["tags"]["gpu"]["dagster-k8s/config"]))
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    config = DagsterK8sJobConfig(
        job_image=f"{deployment['image']['repository']}:{deployment['image']['tag']}",
        dagster_home="/opt/dagster/dagster_home",
        instance_config_map="instance",
        volumes=deployment["volumes"],
        volume_mounts=deployment["volumeMounts"],
    )
    job = construct_dagster_k8s_job(config, ["dagster", "api", "execute_run"], "run", user_defined_k8s_config=own)
    pod = ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] == {"geopin/gpu": "yes"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert_variables_exist(deployment["env"])


def test_limits_count_by_the_tag_that_runs_get() -> None:
    config = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]["config"]
    assert {limit["key"] for limit in config["tag_concurrency_limits"]} == {QUEUE_TAG}
    assert {limit["value"] for limit in config["tag_concurrency_limits"]} == set(QUEUES)


def test_the_image_belongs_to_nobody_but_its_user_and_is_looked_after() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    user = next(number for number, line in enumerate(lines) if line == "USER geopin")
    assert user > max(number for number, line in enumerate(lines) if line.startswith("RUN"))
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert dg.__version__ in (DEPLOY / "kubernetes" / "values.yaml").read_text(), "the chart's version is Dagster's"


def assert_variables_exist(names: Any) -> None:
    ours = {name for name in names if name.startswith("GEOPIN_")}
    assert ours <= set(VARIABLES) | {"GEOPIN_STORE"}, ours - set(VARIABLES)
