"""Where an installation keeps what its processes share: a file, or a Postgres; tests of either get each in turn."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from geopin_assets.files.losable import Place
from geopin_assets.files.postgres import shared_database
from geopin_assets_tests.scale.servers import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture
def postgres_place(postgres_server: str) -> Iterator[str]:
    """The address of a database that is empty."""
    import psycopg2

    name = f"test_{uuid4().hex}"
    with closing(psycopg2.connect(postgres_server.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"create database {name}")
    address = f"{postgres_server.rpartition('/')[0]}/{name}"
    yield address
    shared_database(address).close()


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Small tables, or leases, of all who share it."""
    return tmp_path / "shared" if request.param == "file" else str(request.getfixturevalue("postgres_place"))


def place_of(text: str) -> Place:
    """A place as another process is told it."""
    return text if "://" in text else Path(text)
