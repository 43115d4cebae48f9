"""Published facts of CosPlace's checkpoints, and a float64 reference of its head. Weights here are random."""

import hashlib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geopin_assets.embedding.backbones import BACKBONES
from geopin_assets.embedding.cosplace import CosPlace, CosPlaceNetwork, architecture_of
from geopin_assets.embedding.weights import PUBLISHED_DIMS
from geopin_assets.errors import ConfigurationError
from geopin_assets_tests.embedding.pictures import smooth

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


def shape_of(backbone: str, dim: int = 512) -> CosPlaceNetwork:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return CosPlaceNetwork(backbone, dim)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def network() -> CosPlaceNetwork:
    """A ResNet18 with random weights and batch-norm statistics, so that a missing one shows."""
    torch.manual_seed(7)
    built = CosPlaceNetwork("ResNet18", 64)
    with torch.no_grad():
        for name, tensor in built.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
        built.aggregation[1].p.fill_(2.7)
    return built


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


def test_every_published_backbone_can_be_built() -> None:
    assert set(PUBLISHED_DIMS) == set(BACKBONES)


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
    [("ResNet18", (2, 2, 2, 2), 2), ("ResNet50", (3, 4, 6, 3), 3), ("ResNet152", (3, 8, 36, 3), 3)],
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


def test_the_head_is_channel_norm_gem_linear_norm(network: CosPlaceNetwork) -> None:
    features = torch.randn(3, 512, 5, 7, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got = network.aggregation(features).numpy()
    x = features.numpy().astype(np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    p = 2.7
    pooled = (np.maximum(x, 1e-6) ** p).mean(axis=(2, 3)) ** (1 / p)
    linear = network.aggregation[3]
    y = pooled @ linear.weight.detach().numpy().astype(np.float64).T + linear.bias.detach().numpy()
    np.testing.assert_allclose(got, y / np.linalg.norm(y, axis=1, keepdims=True), atol=2e-6)


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    """torchvision.models, where torchvision happens to be installed."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is no dependency")
    library = torch.library.Library("torchvision", "FRAGMENT")  # a wheel built for CUDA lacks these without it
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield import_module("torchvision.models")


@pytest.mark.parametrize("backbone", ["ResNet18", "ResNet50", "VGG16"])
def test_the_network_equals_torchvisions(backbone: str, models: Any) -> None:
    ours, model = CosPlaceNetwork(backbone, 64).eval(), models.get_model(backbone.lower(), weights=None)
    layers = model.features if backbone == "VGG16" else model
    theirs = torch.nn.Sequential(*list(layers.children())[:-2]).eval()
    theirs.load_state_dict(ours.backbone.state_dict())
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(theirs(pixels), ours.backbone(pixels))


def test_a_checkpoint_says_what_it_is(checkpoint: Path) -> None:
    embedder = CosPlace.load(checkpoint, device="cpu")
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert embedder.model_id == f"cosplace-resnet18-64-{sha256[:8]}-p1"
    assert embedder.dim == 64 and embedder.is_place_recognition


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


def test_embedding_equals_the_published_recipe(checkpoint: Path, network: CosPlaceNetwork) -> None:
    """ToTensor, Normalize, network: what the authors' evaluation does with an image of this size."""
    image = smooth(682, 512)
    embedder = CosPlace.load(checkpoint, device="cpu")
    got = embedder.embed([embedder.preprocess(image)] * 2)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        want = network.eval()((pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)).numpy()
    assert got.dtype == np.float32 and got.shape == (2, 64)
    np.testing.assert_allclose(got, np.repeat(want, 2, axis=0), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


def test_a_batch_larger_than_one_pass_keeps_its_order(network: CosPlaceNetwork) -> None:
    embedder = CosPlace(network, backbone="ResNet18", weights_sha256="0" * 64, device="cpu")
    images = [smooth(96, 64, seed) for seed in range(10)]
    one_by_one = np.concatenate([embedder.embed([image]) for image in images])
    np.testing.assert_allclose(embedder.embed(images), one_by_one, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1024, 768, (682, 512)),
        (640, 480, (682, 512)),
        (768, 1024, (512, 682)),
        (512, 512, (512, 512)),
        (2048, 1024, (910, 512)),
        (100, 1000, (512, 906)),
        (1920, 1080, (910, 512)),
        (33, 32, (528, 512)),
    ],
)
def test_the_shorter_side_becomes_512_and_the_aspect_at_most_16_to_9(
    network: CosPlaceNetwork, width: int, height: int, expected: tuple[int, int]
) -> None:
    embedder = CosPlace(network, backbone="ResNet18", weights_sha256="", device="cpu")
    result = embedder.preprocess(smooth(width, height))
    assert (result.shape[1], result.shape[0]) == expected
    assert result.dtype == np.uint8 and result.flags["C_CONTIGUOUS"]


def test_wide_images_lose_the_same_at_both_ends(network: CosPlaceNetwork) -> None:
    embedder = CosPlace(network, backbone="ResNet18", weights_sha256="", device="cpu")
    image = smooth(1200, 512)
    np.testing.assert_array_equal(embedder.preprocess(image), image[:, 145:1055])


def test_resizing_is_antialiased_as_pillow_does_it(network: CosPlaceNetwork) -> None:
    from PIL import Image

    embedder = CosPlace(network, backbone="ResNet18", weights_sha256="", device="cpu")
    noise = np.random.default_rng(0).integers(0, 255, (1536, 2048, 3), dtype=np.uint8)
    want = np.asarray(Image.fromarray(noise).resize((682, 512), Image.Resampling.BILINEAR))
    assert np.abs(embedder.preprocess(noise).astype(int) - want).max() <= 1
