"""Decoding in processes of their own: the same pixels, and an end for everything that a hostile image may do there."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geopin_assets.embedding import decoders
from geopin_assets.embedding.decoders import Decoder, Decoders, Limits
from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets_tests.embedding.pictures import black_png, encoded, gray_jpeg, patched_jpeg, smooth

PICTURE = smooth(96, 64)
SLOW, WHOLE = gray_jpeg(10_000, 10_000, 64), (10_000, 10_000)
"""Takes a second and more where it is not reduced."""
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(PICTURE, exif=exif.tobytes())


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(Limits(cpu_s=0.25, wall_s=20))
    yield decoder
    decoder.close()


def process_of(decoder: Decoder) -> subprocess.Popen[bytes]:
    assert decoder._process is not None
    return decoder._process


@pytest.mark.parametrize(
    ("data", "at_least"),
    [
        *((encoded(PICTURE, format), (1024, 1024)) for format in ("JPEG", "PNG", "WEBP")),
        *((data, (1024, 1024)) for data in (rotated(), encoded(PICTURE, mode="CMYK"), gray_jpeg(9_000, 100))),
        *((encoded(smooth(250, 210), format), (100, 100)) for format in ("JPEG", "PNG")),
        (gray_jpeg(8_000, 4_000), PANORAMA_AT_LEAST),
        *((data, (1024, 1024)) for data in (b"", b"<html>", encoded(PICTURE)[:500], black_png(16_000, 16_000, bits=1))),
        (patched_jpeg(encoded(PICTURE), bits=12), (1024, 1024)),
    ],
)
def test_it_says_what_decoding_here_says(decoder: Decoder, data: bytes, at_least: tuple[int, int]) -> None:
    want, got = decode_image(data, at_least=at_least), decoder.decode(data, at_least=at_least)
    if isinstance(want, Failure) or isinstance(got, Failure):
        assert got == want
    else:
        np.testing.assert_array_equal(got, want)


def test_one_process_decodes_many_and_a_large_one_takes_no_memory_afterwards() -> None:
    with Decoders() as all_of_them:
        for size in ((64, 48), (4_000, 2_000), (96, 64), (64, 48)):
            with all_of_them.lent() as decoder:
                pixels = decoder.decode(gray_jpeg(*size), at_least=PANORAMA_AT_LEAST)
                assert not isinstance(pixels, Failure) and pixels.shape == (size[1], size[0], 3)
                process = process_of(decoder)
        assert process.poll() is None
        with all_of_them.lent() as decoder:
            decoder.decode(black_png(7_900, 7_900), at_least=(7_900, 7_900))
        if sys.platform == "linux":
            assert os.fstat(decoder._file).st_blocks * 512 < 2**20
    assert process.poll() is not None


def test_an_image_that_takes_too_long_is_ended_and_the_next_one_decoded(decoder: Decoder) -> None:
    got = decoder.decode(SLOW, at_least=WHOLE)
    assert isinstance(got, Failure) and got.reason is FailureReason.TOO_COSTLY and not got.reason.is_transient
    assert not isinstance(decoder.decode(encoded(PICTURE)), Failure)


@needs_proc
def test_an_image_that_takes_too_much_memory_is_a_failure() -> None:
    small = Decoder(Limits(memory_bytes=64 * 2**20))
    for data in (gray_jpeg(8_000, 8_000, 3), black_png(9_900, 9_900)):
        got = small.decode(data)
        assert isinstance(got, Failure) and got.reason is FailureReason.TOO_COSTLY
    assert not isinstance(small.decode(encoded(PICTURE)), Failure)
    small.close()


@pytest.mark.parametrize("times", [1, 2])
def test_an_image_whose_process_is_killed_is_tried_once_more(times: int) -> None:
    decoder = Decoder(Limits())
    decoder.decode(encoded(PICTURE))

    def kill() -> None:
        for _ in range(times):
            doomed = process_of(decoder)
            os.kill(doomed.pid, signal.SIGSEGV)
            while decoder._process in (doomed, None):
                time.sleep(0.001)
            time.sleep(0.2)  # the next one may have begun

    def stop() -> None:
        """Whatever decodes stands still; its successor has time to start, even where others keep the machine busy."""
        stopped: list[object] = []
        while len(stopped) < times:
            if (process := decoder._process) not in (None, *stopped):
                os.kill(process.pid, signal.SIGSTOP)
                stopped.append(process)
            time.sleep(0.001)

    with ThreadPoolExecutor(1) as threads:
        if times == 2:
            decoder._limits = Limits(wall_s=2)
            decoder._line.settimeout(0.3)
        ending = threads.submit(kill if times == 1 else stop)
        got = decoder.decode(SLOW, at_least=WHOLE)
        ending.result()
    decoder.close()
    if times == 1:
        assert not isinstance(got, Failure)
    else:
        assert isinstance(got, Failure) and got.reason is FailureReason.CRASHED and got.reason.is_transient


@needs_proc
def test_the_process_has_no_key_and_little_else(monkeypatch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    monkeypatch.setenv("GEOPIN_MAPILLARY_TOKEN", "MLY|secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    decoder.decode(encoded(PICTURE))
    about = Path(f"/proc/{process_of(decoder).pid}")
    assert b"secret" not in (about / "environ").read_bytes()
    assert not [name for name in ("torch", "polars", "duckdb") if f"/{name}/" in (about / "maps").read_text()]
    assert len(list((about / "fd").iterdir())) <= 6


@needs_proc
def test_the_process_ends_with_whoever_started_it() -> None:
    program = """
import sys, time
from geopin_assets.embedding.decoders import Decoder, Limits
decoder = Decoder(Limits())
decoder.decode(b"")
print(decoder._process.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().strip()
    assert child.exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(500):
        if not child.exists() or " Z " in (child / "stat").read_text():
            return
        time.sleep(0.01)
    pytest.fail("it is still there")


def test_a_program_that_cannot_start_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_COMMAND", "raise SystemExit(3)")
    with Decoders() as started, started.lent() as decoder, pytest.raises(decoders.TransientError, match="ended with 3"):
        decoder.decode(encoded(PICTURE))


def test_an_answer_that_makes_no_sense_is_a_failure_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendall(b'1'); s.recv(16)"
    for answer in ("b'\\x09' * 17", "b'\\0' + b'\\xff' * 16", "b'\\1' + b'\\xff' * 16", "b''"):
        monkeypatch.setattr(decoders, "_COMMAND", f"{said}; s.sendall({answer})")
        with Decoders() as started, started.lent() as decoder:
            got = decoder.decode(encoded(PICTURE))
        assert isinstance(got, Failure) and got.reason is FailureReason.CRASHED


@pytest.mark.parametrize(
    "grain", [b"\xff", b"\xff\xd0", b"\xff\x00", b"\xff\xfe\0\2", b"\xff\xda\0\2", b"\xff\xda", b"\xff\xc4\0\2"]
)
@pytest.mark.parametrize("head", [b"\xff\xd8\xff", encoded(PICTURE, progressive=True)[:-2]])
def test_bytes_without_a_picture_take_no_time(head: bytes, grain: bytes) -> None:
    """32 MB of them; 32 kB of FF took 19 s."""
    data = head + grain * (2**25 // len(grain))
    started = time.thread_time()
    decode_image(data)
    assert time.thread_time() - started < 60


def test_many_at_once_get_their_own(decoder: Decoder) -> None:
    pictures = [smooth(64 + number, 48) for number in range(24)]
    files = [encoded(picture, "PNG") for picture in pictures]
    with Decoders() as all_of_them, ThreadPoolExecutor(4) as threads:

        def decode(data: bytes) -> np.ndarray:
            with all_of_them.lent() as decoder:
                pixels = decoder.decode(data)
                assert not isinstance(pixels, Failure)
                return pixels.copy()

        for got, want in zip(threads.map(decode, files), pictures, strict=True):
            np.testing.assert_array_equal(got, want)
        assert len(all_of_them._all) <= 4


def test_a_png_of_empty_chunks_takes_no_time() -> None:
    chunk = b"\0\0\0\0teXt\x31\x32\x33\x34"
    data = encoded(PICTURE, "PNG")
    started = time.thread_time()
    got = decode_image(data[:33] + chunk * (2**25 // len(chunk)) + data[33:])
    assert isinstance(got, Failure) and got.reason is FailureReason.UNSUPPORTED and time.thread_time() - started < 60


def _mended() -> dict[str, bytes]:
    data, marked = encoded(PICTURE), io.BytesIO()
    Image.fromarray(PICTURE).save(marked, "JPEG", quality=95, subsampling=0, restart_marker_blocks=16)
    restarts = marked.getvalue()
    scan = data.index(b"\xff\xda")
    ends = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    tables, restart = data.index(b"\xff\xdb"), restarts.index(b"\xff\xd1")
    return {
        "parameters of the scan are 0, as of a make of phones": data[: ends - 3] + b"\0\0\0" + data[ends:],
        "padding before the tables": data[:tables] + b"\0\0" + data[tables:],
        "padding before a restart, as of webcams": restarts[:restart] + b"\x12\x34" + restarts[restart:],
    }


@pytest.mark.parametrize("name", _mended())
def test_what_cameras_write_and_viewers_show_is_decoded(name: str) -> None:
    got = decode_image(_mended()[name])
    assert not isinstance(got, Failure)
    assert np.abs(got.astype(int) - PICTURE).mean() < 2


@pytest.mark.parametrize(
    "factors", [b"\x11\x12\x12", b"\x11\x21\x11", b"\x13\x11\x11", b"\x22\x21\x12", b"\x42\x11\x11"]
)
def test_colors_may_be_sampled_in_odd_ways(factors: bytes) -> None:
    """A flat picture, whose coefficients are the same at whatever sampling: only the header is another."""
    width, height = 96, 96
    frame = b"\xff\xc0\0\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\3"
    frame += b"".join(bytes([number + 1, factor, 0]) for number, factor in enumerate(factors))
    only_code = b"\1" + bytes(15) + b"\0"
    tables = b"".join(b"\xff\xc4\0\x14" + kind + only_code for kind in (b"\0", b"\x10"))
    quantization = b"\xff\xdb\0\x43\0" + b"\1" * 64
    scan = b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0"
    data = b"\xff\xd8" + quantization + frame + tables + scan + bytes(2_000) + b"\xff\xd9"
    got = decode_image(data)
    assert not isinstance(got, Failure) and got.shape == (height, width, 3)
    assert np.abs(got.astype(int) - 128).max() <= 1
