"""Published facts of the checkpoints, and a float64 reference of every layer. Weights here are random."""

import hashlib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geopin_assets.embedding.model.checkpoints import BACKBONES, Architecture
from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.embedding.model.inference import TorchEmbedder
from geopin_assets.embedding.model.loading import architecture_of, load_network
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError
from geopin_assets_tests.embedding import reference
from geopin_assets_tests.embedding.networks import random_network, shape_of
from geopin_assets_tests.embedding.pictures import smooth

SOME_MODEL = Model("some-64-p2", 64, is_place_recognition=True)
PUBLISHED = {  # backbone: (tensors in the checkpoint, parameters at 512 dimensions, of them in the backbone)
    "VGG16": (29, 14_977_345, 14_714_688),
    "ResNet18": (123, 11_439_169, 11_176_512),
    "ResNet50": (321, 24_557_121, 23_508_032),
    "ResNet101": (627, 43_549_249, 42_500_160),
    "ResNet152": (933, 59_192_897, 58_143_808),
}
RESNET50_PARAMETERS = {
    32: 23_573_601,
    128: 23_770_305,
    256: 24_032_577,
    512: 24_557_121,
    1024: 25_606_209,
    2048: 27_704_385,
}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def network() -> CosPlaceNetwork:
    return random_network()


@pytest.fixture
def checkpoint(network: CosPlaceNetwork, tmp_path: Path) -> Path:
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_tensors_and_parameters_are_as_many_as_published(backbone: str) -> None:
    network = shape_of(backbone)
    assert (len(network.state_dict()), count(network), count(network.backbone)) == PUBLISHED[backbone]


@pytest.mark.parametrize("dim", RESNET50_PARAMETERS)
def test_resnet50_has_the_published_size_at_every_dimension(dim: int) -> None:
    assert count(shape_of("ResNet50", dim)) == RESNET50_PARAMETERS[dim]


def test_these_are_all_backbones() -> None:
    assert set(PUBLISHED) == set(BACKBONES)


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_the_head_comes_last_and_is_named_as_published(backbone: str) -> None:
    state = shape_of(backbone).state_dict()
    assert list(state)[-3:] == ["aggregation.1.p", "aggregation.3.weight", "aggregation.3.bias"]
    channels = 2048 if backbone in ("ResNet50", "ResNet101", "ResNet152") else 512
    assert [tuple(tensor.shape) for tensor in list(state.values())[-3:]] == [(1,), (512, channels), (512,)]


def test_vgg16_keys_are_the_published_ones() -> None:
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    keys = [f"backbone.{i}.{part}" for i in convolutions for part in ("weight", "bias")]
    assert list(shape_of("VGG16").state_dict())[:-3] == keys


@pytest.mark.parametrize(
    ("backbone", "depths", "convolutions"),
    [
        ("ResNet18", (2, 2, 2, 2), 2),
        ("ResNet50", (3, 4, 6, 3), 3),
        ("ResNet101", (3, 4, 23, 3), 3),
        ("ResNet152", (3, 8, 36, 3), 3),
    ],
)
def test_resnet_keys_are_the_published_ones(backbone: str, depths: tuple[int, ...], convolutions: int) -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = ["backbone.0.weight", *(f"backbone.1.{part}" for part in norm)]
    for stage, depth in enumerate(depths, start=4):
        for block in range(depth):
            prefix = f"backbone.{stage}.{block}"
            for i in range(1, convolutions + 1):
                keys += [f"{prefix}.conv{i}.weight", *(f"{prefix}.bn{i}.{part}" for part in norm)]
            if block == 0 and (stage > 4 or convolutions == 3):
                keys += [f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{part}" for part in norm)]
    assert list(shape_of(backbone).state_dict())[:-3] == keys


def test_the_stride_of_a_bottleneck_is_on_its_3x3_convolution() -> None:
    block = shape_of("ResNet50").backbone[5][0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


@pytest.mark.parametrize(("backbone", "size"), [("ResNet18", (16, 22)), ("VGG16", (32, 42))])
def test_the_last_map_has_the_published_size(backbone: str, size: tuple[int, int]) -> None:
    """Strides of 32 and 16; VGG16 stops before its last ReLU and pooling."""
    with torch.device("meta"):
        features = shape_of(backbone).backbone(torch.empty(1, 3, 512, 682))
    assert tuple(features.shape) == (1, 512, *size)


def as_arrays(network: CosPlaceNetwork) -> dict[str, reference.Array]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}


def test_the_head_is_channel_norm_gem_linear_norm(network: CosPlaceNetwork) -> None:
    """Some pixels of a map may be negative (VGG16 has no last ReLU), and some zero in every channel."""
    features = torch.randn(3, 512, 5, 7, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got = network.aggregation(features).numpy()
    want = reference.head(as_arrays(network), features.numpy().astype(np.float64))
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("backbone", ["ResNet18", "ResNet50", "VGG16"])
def test_the_network_is_the_reference_layer_by_layer(backbone: str) -> None:
    """ResNet101 and 152 have the layers of ResNet50, more of them. Odd sides show how borders are padded."""
    network = random_network(backbone)
    pixels = torch.randn(2, 3, 49, 62, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        features, vectors = network.backbone(pixels).numpy(), network(pixels).numpy()
    state, exact = as_arrays(network), pixels.numpy().astype(np.float64)
    want = reference.vgg16(state, exact) if backbone == "VGG16" else reference.resnet(state, exact)
    np.testing.assert_allclose(features, want, atol=1e-4 * np.abs(want).max())
    np.testing.assert_allclose(vectors, reference.vectors(state, exact), atol=2e-6)


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    """torchvision.models, where torchvision happens to be installed."""
    found = find_spec("torchvision")
    if not (found and found.origin):
        pytest.skip("torchvision is no dependency, and not installed")
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        torch.ops.load_library(Path(found.origin).with_name("_C.so"))
    except OSError:  # built for CUDA, and this torch is not: without these two operators it does not import
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        yield import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not import beside this torch: {error}")


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_the_network_equals_torchvisions(backbone: str, models: Any) -> None:
    ours, model = random_network(backbone), models.get_model(backbone.lower(), weights=None)
    layers = model.features if backbone == "VGG16" else model
    theirs = torch.nn.Sequential(*list(layers.children())[:-2]).eval()
    theirs.load_state_dict(ours.backbone.state_dict())
    pixels = torch.randn(2, 3, 96, 128)
    with torch.inference_mode():
        got, want = ours.backbone(pixels), theirs(pixels)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours(pixels), ours.aggregation(want), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["cosplace", "eigenplaces"])
def test_a_checkpoint_of_either_method_loads_into_the_same_network(
    method: str, checkpoint: Path, network: CosPlaceNetwork
) -> None:
    """EigenPlaces trains CosPlace's network: names and shapes of its tensors are the same."""
    loaded, model = load_network(checkpoint, Architecture(method, "ResNet18", 64))
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert model == Model(f"{method}-resnet18-64-{sha256[:8]}-p2", 64, is_place_recognition=True)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("asked", ["cosplace/ResNet50/512", "eigenplaces/ResNet18/512", "cosplace/VGG16/64"])
def test_a_checkpoint_of_another_architecture_is_refused_and_says_what_to_set(asked: str, checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_network(checkpoint, Architecture.parse(asked))
    method = asked.split("/")[0]
    assert "holds ResNet18 with 64 dimensions" in str(refused.value) and asked in str(refused.value)
    assert f"set GEOPIN_MODEL={method}/ResNet18/64" in str(refused.value)


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_the_architecture_is_read_off_a_checkpoint(backbone: str) -> None:
    assert architecture_of(shape_of(backbone, 128).state_dict()) == (backbone, 128)


def test_a_checkpoint_of_something_else_is_refused(network: CosPlaceNetwork) -> None:
    state = network.state_dict()
    del state["aggregation.1.p"]
    with pytest.raises(ConfigurationError, match="not a CosPlace checkpoint"):
        architecture_of(state)
    with pytest.raises(ConfigurationError, match="not a CosPlace checkpoint"):
        architecture_of({})


def embedder(network: CosPlaceNetwork) -> TorchEmbedder:
    return TorchEmbedder(network, SOME_MODEL)


def test_embedding_equals_the_published_recipe(network: CosPlaceNetwork) -> None:
    """ToTensor, Normalize, network: what the authors' evaluation does with an image of this size."""
    image = smooth(683, 512)
    model = embedder(network)
    got = model.embed([model.preprocess(image)] * 2)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        want = network((pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)).numpy()
    assert got.dtype == np.float32 and got.shape == (2, 64)
    np.testing.assert_allclose(got, np.repeat(want, 2, axis=0), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1024, 768, (683, 512)),
        (640, 480, (683, 512)),
        (768, 1024, (512, 683)),
        (512, 512, (512, 512)),
        (2048, 1024, (910, 512)),
        (100, 1000, (512, 683)),
        (1920, 1080, (910, 512)),
        (1024, 683, (768, 512)),
        (33, 32, (512, 512)),
        (32, 10_000, (512, 683)),
    ],
)
def test_images_of_any_size_come_out_in_a_shape_the_model_sees(
    network: CosPlaceNetwork, width: int, height: int, expected: tuple[int, int]
) -> None:
    result = embedder(network).preprocess(smooth(width, height))
    assert (result.shape[1], result.shape[0]) == expected
    assert result.dtype == np.uint8 and result.flags["C_CONTIGUOUS"]


def test_wide_images_lose_the_same_at_both_ends(network: CosPlaceNetwork) -> None:
    image = smooth(1200, 512)
    np.testing.assert_array_equal(embedder(network).preprocess(image), image[:, 145:1055])


def test_views_of_a_panorama_pass_untouched(network: CosPlaceNetwork) -> None:
    view = smooth(512, 512)
    assert embedder(network).preprocess(view) is view


def test_a_crop_does_not_keep_the_image_it_is_from(network: CosPlaceNetwork) -> None:
    tall = smooth(512, 4000)
    assert not np.shares_memory(embedder(network).preprocess(tall), tall)


def test_resizing_is_antialiased_as_pillow_does_it(network: CosPlaceNetwork) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (1536, 2048, 3), dtype=np.uint8)
    want = np.asarray(Image.fromarray(noise).resize((683, 512), Image.Resampling.BILINEAR))
    assert np.abs(embedder(network).preprocess(noise).astype(int) - want).max() <= 1
