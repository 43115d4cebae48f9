"""An S3 server on loopback, and folders of photos in its buckets or on disk.

Here: servers, clients, and putting files into folders. Not here: any assertion.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol
from uuid import uuid4

import boto3
from moto.moto_server.threaded_moto_server import MotoRequestHandler
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from geopin_assets.photo_folder import LocalFolder, PhotoFolder
from geopin_assets.photo_folder.s3 import S3Folder, connect_s3

ACCESS_KEY_ID, SECRET_ACCESS_KEY = "AKTESTKEYID", "test/secret+value"
connect = partial(
    connect_s3,
    session=boto3.Session(
        aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY, region_name="us-east-1"
    ),
)


class Place(Protocol):
    """Where a test puts photos, and the folder that reads them."""

    @property
    def folder(self) -> PhotoFolder: ...
    def put(self, name: str, data: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


@dataclass(frozen=True)
class Disk:
    path: Path

    @property
    def folder(self) -> LocalFolder:
        return LocalFolder(self.path)

    def put(self, name: str, data: bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(data)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()


@dataclass(frozen=True)
class Bucket:
    client: Any
    name: str
    prefix: str = "survey/photos"

    @property
    def address(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    @property
    def folder(self) -> S3Folder:
        return S3Folder(self.name, self.prefix, connect=lambda _: self.client)

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"{self.prefix}/{name}", Body=data)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"{self.prefix}/{name}")


def make_bucket(endpoint_url: str) -> Bucket:
    """A new bucket, empty, at a server that takes any credentials."""
    made = Bucket(connect(endpoint_url), f"bucket-{uuid4()}")
    made.client.create_bucket(Bucket=made.name)
    return made


def put_all(place: Place, folder: Path) -> None:
    """Everything that a local folder holds."""
    for path in folder.rglob("*"):
        if path.is_file():
            place.put(path.relative_to(folder).as_posix(), path.read_bytes())


@contextmanager
def moto_server() -> Iterator[str]:
    """The address of a running server; it takes any credentials.

    Requests are answered one after the other: moto looks whether a condition holds and then writes, in two steps
    between which another writer fits (`S3Response._key_response_put`), while S3 lets one of two writers win.
    """
    moto, turn = DomainDispatcherApplication(create_backend_app), Lock()

    def answer(environ: Any, start_response: Any) -> Any:
        with turn:
            return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


class Recorder:
    """A client that notes what is asked and how many bytes are taken from the bodies."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.asked: list[dict[str, Any]] = []
        self.taken = 0

    def list_objects_v2(self, **how: Any) -> Any:
        self.asked.append(how)
        return self.client.list_objects_v2(**how)

    def get_object(self, **how: Any) -> Any:
        self.asked.append(how)
        answer = self.client.get_object(**how)
        return answer | {"Body": _Counted(answer["Body"], self)}


class _Counted:
    def __init__(self, body: Any, recorder: Recorder) -> None:
        self._body, self._recorder = body, recorder

    def read(self, size: int) -> bytes:
        data = self._body.read(size)
        self._recorder.taken += len(data)
        return data

    def close(self) -> None:
        self._body.close()
