"""How a network is run changes its vectors by less than anyone can see, and running out of memory costs none."""

import logging
import shutil
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.embedding.model.inference import BATCH_SIZE, PASS_SIZE, TorchEmbedder, dtype_on, prepared
from geopin_assets.embedding.protocol import Model
from geopin_assets.settings import Precision
from geopin_assets_tests.depth import IS_LONG, some
from geopin_assets_tests.embedding.networks import fitted_network, random_network, shallow_network
from geopin_assets_tests.embedding.pictures import Pixels, smooth

SAME = 0.9999
TINY = Model("tiny", 8, is_place_recognition=False)


def pictures(count: int, width: int = 96, height: int = 64) -> list[Pixels]:
    """Smooth pictures under noise, as photos have details of every size."""
    noise = np.random.default_rng(3).integers(0, 80, (count, height, width, 3), dtype=np.uint8)
    return [smooth(width, height, seed) // 4 * 2 + noise[seed] for seed in range(count)]


def tensor(images: list[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 64 - 2


def worst_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.astype(np.float64) * b).sum(axis=1).min())


@pytest.mark.parametrize("backbone", ["ResNet18", "ResNet50", "VGG16"])
def test_folding_removes_every_batch_norm_and_leaves_the_network_as_it_was(backbone: str) -> None:
    network = random_network(backbone)
    keys, pixels = list(network.state_dict()), tensor(pictures(2))
    folded = prepared(network, torch.float32)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert list(network.state_dict()) == keys
    with torch.inference_mode():
        torch.testing.assert_close(folded(pixels), network(pixels), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("backbone", "size"), some([("ResNet18", (96, 64)), ("ResNet50", (192, 160))]))
def test_half_precision_gives_the_same_vectors(backbone: str, size: tuple[int, int]) -> None:
    """On weights that tell images apart. Errors average out over a map: those at 512 x 512 are a tenth of these."""
    images = pictures(4, *size)
    network = fitted_network(tensor(images), backbone)
    exact, chosen, fp16, bf16 = (
        TorchEmbedder(network, TINY, precision=precision).embed(images)
        for precision in (Precision.FP32, Precision.AUTO, Precision.FP16, Precision.BF16)
    )
    assert worst_cosine(exact[:2], exact[2:]) < 0.99
    assert chosen.dtype == fp16.dtype == bf16.dtype == np.float32
    assert worst_cosine(chosen, exact) >= SAME and worst_cosine(fp16, exact) >= SAME
    assert 0.99 <= worst_cosine(bf16, exact) < worst_cosine(fp16, exact)


def test_half_precision_is_left_to_gpus_unless_it_is_asked_for() -> None:
    assert dtype_on(torch.device("cpu"), Precision.AUTO) is torch.float32
    assert dtype_on(torch.device("cpu"), Precision.FP16) is torch.float16
    assert dtype_on(torch.device("cuda"), Precision.BF16) is torch.bfloat16


def test_what_overflows_in_half_precision_is_computed_in_fp32(caplog: pytest.LogCaptureFixture) -> None:
    network, images = random_network(), pictures(3)
    with torch.no_grad():
        network.backbone[1].weight.mul_(1e7)  # far above 65,504 after the first layer
    exact = TorchEmbedder(network, TINY, precision=Precision.FP32).embed(images)
    half = TorchEmbedder(network, TINY, precision=Precision.FP16)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(half.embed(images), exact, atol=1e-6)
        np.testing.assert_allclose(half.embed(images), exact, atol=1e-6)
    assert caplog.messages == ["half precision overflowed: continuing in fp32"]


needs_a_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
# torch's own warning, when it imports its compiler
quietly = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")


@needs_a_compiler
@quietly
@pytest.mark.skipif(not IS_LONG, reason="16 s of compiling; means of colors are compiled, below: make test-long")
@pytest.mark.parametrize("build", [shallow_network, random_network])
def test_a_compiled_network_gives_the_same_vectors(build: Callable[[], CosPlaceNetwork]) -> None:
    """At first two layers of a ResNet18, then all of it."""
    network, images = build(), pictures(3, 64, 64)
    compiled = TorchEmbedder(network, TINY, is_compiled=True, pass_size=2).embed(images)
    assert len(compiled) == 3 and worst_cosine(compiled, TorchEmbedder(network, TINY).embed(images)) >= SAME


class MeanColor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


@needs_a_compiler
@quietly
def test_batches_of_any_size_are_compiled_once_a_shape() -> None:
    compiled = TorchEmbedder(MeanColor(), TINY, is_compiled=True, pass_size=2)
    torch._dynamo.utils.counters.clear()
    for images in (pictures(3), pictures(1), pictures(4, 64, 64), pictures(2)):
        np.testing.assert_allclose(
            compiled.embed(images), TorchEmbedder(MeanColor(), TINY).embed(images), rtol=1e-5, atol=1e-6
        )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_a_model_gives_the_same_bits_in_any_thread() -> None:
    inference, images = TorchEmbedder(random_network(), TINY), pictures(5)
    here, there = inference.embed(images), []
    thread = threading.Thread(target=lambda: there.append(inference.embed(images)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(there[0], here)


def test_on_a_cpu_a_vector_has_the_same_bits_whatever_batch_it_came_in() -> None:
    inference, images = TorchEmbedder(random_network(), TINY), pictures(5)
    np.testing.assert_array_equal(inference.embed(images)[3:], inference.embed(images[3:]))


def test_a_batch_larger_than_one_pass_keeps_its_order() -> None:
    inference, images = TorchEmbedder(random_network(), TINY, pass_size=4), pictures(10)
    one_by_one = np.concatenate([inference.embed([image]) for image in images])
    np.testing.assert_allclose(inference.embed(images), one_by_one, atol=1e-5)
    assert worst_cosine(one_by_one[:5], one_by_one[5:]) < 0.99999


def test_a_call_holds_several_passes() -> None:
    assert all(BATCH_SIZE[kind] % PASS_SIZE[kind] == 0 and BATCH_SIZE[kind] > PASS_SIZE[kind] for kind in PASS_SIZE)


def refused_by_the_allocator() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def raising(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


class Limited(nn.Module):
    """Fails with more than so many images in a pass; a vector is the mean of the red channel, and its square."""

    def __init__(self, fits: int, fail: Callable[[], None], note: Callable[[int], None]) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.fits, self.fail, self.note = fits, fail, note

    def forward(self, x: Tensor) -> Tensor:
        self.note(len(x))
        if len(x) > self.fits:
            self.fail()
        red = x[:, :1].mean(dim=(2, 3))
        return torch.cat([red, red.square()], dim=1)


FAILURES = {
    "CPU": refused_by_the_allocator,
    "CUDA": raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    "cuDNN": raising(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
    "MPS": raising(RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)")),
    "NumPy": raising(MemoryError()),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_out_of_memory_halves_the_passes_for_good_and_loses_no_vector(kind: str) -> None:
    images = [np.full((4, 4, 3), 20 * i, np.uint8) for i in range(11)]
    want = TorchEmbedder(Limited(11, FAILURES[kind], lambda size: None), TINY, pass_size=11).embed(images)
    assert (np.diff(want[:, 0]) > 0).all()
    passes: list[int] = []
    tight = TorchEmbedder(Limited(2, FAILURES[kind], passes.append), TINY, pass_size=8)
    np.testing.assert_allclose(tight.embed(images), want, rtol=1e-6)
    assert passes == [8, 4, 2, 2, 2, 2, 2, 1]
    passes.clear()
    np.testing.assert_allclose(tight.embed(images[:4]), want[:4], rtol=1e-6)
    assert passes == [2, 2]


def test_a_rest_that_does_not_fit_is_halved_by_its_own_size() -> None:
    passes: list[int] = []
    images = [np.zeros((4, 4, 3), np.uint8)] * 6
    assert len(TorchEmbedder(Limited(3, FAILURES["CUDA"], passes.append), TINY, pass_size=64).embed(images)) == 6
    assert passes == [6, 3, 3]


def test_when_not_even_one_image_fits_the_error_is_raised() -> None:
    passes: list[int] = []
    inference = TorchEmbedder(Limited(0, FAILURES["CPU"], passes.append), TINY, pass_size=4)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        inference.embed([np.zeros((4, 4, 3), np.uint8)] * 5)
    assert passes == [4, 2, 1]


def test_other_errors_are_raised_at_once() -> None:
    passes: list[int] = []
    inference = TorchEmbedder(Limited(0, raising(RuntimeError("shapes differ")), passes.append), TINY, pass_size=4)
    with pytest.raises(RuntimeError, match="shapes differ"):
        inference.embed([np.zeros((4, 4, 3), np.uint8)] * 5)
    assert passes == [4]


def test_the_head_is_never_in_half_precision() -> None:
    network = prepared(CosPlaceNetwork("ResNet18", 8), torch.float16)
    assert {parameter.dtype for parameter in network.backbone.parameters()} == {torch.float16}
    assert {parameter.dtype for parameter in network.aggregation.parameters()} == {torch.float32}
