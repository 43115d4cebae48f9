import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch

from geopin_assets.embedding.architectures import Architecture
from geopin_assets.embedding.weights import download, find_weights, hash_path, read_weights, weights_sha256
from geopin_assets.errors import ConfigurationError
from geopin_assets_tests.embedding.image_server import ImageServer, body, endless, status


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
    with pytest.raises(ConfigurationError, match=r"GEOPIN_WEIGHTS: .*folder\.pth cannot be read"):
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
