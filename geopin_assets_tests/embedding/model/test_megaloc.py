"""Published facts of MegaLoc's checkpoint, and a float64 reference of its parts. Weights here are random."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from geopin_assets.embedding.model.checkpoints import Architecture
from geopin_assets.embedding.model.inference import TorchEmbedder
from geopin_assets.embedding.model.loading import architecture_of, load_network
from geopin_assets.embedding.model.megaloc import Dino, MegaLocNetwork, Salad, named_as_here, transported
from geopin_assets.embedding.protocol import Model
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.embedding.pictures import smooth

BLOCK = {
    **{"norm1.weight": (768,), "norm1.bias": (768,), "attn.qkv.weight": (2304, 768), "attn.qkv.bias": (2304,)},
    **{"attn.proj.weight": (768, 768), "attn.proj.bias": (768,), "ls1.gamma": (768,)},
    **{"norm2.weight": (768,), "norm2.bias": (768,), "mlp.fc1.weight": (3072, 768), "mlp.fc1.bias": (3072,)},
    **{"mlp.fc2.weight": (768, 3072), "mlp.fc2.bias": (768,), "ls2.gamma": (768,)},
}
"""Of `dinov2_vitb14`, as its repository publishes it."""
AROUND = {
    **{"backbone.cls_token": (1, 1, 768), "backbone.pos_embed": (1, 1370, 768)},
    **{"backbone.patch_embed.proj.weight": (768, 3, 14, 14), "backbone.patch_embed.proj.bias": (768,)},
    **{"backbone.norm.weight": (768,), "backbone.norm.bias": (768,)},
    **{"aggregator.agg.dust_bin": (), "aggregator.linear.weight": (8448, 16640), "aggregator.linear.bias": (8448,)},
    **{"aggregator.agg.token_features.0.weight": (512, 768), "aggregator.agg.token_features.0.bias": (512,)},
    **{"aggregator.agg.token_features.2.weight": (256, 512), "aggregator.agg.token_features.2.bias": (256,)},
    **{"aggregator.agg.cluster_features.0.weight": (512, 768, 1, 1), "aggregator.agg.cluster_features.0.bias": (512,)},
    **{"aggregator.agg.cluster_features.3.weight": (256, 512, 1, 1), "aggregator.agg.cluster_features.3.bias": (256,)},
    **{"aggregator.agg.score.0.weight": (512, 768, 1, 1), "aggregator.agg.score.0.bias": (512,)},
    **{"aggregator.agg.score.3.weight": (64, 512, 1, 1), "aggregator.agg.score.3.bias": (64,)},
}
PUBLISHED = AROUND | {f"backbone.blocks.{n}.{name}": shape for n in range(12) for name, shape in BLOCK.items()}
RELEASED = {name.replace("backbone.", "backbone.model."): shape for name, shape in PUBLISHED.items()}
RELEASED |= {"backbone.model.mask_token": (1, 768)}
"""`megaloc.torch`, whose backbone is the object of DINOv2's own repository."""


def on_meta() -> MegaLocNetwork:
    with torch.device("meta"):
        return MegaLocNetwork()


def with_one_block() -> Dino:
    """With memory for its first block and what is around it: all twelve would take 350 MB."""
    with torch.device("meta"):
        dino = Dino()
    dino.blocks[0].to_empty(device="cpu")
    dino.pos_embed, dino.cls_token = (
        torch.nn.Parameter(torch.empty_like(tensor, device="cpu")) for tensor in (dino.pos_embed, dino.cls_token)
    )
    return dino


def random(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(3)
    for name, tensor in module.named_parameters():
        torch.nn.init.normal_(tensor, 1.0 if "norm" in name and "weight" in name else 0.0, 0.05)
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def dino() -> Iterator[Dino]:
    yield random(with_one_block())  # type: ignore[misc]


def test_tensors_have_the_published_names_and_shapes() -> None:
    assert {name: tuple(tensor.shape) for name, tensor in on_meta().state_dict().items()} == PUBLISHED


def test_parameters_are_as_many_as_published() -> None:
    """228.64 M with the mask token of the release; DINOv2's ViT-B/14 has 86,580,480, that token among them."""
    network = on_meta()
    assert sum(p.numel() for p in network.backbone.parameters()) + 768 == 86_580_480
    assert sum(p.numel() for p in network.parameters()) + 768 == 228_640_321


@pytest.mark.parametrize("published", [PUBLISHED, RELEASED])
def test_both_published_files_are_known_by_their_tensors(published: dict[str, tuple[int, ...]]) -> None:
    state = {name: torch.empty(shape, device="meta") for name, shape in published.items()}
    assert architecture_of(named_as_here(state)) == ("ViTB14", 8448)


def layer_norm(x: np.ndarray, norm: torch.nn.LayerNorm) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    scaled = centered / np.sqrt(centered.var(-1, keepdims=True) + 1e-6)
    return scaled * norm.weight.double().numpy() + norm.bias.double().numpy()


def linear(x: np.ndarray, layer: torch.nn.Module) -> np.ndarray:
    weight = layer.weight.double().numpy()
    return x @ weight.reshape(weight.shape[0], -1).T + layer.bias.double().numpy()  # type: ignore[no-any-return]


def gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(torch.nn.functional.gelu(torch.from_numpy(x)))


def test_a_block_attends_and_scales_as_published(dino: Dino) -> None:
    block, x = dino.blocks[0], np.random.default_rng(0).normal(size=(5, 768))
    qkv = linear(layer_norm(x, block.norm1), block.attn.qkv)
    heads = []
    for head in range(12):
        q, k, v = (qkv[:, part * 768 + head * 64 : part * 768 + head * 64 + 64] for part in range(3))
        alike = np.exp(q @ k.T / 8)
        heads.append(alike / alike.sum(1, keepdims=True) @ v)
    y = x + linear(np.hstack(heads), block.attn.proj) * block.ls1.gamma.double().numpy()
    hidden = gelu(linear(layer_norm(y, block.norm2), block.mlp.fc1))
    want = y + linear(hidden, block.mlp.fc2) * block.ls2.gamma.double().numpy()
    np.testing.assert_allclose(block(torch.from_numpy(x).float()[None])[0].numpy(), want, atol=2e-4)


def test_positions_are_the_learned_ones_where_the_image_is_as_large_as_in_training(dino: Dino) -> None:
    assert dino._positions(37, 37) is dino.pos_embed


@pytest.mark.parametrize(("rows", "columns"), [(23, 23), (16, 30), (38, 37)])
def test_positions_of_other_sizes_lie_between_the_learned_ones(dino: Dino, rows: int, columns: int) -> None:
    """Those that rise evenly go on doing so, shifted by as much as DINOv2 shifts them."""
    ramp = torch.zeros_like(dino.pos_embed)
    ramp[0, 1:, 0] = torch.arange(37.0).repeat_interleave(37)
    ramp[0, 1:, 1] = torch.arange(37.0).repeat(37)
    even = with_one_block()
    even.pos_embed.data, even.cls_token.data = ramp, dino.cls_token.data
    found = even.requires_grad_(False)._positions(rows, columns)[0, 1:].reshape(rows, columns, -1).numpy()
    for axis, count, line in ((0, rows, found[:, columns // 2, 0]), (1, columns, found[rows // 2, :, 1])):
        want = (np.arange(count) + 0.5) * 37 / (count + 0.1) - 0.5
        inside = (want > 2) & (want < 34)
        np.testing.assert_allclose(line[inside], want[inside], atol=0.06, err_msg=str(axis))  # not quite linear


def sinkhorn(scores: np.ndarray, dust: float) -> np.ndarray:
    """In plain numbers: rows are scaled to what clusters take, columns to what patches give, three times."""
    m, n = scores.shape
    plan = np.exp(np.vstack([scores, np.full((1, n), dust)]))
    takes = np.append(np.ones(m), n - m)[:, None]
    for _ in range(3):
        plan *= takes / plan.sum(1, keepdims=True)
        plan /= plan.sum(0, keepdims=True)
    return plan[:-1]


@pytest.mark.parametrize("dust", [-3.0, 0.0, 1.0, 4.0])
def test_patches_are_transported_as_by_sinkhorns_scaling(dust: float) -> None:
    scores = np.random.default_rng(1).normal(0, 2, (2, 64, 529))
    found = transported(torch.from_numpy(scores), torch.tensor(dust, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(found, np.stack([sinkhorn(each, dust) for each in scores]), rtol=1e-9)
    assert (found.sum(1) <= 1 + 1e-9).all(), "the rest went into the dustbin"


def test_clusters_gather_features_beside_the_token() -> None:
    salad, tokens = random(Salad()), np.random.default_rng(2).normal(size=(100, 768))
    token, patches = tokens[0], tokens[1:]

    def two(x: np.ndarray, layers: torch.nn.Module, last: int) -> np.ndarray:
        return linear(np.maximum(linear(x, layers[0]), 0), layers[last])  # type: ignore[index]

    shares = sinkhorn(two(patches, salad.score, 3).T, float(salad.dust_bin))
    gathered = two(patches, salad.cluster_features, 3).T @ shares.T
    gathered /= np.linalg.norm(gathered, axis=0)
    scene = two(token, salad.token_features, 2)
    want = np.concatenate([scene / np.linalg.norm(scene), gathered.reshape(-1)])
    found = salad(torch.from_numpy(tokens).float()[None])[0].numpy()
    np.testing.assert_allclose(found, want / np.linalg.norm(want), atol=1e-5)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (2000, 1000), (300, 300), (322, 322), (100, 900)])
def test_an_image_is_squeezed_into_a_square_of_322(size: tuple[int, int]) -> None:
    model = Model("m", 2, is_place_recognition=True, side_px=322, is_square=True)
    image = smooth(*size)
    seen = TorchEmbedder(torch.nn.ModuleDict({"backbone": torch.nn.Conv2d(3, 2, 1)}), model).preprocess(image)
    assert seen.shape == (322, 322, 3) and seen.dtype == np.uint8
    if max(size) / min(size) < 1.34:  # all of it is there
        from PIL import Image

        want = np.asarray(Image.fromarray(image).resize((322, 322), Image.Resampling.BILINEAR))
        assert np.abs(seen.astype(int) - want).max() <= 1


@pytest.mark.skipif(not IS_LONG, reason="915 MB of random weights")
def test_a_released_file_is_loaded_and_answers_with_unit_vectors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {name: torch.randn(shape) * 0.03 for name, shape in RELEASED.items()}
    torch.save(state, tmp_path / "megaloc.torch")
    network, model = load_network(tmp_path / "megaloc.torch", Architecture.parse("megaloc/ViTB14/8448"))
    embedder = TorchEmbedder(network, model)
    vectors = embedder.embed([embedder.preprocess(smooth(640, 480, seed)) for seed in range(2)])
    assert vectors.shape == (2, 8448)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
