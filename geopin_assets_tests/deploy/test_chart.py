"""Dagster's own Helm chart with our values, rendered by Helm, which holds them to the chart's schemas first.

The chart is not ours to ship: GEOPIN_TEST_DAGSTER_CHART names the folder that `helm pull --untar` makes of it.
Here: what the cluster gets. Not here: what needs no chart (`test_deploy.py`).
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config, dagster_instance_config_schema
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext

from geopin_assets.defs.running.queues import QueueByAsset
from geopin_assets_tests.scale.page import CHECKOUT, documented

CHART = os.environ.get("GEOPIN_TEST_DAGSTER_CHART", "")
VALUES = CHECKOUT / "deploy" / "kubernetes" / "values.yaml"
pytestmark = [
    pytest.mark.skipif(not CHART, reason="GEOPIN_TEST_DAGSTER_CHART names no folder with Dagster's chart"),
    pytest.mark.skipif(not shutil.which("helm"), reason="helm is not there"),
]
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def objects() -> Objects:
    """What `helm install` of the page would make, by kind and name."""
    (install,) = [line for line in documented("Kubernetes") if line.startswith("helm install ")]
    told = re.sub(r" --version \S+", "", install.replace("helm install", "helm template")).split()
    told = [CHART if word == "dagster/dagster" else word for word in told]
    done = subprocess.run([*told, "--kube-version", "1.33.0"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_dagster_understands_the_instance(objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text(objects["ConfigMap", "geopin-dagster-instance"]["data"]["dagster.yaml"])
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "secret")
    found, _ = dagster_instance_config(str(tmp_path))
    assert process_config(dagster_instance_config_schema(), dict(found)).success
    for part, class_ in {"run_launcher": K8sRunLauncher, "run_coordinator": QueueByAsset}.items():
        processed = process_config(class_.config_type(), found[part]["config"])
        assert processed.success, processed.errors


def test_a_run_has_the_data_as_the_user_of_the_image(objects: Objects) -> None:
    (container,) = objects["Deployment", "geopin-dagster-user-deployments-geopin"]["spec"]["template"]["spec"][
        "containers"
    ]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    context = K8sContainerContext.create_from_config(json.loads(variables["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"]))
    pod = context.run_k8s_config.pod_spec_config
    assert pod["security_context"] == {"fs_group": 10001, "run_as_non_root": True, "run_as_user": 10001}
    run = context.run_k8s_config.container_config
    assert run["resources"]["limits"]["memory"] == "8Gi"
    assert [mount["mount_path"] for mount in run["volume_mounts"]] == ["/data"]
    assert ("PersistentVolumeClaim", pod["volumes"][0]["persistent_volume_claim"]["claim_name"]) in objects
    assert variables["DAGSTER_CURRENT_IMAGE"].startswith("registry.example.internal/geopin:")


def test_nothing_of_ours_listens_where_only_root_may(objects: Objects) -> None:
    pods = [one["spec"]["template"]["spec"] for (kind, _), one in objects.items() if kind == "Deployment"]
    ports = [port["containerPort"] for pod in pods for one in pod["containers"] for port in one.get("ports", ())]
    assert ports and min(ports) >= 1024
