from collections.abc import Iterator

import pytest

from geopin_assets_tests.embedding.image_server import ImageServer, image_server
from geopin_assets_tests.embedding.kept_decoders import KeptDecoders


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running


@pytest.fixture(scope="session")
def decoders() -> Iterator[KeptDecoders]:
    kept = KeptDecoders()
    yield kept
    kept.close()
