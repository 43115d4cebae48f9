"""The table of what is published, and the local copy of a checkpoint."""

import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch

from geopin_assets.embedding.model.checkpoints import (
    BACKBONES,
    PUBLISHED,
    Architecture,
    download,
    find_weights,
    hash_path,
    read_weights,
    weights_sha256,
)
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings
from geopin_assets_tests.embedding.image_server import ImageServer, body, endless, status


def published() -> list[Architecture]:
    return [
        Architecture(method, backbone, dim)
        for method, backbones in PUBLISHED.items()
        for backbone, dims in backbones.items()
        for dim in dims
    ]


def test_as_many_checkpoints_are_known_as_are_published() -> None:
    assert {method: sum(map(len, backbones.values())) for method, backbones in PUBLISHED.items()} == {
        "cosplace": 30,
        "eigenplaces": 13,
        "megaloc": 1,
    }
    assert {model.backbone for model in published()} == {*BACKBONES, "ViTB14"}


def test_every_published_model_is_found_by_its_name() -> None:
    for model in published():
        assert Architecture.parse(str(model)) == model


def test_the_default_is_the_recommended_one() -> None:
    assert Architecture.parse(Settings().model) == Architecture("cosplace", "ResNet50", 512)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ResNet50",
        "cosplace/ResNet50",
        "cosplace/ResNet50/100",
        "cosplace/ResNet50/0512",
        "cosplace/ResNet50/512/1",
        "cosplace/resnet50/512",
        "cosplace/ResNet34/512",
        "cosplace/VGG16/1024",
        "eigenplaces/ResNet152/512",
        "megaloc/ResNet50/512",
        "megaloc/ViTB14/512",
        "megaloc/ViTB14/8448/8448",
        "megaloc/ViTB14/8448/0512",
        "megaloc/ViTB14/8448/5１2",
        "megaloc/ViTB14/8448/512/",
        "cosplace/ResNet50/512/",
    ],
)
def test_what_is_not_published_is_refused_with_a_list_of_what_is(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"GEOPIN_MODEL=.* is not published") as refused:
        Architecture.parse(name)
    assert "cosplace/VGG16/64|128|256|512, " in str(refused.value)
    assert "eigenplaces/ResNet50/128|256|512|1024|2048" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (
            "cosplace/ResNet50/512",
            "https://github.com/gmberton/CosPlace/releases/download/v1.0/ResNet50_512_cosplace.pth",
        ),
        (
            "eigenplaces/VGG16/512",
            "https://github.com/gmberton/EigenPlaces/releases/download/v1.0/VGG16_512_eigenplaces.pth",
        ),
        ("megaloc/ViTB14/8448/512", "https://github.com/gmberton/MegaLoc/releases/download/v1.0/megaloc.torch"),
    ],
)
def test_addresses_are_the_published_ones(name: str, address: str) -> None:
    assert Architecture.parse(name).address == address


def test_no_two_models_share_an_address_or_an_id() -> None:
    assert len({model.address for model in published()}) == len(published())
    assert len({model.model("0" * 64).model_id for model in published()}) == len(published())


def test_an_id_names_model_weights_and_preprocessing() -> None:
    model = Architecture("eigenplaces", "ResNet101", 2048).model("1a2b3c4d5e6f")
    assert model.model_id == "eigenplaces-resnet101-2048-1a2b3c4d-p2"
    assert model.dim == 2048 and model.is_place_recognition and model.label == model.model_id


def test_a_whitened_model_is_another_one() -> None:
    asked = Architecture.parse("megaloc/ViTB14/8448/512")
    assert (str(asked), asked.dim, asked.vector_dim) == ("megaloc/ViTB14/8448/512", 8448, 512)
    model = asked.model("1a2b3c4d5e6f")
    assert (model.model_id, model.dim) == ("megaloc-vitb14-512w-1a2b3c4d-p2", 512)
    assert (model.side_px, model.is_square) == (322, True)


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"aggregation.1.p": torch.ones(1)}, buffer)
    return buffer.getvalue()


DATA = checkpoint()
DEFAULT = Architecture("cosplace", "ResNet50", 512)


def fetch(server: ImageServer, path: Path, max_bytes: int = 1 << 20) -> None:
    download(server.url("/w.pth"), path, schemes=("http",), max_bytes=max_bytes)


def test_a_download_follows_redirects_and_records_its_hash(server: ImageServer, tmp_path: Path) -> None:
    server.routes |= {"/w.pth": status(302, "/real"), "/real": body(DATA)}
    fetch(server, tmp_path / "cache/w.pth")
    assert (tmp_path / "cache/w.pth").read_bytes() == DATA
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert hash_path(tmp_path / "cache/w.pth").read_text() == f"{sha256}  w.pth\n"
    state, recorded = read_weights(tmp_path / "cache/w.pth")
    assert recorded == sha256 == weights_sha256(tmp_path / "cache/w.pth") and list(state) == ["aggregation.1.p"]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["w.pth", "w.pth.sha256"]


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (status(404), "404"),
        (status(500), "500"),
        (body(DATA[:300], announced=len(DATA)), "cut short"),
        (endless(bytes(100_000)), "more than"),
        (status(302, "ftp://example.com/w.pth"), "refused"),
        (status(302, "file:///etc/passwd"), "not allowed"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_set(
    server: ImageServer, tmp_path: Path, respond, message: str
) -> None:
    server.routes["/w.pth"] = respond
    with pytest.raises(ConfigurationError, match=message) as failed:
        fetch(server, tmp_path / "w.pth")
    assert "GEOPIN_WEIGHTS" in str(failed.value) and server.url("/w.pth") in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_away_from_https_is_refused(server: ImageServer, tmp_path: Path) -> None:
    server.routes |= {"/w.pth": status(302, "/real"), "/real": body(DATA)}
    with pytest.raises(ConfigurationError, match="refused"):
        download(server.url("/w.pth"), tmp_path / "w.pth")
    assert not server.hits["/real"]


@pytest.mark.parametrize("use", [read_weights, weights_sha256])
def test_a_file_that_changed_since_its_download_is_refused(use, server: ImageServer, tmp_path: Path) -> None:
    server.routes["/w.pth"] = body(DATA)
    fetch(server, tmp_path / "w.pth")
    use(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(DATA + b"\0")
    with pytest.raises(ConfigurationError, match="has changed"):
        use(tmp_path / "w.pth")


@pytest.mark.parametrize("use", [read_weights, weights_sha256])
def test_a_file_that_cannot_be_read_is_named(use, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"folder\.pth is a folder, not a plain file"):
        (tmp_path / "folder.pth").mkdir()
        use(tmp_path / "folder.pth")


def test_a_local_file_needs_no_recorded_hash(tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(DATA)
    assert find_weights(str(tmp_path / "own.pth"), DEFAULT, tmp_path / "cache") == tmp_path / "own.pth"
    assert read_weights(tmp_path / "own.pth")[1] == hashlib.sha256(DATA).hexdigest()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("method", ["cosplace", "eigenplaces"])
def test_a_cached_file_is_not_fetched_again(method: str, tmp_path: Path) -> None:
    cached = tmp_path / f"ResNet50_512_{method}.pth"
    cached.write_bytes(DATA)
    assert find_weights("", Architecture(method, "ResNet50", 512), tmp_path) == cached


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"GEOPIN_WEIGHTS=.*nowhere\.pth"):
        find_weights(str(tmp_path / "nowhere.pth"), DEFAULT, tmp_path)


class Evil:
    """Would run a command when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


@pytest.mark.parametrize("data", [b"<html>", b"", pickle.dumps(Evil()), DATA[:-200]])
def test_what_is_no_checkpoint_is_refused_and_not_run(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"GEOPIN_WEIGHTS: .*w\.pth is not a torch checkpoint"):
        read_weights(tmp_path / "w.pth")
    assert capsys.readouterr().out == ""


def test_a_checkpoint_with_more_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ConfigurationError, match="not a bare state_dict"):
        read_weights(tmp_path / "w.pth")
