"""A network of scenes as its authors publish it: their names, their list, and what their categories say of a view."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geopin_assets.embedding.model.cosplace import resnet18
from geopin_assets.embedding.model.scenes import CATEGORIES, LIST, WEIGHTS, Scenes
from geopin_assets.errors import ConfigurationError

STEM = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
ROOM, CAR, STREET = 7, 80, 300
PHOTO = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)


def published(folder: Path, likely: int, **more: torch.Tensor) -> Path:
    """Weights that say the same of every view, under the authors' names, and their list."""
    torch.manual_seed(0)
    features = {
        f"{STEM[name.partition('.')[0]]}.{name.partition('.')[2]}": t for name, t in resnet18().state_dict().items()
    }
    bias = torch.zeros(CATEGORIES)
    bias[likely] = 50.0
    state = features | {"fc.weight": torch.zeros(CATEGORIES, 512), "fc.bias": bias} | more
    old = {f"module.{name}": tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({"epoch": 90, "arch": "resnet18", "state_dict": old, "best_prec1": 54.0}, folder / WEIGHTS)
    names = {ROOM: "/a/art_studio 1", CAR: "/c/car_interior 1"}
    lines = (names.get(number, f"/x/place_{number} 2") for number in range(CATEGORIES))
    (folder / LIST).write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("likely", "said"), [(ROOM, (1.0, 0.0)), (CAR, (0.0, 1.0)), (STREET, (0.0, 0.0))])
def test_a_view_is_a_room_or_the_inside_of_a_vehicle_as_its_categories_are(
    tmp_path: Path, likely: int, said: tuple[float, float]
) -> None:
    scenes = Scenes(published(tmp_path, likely))
    assert scenes(PHOTO) == pytest.approx(said, abs=1e-6)
    assert scenes(PHOTO[:192, :192]) == pytest.approx(said, abs=1e-6)


def test_what_is_seen_of_a_view_matters(tmp_path: Path) -> None:
    torch.manual_seed(1)
    scenes = Scenes(
        published(tmp_path, STREET, **{"fc.weight": torch.randn(CATEGORIES, 512), "fc.bias": torch.zeros(CATEGORIES)})
    )
    assert scenes(PHOTO) != scenes(PHOTO // 4)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=LIST):
        Scenes(tmp_path)
    published(tmp_path, STREET, **{"fc.bias": torch.zeros(10)})
    with pytest.raises(ConfigurationError, match="no ResNet18 of Places365"):
        Scenes(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match="not a torch checkpoint"):
        Scenes(tmp_path)
    (tmp_path / LIST).write_text("/a/airfield 2\n")
    with pytest.raises(ConfigurationError, match="has 1 categories"):
        Scenes(tmp_path)
