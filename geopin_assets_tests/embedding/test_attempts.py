"""An image that ends whatever reads it is found by the runs that it ends, and blamed after two of them."""

import signal
from pathlib import Path

import pytest

from geopin_assets.embedding.attempts import Attempts
from geopin_assets.embedding.protocol import CaptureImage, FailureReason
from geopin_assets.files.damage import is_aside
from geopin_assets_tests.depth import some
from geopin_assets_tests.files.processes import end, start

RUN = """
import os, signal, sys
from pathlib import Path
from geopin_assets.embedding.attempts import Attempts
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets_tests.embedding.cells import captures, cell_task
from geopin_assets_tests.embedding.memory_fetcher import MemoryFetcher
from geopin_assets_tests.embedding.pictures import encoded, smooth

class Deadly(Thumbnail):
    def preprocess(self, image):
        if image[0, 0, 0] > 250:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().preprocess(image)

folder, deadly = Path(sys.argv[1]), set(sys.argv[2].split(","))
urls = [f"http://host/{number}" for number in range(120)]

def picture(number):
    pixels = smooth(96, 64, number)
    pixels[:16, :16] = 255 if str(number) in deadly else 100
    return encoded(pixels)

files = {url: picture(number) for number, url in enumerate(urls)}
task = cell_task(captures(urls), folder / "vectors")
fetcher, attempts = MemoryFetcher(files), Attempts(folder / "attempts")
((_, done),) = embed_cells([task], embedder=Deadly(), fetcher=fetcher, attempts=attempts, batch_size=8)
print(done.stats.embedded + done.stats.reused, *done.failures.select("capture_id", "reason").rows())
"""


@pytest.mark.parametrize("deadly", some(["3,90", "37"]))
def test_the_image_that_ended_two_runs_is_a_failure_and_all_others_are_embedded(tmp_path: Path, deadly: str) -> None:
    named = deadly.split(",")
    for _ in range(2 * len(named)):
        code, printed = end(start(RUN, tmp_path, deadly))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    else:
        code, printed = end(start(RUN, tmp_path, deadly))
    assert code == 0
    said = " ".join(str((f"street:{int(number):07d}", "ended_runs")) for number in named)
    assert printed.strip() == f"{120 - len(named)} {said}"
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["ended.sqlite"]


def image(number: int) -> CaptureImage:
    return CaptureImage("cell", f"street:{number}", "street", str(number), "http://h/", "1", False, None)


def killed_while_reading(folder: Path, *numbers: int) -> None:
    """A process that begins to read these and is killed."""
    program = f"""
import os, signal
from pathlib import Path
from geopin_assets.embedding.attempts import Attempts
from geopin_assets_tests.embedding.test_attempts import image
with Attempts(Path({str(folder)!r})).of_run(64) as run:
    run.begin(image(99)); run.end(image(99))
    for number in {numbers!r}:
        run.begin(image(number))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert end(start(program))[0] == -signal.SIGKILL


def test_what_was_being_read_when_a_run_ended_is_read_alone_and_forgiven_when_it_was_read(tmp_path: Path) -> None:
    killed_while_reading(tmp_path, 1, 2)
    attempts = Attempts(tmp_path)
    with attempts.of_run(4) as run:
        assert [run.is_alone(image(number)) for number in (1, 2, 3, 99)] == [True, True, False, False]
        assert run.blamed(image(1)) is None
        run.begin(image(1))
        run.end(image(1))
    with attempts.of_run(4) as run:
        assert [run.is_alone(image(number)) for number in (1, 2)] == [False, True]


def test_the_second_run_that_ends_is_its_fault_and_later_it_gets_another_chance_alone(tmp_path: Path) -> None:
    killed_while_reading(tmp_path, 1)
    killed_while_reading(tmp_path, 1)
    with Attempts(tmp_path).of_run(4) as run:
        failure = run.blamed(image(1))
        assert failure is not None and failure.reason is FailureReason.ENDED_RUNS and failure.reason.is_transient
    with Attempts(tmp_path).of_run(4) as run:
        assert run.blamed(image(1)) is None and run.is_alone(image(1))
    killed_while_reading(tmp_path, 1)
    with Attempts(tmp_path).of_run(4) as run:
        assert run.blamed(image(1)) is not None


def test_runs_side_by_side_do_not_take_each_other_for_ended(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    with attempts.of_run(4) as one:
        one.begin(image(1))
        with attempts.of_run(4) as other:
            assert not other.is_alone(image(1))
    with attempts.of_run(4) as after:  # `one` was left in an orderly way
        assert not after.is_alone(image(1))
    assert [path.name for path in tmp_path.iterdir()] == ["ended.sqlite"]


def test_what_is_known_of_ended_runs_may_be_damaged(tmp_path: Path) -> None:
    killed_while_reading(tmp_path, 1)
    (tmp_path / "ended.sqlite").write_bytes(b"no database" * 500)
    with Attempts(tmp_path).of_run(4) as run:
        assert run.is_alone(image(1)), "it was being read when the run ended"
    assert len([path for path in tmp_path.iterdir() if is_aside(path)]) == 1


def test_another_version_of_the_image_is_another_image(tmp_path: Path) -> None:
    killed_while_reading(tmp_path, 1)
    newer = CaptureImage("cell", "street:1", "street", "1", "http://h/", "2", False, None)
    with Attempts(tmp_path).of_run(4) as run:
        assert run.is_alone(image(1)) and not run.is_alone(newer)
