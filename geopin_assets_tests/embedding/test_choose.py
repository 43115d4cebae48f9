from pathlib import Path

import pytest
import torch

from geopin_assets.embedding.choose import build_embedder, embedder_label
from geopin_assets.embedding.cosplace import CosPlaceNetwork
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Profile, Settings


def test_the_sandbox_uses_the_stand_in_and_says_so(tmp_path: Path) -> None:
    embedder = build_embedder(Settings(data_dir=tmp_path))
    assert embedder.model_id == "thumbnail-512-p1"
    assert embedder_label(embedder) == "thumbnail-512-p1: not a place-recognition model: sandbox stand-in"
    assert list(tmp_path.iterdir()) == []


def test_named_weights_are_used_in_the_sandbox_too(tmp_path: Path) -> None:
    torch.save(CosPlaceNetwork("ResNet18", 512).state_dict(), tmp_path / "w.pth")
    for profile in (Profile.SANDBOX, Profile.CLOUD):
        settings = Settings(profile=profile, data_dir=tmp_path, weights=str(tmp_path / "w.pth"), device="cpu")
        embedder = build_embedder(settings)
        assert embedder.is_place_recognition and embedder_label(embedder) == embedder.model_id
        assert embedder.model_id.startswith("cosplace-resnet18-512-")


def test_a_model_is_loaded_once_per_process_until_its_file_changes(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    settings = Settings(data_dir=tmp_path, weights=str(weights), device="cpu")
    torch.save(CosPlaceNetwork("ResNet18", 512).state_dict(), weights)
    first = build_embedder(settings)
    assert build_embedder(settings) is first
    torch.save(CosPlaceNetwork("ResNet18", 512).state_dict(), weights)
    assert build_embedder(settings).model_id != first.model_id


def test_weights_of_another_dimension_are_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    torch.save(CosPlaceNetwork("ResNet18", 32).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigurationError, match="vectors of 32 dimensions"):
        build_embedder(Settings(data_dir=tmp_path, weights=str(tmp_path / "w.pth"), device="cpu"))


@pytest.mark.parametrize("profile", Profile)
def test_named_weights_that_are_missing_are_never_replaced(tmp_path: Path, profile: Profile) -> None:
    with pytest.raises(ConfigurationError, match="GEOPIN_WEIGHTS"):
        build_embedder(Settings(profile=profile, data_dir=tmp_path, weights=str(tmp_path / "w.pth")))


@pytest.mark.parametrize("profile", [Profile.LIVE, Profile.CLOUD])
def test_outside_the_sandbox_nothing_takes_the_place_of_the_real_model(tmp_path: Path, profile: Profile) -> None:
    cached = tmp_path / "weights/ResNet50_512_cosplace.pth"
    cached.parent.mkdir()
    cached.write_bytes(b"<html>rate limit exceeded</html>")
    with pytest.raises(ConfigurationError, match="GEOPIN_WEIGHTS"):
        build_embedder(Settings(profile=profile, data_dir=tmp_path))
