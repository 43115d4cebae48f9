"""What decoding takes of memory at its peak, measured in a process of its own."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.protocol import Failure
from geopin_assets.embedding.stages import ThreadMemory
from geopin_assets_tests.embedding.pictures import black_png, encoded, gray_jpeg, large_webp, smooth
from geopin_assets_tests.faults.verdict import note

MEASURE = """
import sys
from pathlib import Path
from geopin_assets.embedding.decoding import decode_image
from geopin_assets.embedding.protocol import Failure

def peak_kb():  # of this program: ru_maxrss begins with that of the one which started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

small, *files = [Path(name).read_bytes() for name in sys.argv[1:]]
assert not isinstance(decode_image(small), Failure)
before = peak_kb()
results = list(map(decode_image, files))
reasons = {result.reason.value if isinstance(result, Failure) else "decoded" for result in results}
print((peak_kb() - before) // 1024, *reasons)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


def decoded_apart(folder: Path, files: Sequence[bytes]) -> tuple[int, str]:
    """(peak of memory in MB above that of one small image, outcome of all files)."""
    paths = [folder / str(i) for i in range(1 + len(files))]
    for path, data in zip(paths, [encoded(smooth(64, 48)), *files], strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak_mb, outcome = printed.split()  # of all the same
    return int(peak_mb), outcome


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    """Decoded, the four would take 0.2 to 2 GB each; refused, they took 2 MB together."""
    bombs = [
        gray_jpeg(16_000, 16_000),
        gray_jpeg(16_000, 16_000, 10),
        black_png(16_000, 16_000, bits=1),
        large_webp(16_000, 16_000),
        large_webp(13_000, 13_000),  # below the limit of Pillow itself
    ]
    peak_mb, outcome = decoded_apart(tmp_path, bombs)
    note("images that are bombs", attempts=len(bombs), more_mb=peak_mb)
    assert outcome == "too_many_pixels" and peak_mb < 50


@pytest.mark.parametrize(
    ("data", "most_mb"),
    [
        (gray_jpeg(10_000, 10_000), 40),
        (gray_jpeg(10_000, 10_000, 10), 250),  # 2 bytes a sample
        (black_png(10_000, 10_000), 200),
        (large_webp(8_000, 5_000), 700),
    ],
    ids=["JPEG", "progressive JPEG", "PNG", "WebP"],
)
def test_the_largest_images_are_decoded_in_bounds(tmp_path: Path, data: bytes, most_mb: int) -> None:
    peak_mb, outcome = decoded_apart(tmp_path, [data])
    note("images as large as may be", attempts=1, more_mb=peak_mb)
    assert outcome == "decoded" and peak_mb < most_mb


def test_many_processes_decode_the_largest_images_one_at_a_time() -> None:
    """Four at once would take 0.8 GB. What they have mapped alone is added up every few milliseconds."""
    most_mb, is_over = 0, threading.Event()

    def look(decoders: Decoders) -> None:
        nonlocal most_mb
        while not is_over.wait(0.002):
            processes = [decoder._process for decoder in decoders._all if decoder._process is not None]
            most_mb = max(most_mb, sum(_own_mb(process.pid) for process in processes))

    def decode(data: bytes) -> bool:
        with decoders.lent() as decoder:
            return not isinstance(decoder.decode(data), Failure)

    with Decoders() as decoders, ThreadPoolExecutor(5) as threads:
        looking = threads.submit(look, decoders)
        try:
            assert all(threads.map(decode, [gray_jpeg(10_000, 10_000, 10)] * 4))
        finally:
            is_over.set()
        looking.result()
    assert 150 < most_mb < 4 * 25 + 350


def _own_mb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # not any more
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon")), 0)


def test_working_memory_is_never_taken_beyond_the_whole() -> None:
    memory, lock, taken, most = ThreadMemory(100), threading.Lock(), 0, 0

    def work(amount: int) -> None:
        nonlocal taken, most
        with memory.taken(amount):
            with lock:
                taken += min(amount, 100)
                most = max(most, taken)
            with lock:
                taken -= min(amount, 100)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, [30, 70, 200, 10, 100, 45, 5] * 100))
    assert 0 < most <= 100 and taken == 0


def test_working_memory_is_free_again_after_a_failure() -> None:
    memory = ThreadMemory(100)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), memory.taken(80):
            raise ZeroDivisionError


def test_who_needs_little_working_memory_does_not_overtake_who_waits_for_much() -> None:
    memory, order = ThreadMemory(100), []

    def work(amount: int) -> None:
        with memory.taken(amount):
            order.append(amount)

    with ThreadPoolExecutor(2) as threads:
        with memory.taken(50):
            large = threads.submit(work, 100)
            for _ in range(5_000):
                if memory._next.locked():  # it waits
                    break
                time.sleep(0.001)
            assert memory._next.locked()
            small = threads.submit(work, 10)
            assert order == []
        large.result()
        small.result()
    assert order == [100, 10]
