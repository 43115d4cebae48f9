"""`geopin whiten` over captures whose images a real server has: fitted once, and the model from then on."""

from pathlib import Path

import numpy as np
import pytest

from geopin_assets.cells import cell
from geopin_assets.cli.whiten import whiten_and_report
from geopin_assets.embedding.model.choosing import build_embedder, identify_model
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.embedding.image_server import body, image_server
from geopin_assets_tests.embedding.model.test_choosing import save
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.platform import CELLS, Installation
from geopin_assets_tests.ports import free_port


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    given = {
        **{"GEOPIN_DATA": str(tmp_path / "data"), "GEOPIN_PROFILE": "sandbox", "GEOPIN_DEVICE": "cpu"},
        "GEOPIN_SANDBOX_PORT": str(free_port()),
        **{"GEOPIN_MODEL": "cosplace/ResNet18/64/16", "GEOPIN_WEIGHTS": save(tmp_path / "w.pth", dim=64)},
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Settings.from_env()


def test_an_empty_catalog_is_not_enough(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="not enough to fit to"):
        whiten_and_report(settings, 64)


def test_a_model_that_asks_for_none_says_so(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="nothing to whiten"):
        whiten_and_report(settings.model_copy(update={"model": "cosplace/ResNet18/64"}), 64)


@pytest.mark.skipif(not IS_LONG, reason="40 images through a network")
def test_it_is_fitted_to_captures_of_the_catalog_and_used_from_then_on(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})
    box = cell(CELLS[0]).bbox
    with image_server() as server:
        names = [f"i{n}" for n in range(40)]
        server.routes = {f"/{name}.jpg": body(encoded(smooth(320, 240, n))) for n, name in enumerate(names)}
        found = [
            capture(name, lon=(box.west + box.east) / 2, lat=box.south + 0.001, image_url=server.url(f"/{name}.jpg"))
            for name in names
        ]
        crawl(place.storage.raw(), CELLS[0], found)
        place.storage.catalog().merge([CELLS[0]], place.storage.raw())
        whiten_and_report(settings, 64)
    assert "of 64 dimensions 16 hold" in capsys.readouterr().out
    assert identify_model(settings).dim == 16
    vectors = build_embedder(settings).embed([smooth(96, 64)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
