"""Object stores of every kind for tests that hold over all of them: a folder, memory, and an S3 server on loopback.

Fixtures, known to every test through `conftest.py`. The server is imported by the first test that asks for it; it is
another one, a real one, where GEOPIN_TEST_S3_ENDPOINT_URL and credentials are set (see `real/test_own_photos_s3.py`).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from geopin_assets.files.object_store import ObjectStore, memory_store, open_store
from geopin_assets_tests.depth import some

REAL_URL = os.environ.get("GEOPIN_TEST_S3_ENDPOINT_URL", "")
CREDENTIALS = (
    {name: os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    if REAL_URL
    else {"AWS_ACCESS_KEY_ID": "AKTESTKEYID", "AWS_SECRET_ACCESS_KEY": "test/secret+value"}
)
KINDS = ["folder", "s3", "memory"]
only_a_folder = pytest.mark.parametrize("object_store", some(KINDS), indirect=True)
"""For cases without number of what a store of any kind does alike: a request to the server takes 6 ms of CPU."""


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    from geopin_assets_tests.bucket import moto_server

    if REAL_URL:
        yield REAL_URL
        return
    with moto_server() as address:
        yield address


@pytest.fixture
def s3_bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket at the server, whose credentials are in the environment."""
    import boto3

    for name, value in ({"AWS_DEFAULT_REGION": "us-east-1"} | CREDENTIALS).items():
        monkeypatch.setenv(name, value)
    name, client = f"bucket-{uuid4()}", boto3.client("s3", endpoint_url=s3_address)
    client.create_bucket(Bucket=name)
    yield name
    if REAL_URL:  # the other one ends with its contents
        while found := client.list_objects_v2(Bucket=name).get("Contents"):
            client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": one["Key"]} for one in found]})
        client.delete_bucket(Bucket=name)


@pytest.fixture(params=some(KINDS, 2))
def object_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(tmp_path / "store")
    if request.param == "memory":
        return memory_store()
    address, bucket = request.getfixturevalue("s3_address"), request.getfixturevalue("s3_bucket")
    return open_store(f"s3://{bucket}/some/where", endpoint_url=address)
