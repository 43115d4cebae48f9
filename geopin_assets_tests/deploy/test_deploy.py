"""What `deploy/` ships is understood by what reads it: Dagster's own schemas, Amazon's and Kubernetes'."""

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import dagster as dg
import pytest
import yaml
from botocore.validate import ParamValidator
from dagster._config import process_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.config import dagster_instance_config
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.s3 import S3ComputeLogManager
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient
from moto import mock_aws

from geopin_assets.defs.graph import QUEUES
from geopin_assets.defs.postgres_history import OpenPostgresStorage
from geopin_assets.defs.running.celery_runs import AskingCeleryRunLauncher
from geopin_assets.defs.running.queues import QUEUE_TAG, QueueByAsset
from geopin_assets.variables import VARIABLES
from geopin_assets_tests.scale.page import called

DEPLOY = Path(__file__).parents[2] / "deploy"
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
RUN: dict[str, Any] = json.loads((DEPLOY / "ecs" / "run.json").read_text())
WORKER_DATA = "/data/gpu"
"""No catalog and no ledger are there: of those whoever embeds needs none, and databases have one machine at a time."""
CLASSES = {
    "AskingCeleryRunLauncher": AskingCeleryRunLauncher,
    "EcsRunLauncher": EcsRunLauncher,
    "OpenPostgresStorage": OpenPostgresStorage,
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
    found["storage"] = found["storage"]["custom"]
    for part in ("run_launcher", "run_coordinator", "compute_logs", "storage"):
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
    for operation, told in {
        "RegisterTaskDefinition": RUN,
        "RunTask": {
            "taskDefinition": RUN["family"],
            **json.loads(tags["ecs/run_task_kwargs"]),
        },
    }.items():
        report = ParamValidator().validate(told, service.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    (container,) = RUN["containerDefinitions"]
    assert container["name"] == "run"
    assert_variables_exist({one["name"] for one in container["environment"] + container["secrets"]})


class Asked(EcsRunLauncher[Any]):
    """Says what Amazon would be asked for."""

    asked: dict[str, Any]

    def _run_task(self, **told: Any) -> dict[str, str]:
        self.asked = told
        return {"taskArn": "task", "clusterArn": "cluster"}


def test_amazon_is_asked_for_a_gpu_by_dagster_s_own_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(name, value)
    found = instance_of("ecs", monkeypatch)
    tags = found["run_coordinator"]["config"]["tags"]["gpu"]
    code = RepositoryPythonOrigin("python", ModuleCodePointer("geopin_assets.definitions", "defs"))
    run = dg.DagsterRun("job", tags=tags, job_code_origin=JobPythonOrigin("job", code))
    told = found["run_launcher"]["config"] | {"use_current_ecs_task_config": False}  # this is no task
    with mock_aws(), dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        boto3.client("ecs").register_task_definition(**RUN)
        launcher = Asked(**told | {"task_definition": RUN["family"]})
        launcher.register_instance(instance)
        instance.add_run(run)
        workspace: Any = None
        launcher.launch_run(LaunchRunContext(run, workspace))
    (container,) = launcher.asked["overrides"]["containerOverrides"]
    assert container["name"] == "run" and "execute_run" in container["command"]
    assert container["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert container["environment"] == [{"name": "GEOPIN_DATA", "value": WORKER_DATA}]
    assert launcher.asked["capacityProviderStrategy"] == [{"capacityProvider": "gpu", "weight": 1}]
    service = botocore.session.get_session().get_service_model("ecs")
    report = ParamValidator().validate(launcher.asked, service.operation_model("RunTask").input_shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not there")
def test_amazon_takes_what_the_page_says(tmp_path: Path) -> None:
    service = botocore.session.get_session().get_service_model("ecs")
    tasks, services = {}, {}
    image = RUN["containerDefinitions"][0]["image"]
    built, pushed, *calls = called("Amazon's ECS", ["docker", "aws"], tmp_path)
    assert [built, pushed] == [
        ["docker", "build", "-f", "deploy/Dockerfile", "-t", image, "."],
        ["docker", "push", image],
    ]
    for program, *words in calls:
        assert program == "aws"
        assert words.pop(0) == "ecs"
        operation = service.operation_model(operation_of(words.pop(0)))
        told = as_told(words)
        report = ParamValidator().validate(told, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        if operation.name == "RegisterTaskDefinition":
            tasks[told["family"]] = told
        else:
            services[told["taskDefinition"]] = told
    assert tasks.pop("geopin-run") == RUN
    assert tasks.keys() == services.keys() == {"geopin-daemon", "geopin-webserver"}
    for family, task in tasks.items():
        (container,) = task["containerDefinitions"]
        assert container.pop("command")[0] == f"dagster-{family.removeprefix('geopin-')}"
        assert {**task, "family": "geopin-run"} == RUN, "apart from its command it is what every run is"


def operation_of(command: str) -> str:
    """`create-service` is CreateService."""
    return "".join(map(str.capitalize, command.split("-")))


def as_told(words: list[str]) -> dict[str, Any]:
    """Amazon's command line as what it sends: `--desired-count 1` is desiredCount."""
    told: dict[str, Any] = {}
    for name, text in zip(words[::2], words[1::2], strict=True):
        first, *rest = name.removeprefix("--").split("-")
        if text.startswith("file://"):
            text = (DEPLOY.parent / text.removeprefix("file://")).read_text()
        value = json.loads(text) if text.startswith("{") or text.isdigit() else text
        if name == "--cli-input-json":
            told |= value
        else:
            told[first + "".join(map(str.capitalize, rest))] = value
    return told


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
        resources=deployment["resources"],
        env_vars=[f"{name}={value}" for name, value in deployment["env"].items()],
    )
    assert "resources" not in VALUES["runLauncher"]["config"]["k8sRunLauncher"], "the deployment's come before them"
    job = construct_dagster_k8s_job(config, ["dagster", "api", "execute_run"], "run", user_defined_k8s_config=own)
    pod = ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["env"][-1] == {"name": "GEOPIN_DATA", "value": WORKER_DATA}, "the last of a name is what counts"
    assert deployment["env"]["GEOPIN_DATA"] != WORKER_DATA
    assert pod["nodeSelector"] == {"geopin/gpu": "yes"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert_variables_exist(deployment["env"])


def test_kubernetes_gets_what_the_page_says(tmp_path: Path) -> None:
    """Each command; the names in one are those that the others, and the values, mean."""
    built, pushed, secret, password, repository, install = called("Kubernetes", ["docker", "kubectl", "helm"], tmp_path)
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    images = [deployment["image"], VALUES["dagsterDaemon"]["image"], VALUES["dagsterWebserver"]["image"]]
    (image,) = {f"{one['repository']}:{one['tag']}" for one in images}
    assert [built, pushed] == [
        ["docker", "build", "-f", "deploy/Dockerfile", "-t", image, "."],
        ["docker", "push", image],
    ]
    create = ["kubectl", "create", "secret", "generic"]
    assert secret == [*create, *(one["name"] for one in deployment["envSecrets"]), "--from-env-file=geopin.env"]
    name = VALUES["global"]["postgresqlSecretName"]
    assert password == [*create, name, "--from-literal=postgresql-password=PASSWORD"]
    assert repository == ["helm", "repo", "add", "dagster", "CHARTS"]
    values = str((DEPLOY / "kubernetes" / "values.yaml").relative_to(DEPLOY.parent))
    chart = ["dagster/dagster", "--version", version("dagster"), "-f", values]
    assert install == ["helm", "install", "geopin", *chart]


def test_limits_count_by_the_tag_that_runs_get() -> None:
    config = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]["config"]
    assert {limit["key"] for limit in config["tag_concurrency_limits"]} == {QUEUE_TAG}
    assert {limit["value"] for limit in config["tag_concurrency_limits"]} == set(QUEUES)


def test_databases_on_a_disk_of_several_machines_have_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for told in (
        instance_of("ecs", monkeypatch)["run_coordinator"],
        VALUES["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"],
    ):
        assert told["config"]["tags"]["publish"] == {QUEUE_TAG: "catalog"}, "of which there is one run at a time"


def test_an_instance_does_the_same_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    celery, ecs = instance_of("celery", monkeypatch), instance_of("ecs", monkeypatch)
    parts = ("run_monitoring", "run_retries", "backfills", "sensors", "retention", "freshness", "concurrency")
    assert {part: ecs[part] for part in parts} == {part: celery[part] for part in parts}
    daemon, more = VALUES["dagsterDaemon"], VALUES["additionalInstanceConfig"]
    queues = daemon["runCoordinator"]["config"]["customRunCoordinator"]["config"]
    limits = {name: queues[name] for name in ("max_concurrent_runs", "tag_concurrency_limits")}
    said = {in_snakes(name): daemon[name] for name in ("runMonitoring", "runRetries", "backfills", "sensors")}
    said = {part: {in_snakes(name): value for name, value in told.items()} for part, told in said.items()}
    assert {**said, **more, "concurrency": {**more["concurrency"], "runs": limits}} == {
        part: celery[part] for part in parts
    }


def in_snakes(name: str) -> str:
    """`runRetries` is run_retries: the chart's names are Dagster's own."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def test_the_image_belongs_to_nobody_but_its_user_and_is_looked_after() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    lines = text.splitlines()
    user = next(number for number, line in enumerate(lines) if line == "USER geopin")
    assert user > max(number for number, line in enumerate(lines) if line.startswith("RUN"))
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert dg.__version__ in (DEPLOY / "kubernetes" / "values.yaml").read_text(), "the chart's version is Dagster's"
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert f"--uid {deployment['podSecurityContext']['fsGroup']} " in text
    assert "chown -R geopin /opt/geopin /opt/dagster /data" in text, "DAGSTER_HOME, wherever it is, and the data"
    assert VALUES["dagsterWebserver"]["service"]["port"] >= 1024 and deployment["port"] >= 1024


def assert_variables_exist(names: Any) -> None:
    ours = {name for name in names if name.startswith("GEOPIN_")}
    assert ours <= set(VARIABLES) | {"GEOPIN_STORE"}, ours - set(VARIABLES)
