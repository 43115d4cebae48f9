"""The image, built from deploy/Dockerfile by Buildah where no Docker is, and looked after as it says itself.

Where its base cannot be pulled, one of the same release of Debian, with its Python, is made from Debian's packages.
GEOPIN_TEST_IMAGE_OPTIONS: more for `buildah build`, such as volumes with a copy of a package index. Not here: what can
be read off the files (`test_deploy.py`).
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from geopin_assets_tests.scale.machines import until
from geopin_assets_tests.scale.page import CHECKOUT

pytestmark = [
    pytest.mark.skipif("GEOPIN_TEST_IMAGE" not in os.environ, reason="minutes and gigabytes: make test-image"),
    pytest.mark.timeout(3600),
]
DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"
TAG = "localhost/geopin-test"
STARTS_S = 120.0


class Buildah:
    """The program with a storage of its own; everything runs in a root of its own, without a daemon."""

    def __init__(self, folder: Path) -> None:
        self._storage = ["--root", str(folder / "images"), "--runroot", str(folder / "run")]
        self._environ = {
            **os.environ,
            "STORAGE_DRIVER": "vfs",
            "BUILDAH_ISOLATION": "chroot",
            "BUILDAH_FORMAT": "docker",
        }

    def command(self, *words: str) -> list[str]:
        return ["buildah", *self._storage, *words]

    def do(self, *words: str) -> str:
        """What it says; an error is one."""
        done = subprocess.run(self.command(*words), cwd=CHECKOUT, env=self._environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def is_well(self, container: str, *words: str) -> bool:
        """Whether a command in it ends with 0."""
        told = self.command("run", container, "--", *words)
        return not subprocess.run(told, env=self._environ, capture_output=True).returncode

    @contextmanager
    def running(self, container: str, *words: str, log: Path) -> Iterator[None]:
        """A command in it, meanwhile."""
        with (
            log.open("wb") as said,
            subprocess.Popen(
                self.command("run", container, "--", *words), env=self._environ, stdout=said, stderr=said
            ) as it,
        ):
            try:
                yield
            finally:
                it.terminate()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    if os.geteuid() or not (shutil.which("buildah") and shutil.which("debootstrap")):
        pytest.skip("root, and Debian's packages buildah and debootstrap")
    return Buildah(tmp_path_factory.mktemp("buildah"))


@pytest.fixture(scope="module")
def container(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the image, built by what the file says."""
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    try:
        buildah.do("pull", "-q", f"docker.io/library/{base}")
    except AssertionError:
        debian(buildah, base, tmp_path_factory.mktemp("base"))
    more = os.environ.get("GEOPIN_TEST_IMAGE_OPTIONS", "").split()
    buildah.do("build", "--pull=never", "--layers=false", *more, "-f", str(DOCKERFILE), "-t", TAG, ".")
    return buildah.do("from", "--pull-never", TAG)


def debian(buildah: Buildah, name: str, folder: Path) -> None:
    """What stands in for an image of Python on a release of Debian: `python:3.11-slim-bookworm`."""
    release = name.rpartition("-")[2]
    has = "--include=python3,python3-venv,ca-certificates"
    told = ["debootstrap", "--variant=minbase", has, release, str(folder / "root")]
    subprocess.run(told, check=True, capture_output=True)
    (folder / "root" / "usr" / "bin" / "python").symlink_to("python3")
    version = subprocess.run(["chroot", str(folder / "root"), "python", "-V"], capture_output=True, text=True).stdout
    assert version.startswith(f"Python {name.partition(':')[2].partition('-')[0]}."), version
    container = buildah.do("from", "scratch")
    buildah.do("copy", "-q", container, str(folder / "root"), "/")
    buildah.do("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah.do("commit", "-q", "--rm", container, f"docker.io/library/{name}")


def test_it_serves_as_a_user_of_its_own_and_says_whether_it_is_well(
    buildah: Buildah, container: str, tmp_path: Path
) -> None:
    told: dict[str, Any] = json.loads(buildah.do("inspect", "--type", "image", TAG))["Docker"]["config"]
    (kind, *check), command = told["Healthcheck"]["Test"], told["Cmd"]
    assert kind == "CMD"
    assert buildah.do("run", container, "--", "id", "-u") == "10001"
    for folder, may_write in {
        "$DAGSTER_HOME": True,
        "/opt/dagster/dagster_home": True,
        "/data": True,
        "/opt/venv": False,
    }.items():
        assert buildah.is_well(container, "sh", "-c", f"touch {folder}/a") == may_write, folder
    assert buildah.is_well(container, "geopin", "--help")
    assert not buildah.is_well(container, *check), "nothing serves yet"
    with buildah.running(container, *command, log=tmp_path / "log"):
        until(lambda: buildah.is_well(container, *check), patience_s=STARTS_S, what="the health check")
