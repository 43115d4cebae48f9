"""The servers that machines share, and what is told to all of them."""

from collections.abc import Iterator

import pytest

from geopin_assets.sandbox.server import running
from geopin_assets.settings import Settings
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.scale import servers


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with running(Settings(data_dir=tmp_path_factory.mktemp("sandbox"), sandbox_port=port)):
        yield port


@pytest.fixture(scope="session")
def variables(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    photos = tmp_path_factory.mktemp("photos")
    with servers.postgres() as database, servers.redis() as broker, servers.s3() as objects:
        yield {
            **servers.KEYS,
            "DAGSTER_POSTGRES_URL": database,
            "DAGSTER_CELERY_BROKER_URL": f"{broker}/0",
            "DAGSTER_CELERY_RESULTS_URL": f"{broker}/1",
            "DAGSTER_LOGS_BUCKET": "geopin",
            "GEOPIN_S3_ENDPOINT_URL": objects,
            "GEOPIN_POSTGRES_URL": database,
            "GEOPIN_PROFILE": "sandbox",
            "GEOPIN_SANDBOX_PORT": str(port),
            "GEOPIN_STORE": "s3://geopin/reference",
            "GEOPIN_OWN_PHOTOS_DIR": str(photos),
            "GEOPIN_OWN_PHOTOS_LICENSE": "CC0-1.0",
            "GEOPIN_OWN_PHOTOS_ATTRIBUTION": "Survey",
        }
