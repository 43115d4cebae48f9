from collections.abc import Iterator

import pytest

from geopin_assets_tests.embedding.image_server import ImageServer, image_server


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running
