"""Which model the settings ask for, by its identity (without torch) and loaded, and which device a process takes.

Nothing replaces the real model. Devices are shown with real processes: locks are the kernel's, and gone when it kills.
"""

import hashlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from geopin_assets.embedding.model.choosing import (
    available_devices,
    build_embedder,
    choose_device,
    embedding_code_version,
    identify_model,
)
from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Profile, Settings
from geopin_assets_tests.embedding.pictures import smooth

SMALL = "cosplace/ResNet18/512"


def save(path: Path, backbone: str = "ResNet18", dim: int = 512) -> str:
    """A checkpoint with random weights; returns its path."""
    path.parent.mkdir(exist_ok=True)
    torch.save(CosPlaceNetwork(backbone, dim).state_dict(), path)
    return str(path)


def test_the_sandbox_uses_the_stand_in_and_says_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert identify_model(settings) == Model("thumbnail-512-p2", 512, is_place_recognition=False, side_px=64)
    embedder = build_embedder(settings)
    assert embedder.model == identify_model(settings)
    assert identify_model(settings).label == "thumbnail-512-p2: not a place-recognition model: sandbox stand-in"
    assert list(tmp_path.iterdir()) == []


def test_what_decides_vectors_is_known_without_weights_and_without_torch() -> None:
    """Definitions load where no weights are, and also where a model is named that nobody published."""
    assert embedding_code_version(Settings()) == "thumbnail-512-p2"
    assert embedding_code_version(Settings(profile=Profile.LIVE)) == "cosplace/ResNet50/512-p2"
    assert embedding_code_version(Settings(model="cosplace/VGG16/64", weights="nowhere.pth")) == "cosplace/VGG16/64-p2"
    assert embedding_code_version(Settings(profile=Profile.LIVE, model="mine")) == "mine-p2"


@pytest.mark.parametrize("profile", [Profile.SANDBOX, Profile.CLOUD])
def test_named_weights_are_used_in_every_profile(profile: Profile, tmp_path: Path) -> None:
    settings = Settings(profile=profile, data_dir=tmp_path, model=SMALL, weights=save(tmp_path / "w.pth"))
    embedder = build_embedder(settings)
    sha256 = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert embedder.model.is_place_recognition and identify_model(settings).label == embedder.model.model_id
    assert embedder.model.model_id == f"cosplace-resnet18-512-{sha256[:8]}-p2"


@pytest.mark.parametrize(("method", "dim"), [("cosplace", 32), ("cosplace", 256), ("eigenplaces", 256)])
def test_a_model_is_what_it_was_identified_as(method: str, dim: int, tmp_path: Path) -> None:
    """Every published size is taken, and a cached checkpoint needs no network."""
    save(tmp_path / f"weights/ResNet18_{dim}_{method}.pth", dim=dim)
    settings = Settings(profile=Profile.LIVE, data_dir=tmp_path, model=f"{method}/ResNet18/{dim}", device="cpu")
    model, embedder = identify_model(settings), build_embedder(settings)
    assert model == embedder.model and model.dim == dim and model.is_place_recognition
    assert model.model_id.startswith(f"{method}-resnet18-{dim}-")
    assert embedder.embed([smooth(64, 48)]).shape == (1, dim)


def test_identifying_a_model_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from geopin_assets.settings import Settings; "
        "from geopin_assets.embedding.model.choosing import *; "
        "settings = Settings.from_env(); embedding_code_version(settings); "
        "print(identify_model(settings).model_id, 'torch' in sys.modules)"
    )
    env = os.environ | {"GEOPIN_DATA": str(tmp_path), "GEOPIN_WEIGHTS": save(tmp_path / "w.pth"), "GEOPIN_MODEL": SMALL}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    settings = Settings(data_dir=tmp_path, model=SMALL, weights=str(tmp_path / "w.pth"))
    assert said.split() == [build_embedder(settings).model.model_id, "False"]


def test_a_model_is_loaded_once_per_process_until_its_file_changes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model=SMALL, weights=save(tmp_path / "w.pth"), device="cpu")
    first = build_embedder(settings)
    assert build_embedder(settings) is first and identify_model(settings) == first.model
    save(tmp_path / "w.pth")
    assert identify_model(settings).model_id == build_embedder(settings).model.model_id != first.model.model_id


def test_a_model_may_be_loaded_in_one_thread_and_used_in_another(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model=SMALL, weights=save(tmp_path / "w.pth"), device="cpu")
    embedder, images, there = build_embedder(settings), [smooth(64, 48)], []
    thread = threading.Thread(target=lambda: there.append(embedder.embed(images)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(there[0], embedder.embed(images))


def test_weights_of_another_architecture_are_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, weights=save(tmp_path / "w.pth", dim=32), device="cpu")
    with pytest.raises(
        ConfigurationError, match=r"holds ResNet18 with 32 dimensions.*GEOPIN_MODEL=cosplace/ResNet18/32"
    ):
        build_embedder(settings)


@pytest.mark.parametrize("use", [identify_model, build_embedder])
@pytest.mark.parametrize("profile", Profile)
def test_a_model_that_is_not_published_is_refused(use, profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="GEOPIN_MODEL='netvlad'"):
        use(Settings(profile=profile, data_dir=tmp_path, model="netvlad"))


@pytest.mark.parametrize("use", [identify_model, build_embedder])
@pytest.mark.parametrize("profile", Profile)
def test_a_model_whose_vectors_no_index_takes_is_refused_before_it_is_fetched(use, profile, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"GEOPIN_MODEL=cosplace/ResNet50/2048.* 2,048 .* 1,536"):
        use(Settings(profile=profile, data_dir=tmp_path, model="cosplace/ResNet50/2048"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", [identify_model, build_embedder])
@pytest.mark.parametrize("profile", Profile)
def test_named_weights_that_are_missing_are_never_replaced(use, profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="GEOPIN_WEIGHTS"):
        use(Settings(profile=profile, data_dir=tmp_path, weights=str(tmp_path / "w.pth")))


@pytest.mark.parametrize("profile", [Profile.LIVE, Profile.CLOUD])
def test_outside_the_sandbox_nothing_takes_the_place_of_the_real_model(tmp_path: Path, profile: Profile) -> None:
    cached = tmp_path / "weights/ResNet50_512_cosplace.pth"
    cached.parent.mkdir()
    cached.write_bytes(b"<html>rate limit exceeded</html>")
    with pytest.raises(ConfigurationError, match="GEOPIN_WEIGHTS"):
        build_embedder(Settings(profile=profile, data_dir=tmp_path))


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model=SMALL, weights=save(tmp_path / "w.pth"), device="cuda:99")
    with pytest.raises(ConfigurationError, match=r"GEOPIN_DEVICE=cuda:99: no cuda:99 here; there is .*cpu"):
        build_embedder(settings)


MACHINE = ["cuda", "cuda:0", "cuda:1", "cpu"]
CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from geopin_assets.embedding.model.choosing import choose_device
print(choose_device(",".join(sys.argv[2:]), sys.argv[2:], Path(sys.argv[1])), flush=True)
print("torch" in sys.modules, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path, *names: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that claims one of these devices and holds it; yields which, and the process."""
    command = [sys.executable, "-c", CLAIM_AND_WAIT, str(folder), *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip(), process
        process.kill()


def test_without_a_device_the_best_one_is_taken(tmp_path: Path) -> None:
    assert choose_device("", MACHINE, tmp_path) == "cuda"
    assert choose_device("", ["mps", "cpu"], tmp_path) == "mps"
    assert choose_device("cuda:1", MACHINE, tmp_path) == "cuda:1"
    assert choose_device(" cpu ,", MACHINE, tmp_path) == "cpu"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stated", ["cuda:2", "cuda:0,cuda:7", "gpu", "meta", "CPU"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(stated: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"GEOPIN_DEVICE={stated}: no .* there is cuda, cuda:0, cuda:1, cpu"):
        choose_device(stated, MACHINE, tmp_path)


def test_this_machine_has_a_processor_at_least() -> None:
    assert available_devices()[-1] == "cpu"


def test_each_process_takes_a_device_that_no_other_holds(tmp_path: Path) -> None:
    with another_process(tmp_path, "cuda:0", "cuda:1") as (first, _):
        with another_process(tmp_path, "cuda:0", "cuda:1") as (second, process):
            assert (first, second) == ("cuda:0", "cuda:1")
            assert process.stdout and process.stdout.readline() == "False\n"  # torch was not needed
        with another_process(tmp_path, "cuda:0", "cuda:1") as (third, _):
            assert third == "cuda:1"  # the second was killed, and the kernel let go of its claim


def test_when_all_devices_are_held_the_first_is_shared_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = "cuda:0", "cuda:1"
    first_holds, second_holds = another_process(tmp_path, *names), another_process(tmp_path, *names)
    with first_holds as (first, _), second_holds as (second, _), caplog.at_level(logging.WARNING):
        assert (first, second) == names and choose_device("cuda:0,cuda:1", MACHINE, tmp_path) == "cuda:0"
    assert caplog.messages == ["GEOPIN_DEVICE: other processes hold all of cuda:0, cuda:1; sharing cuda:0"]


def test_a_process_that_asks_again_keeps_its_device(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with another_process(tmp_path, "cuda:0", "cuda:1"):
        for _ in range(2):
            assert choose_device("cuda:0,cuda:1", MACHINE, tmp_path) == "cuda:1"
    with another_process(tmp_path, "cuda:1", "cuda:0") as (other, _):
        assert other == "cuda:0"
    assert not caplog.messages
