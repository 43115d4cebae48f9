"""Which device a process takes, shown with real processes: locks are the kernel's, and gone when it kills."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geopin_assets.embedding.devices import available_devices, choose_device, claim_device
from geopin_assets.errors import ConfigurationError

MACHINE = ["cuda", "cuda:0", "cuda:1", "cpu"]
CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from geopin_assets.embedding.devices import claim_device
print(claim_device(sys.argv[2:], Path(sys.argv[1])), flush=True)
print("torch" in sys.modules, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path, *names: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that claims one of these devices and holds it; yields which, and the process."""
    command = [sys.executable, "-c", CLAIM_AND_WAIT, str(folder), *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip(), process
        process.kill()


def test_without_a_device_the_best_one_is_taken(tmp_path: Path) -> None:
    assert choose_device("", MACHINE, tmp_path) == "cuda"
    assert choose_device("", ["mps", "cpu"], tmp_path) == "mps"
    assert choose_device("cuda:1", MACHINE, tmp_path) == "cuda:1"
    assert choose_device(" cpu ,", MACHINE, tmp_path) == "cpu"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stated", ["cuda:2", "cuda:0,cuda:7", "gpu", "meta", "CPU"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(stated: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"GEOPIN_DEVICE={stated}: no .* there is cuda, cuda:0, cuda:1, cpu"):
        choose_device(stated, MACHINE, tmp_path)


def test_this_machine_has_a_processor_at_least() -> None:
    assert available_devices()[-1] == "cpu"


def test_each_process_takes_a_device_that_no_other_holds(tmp_path: Path) -> None:
    with another_process(tmp_path, "cuda:0", "cuda:1") as (first, _):
        with another_process(tmp_path, "cuda:0", "cuda:1") as (second, process):
            assert (first, second) == ("cuda:0", "cuda:1")
            assert process.stdout and process.stdout.readline() == "False\n"  # torch was not needed
        with another_process(tmp_path, "cuda:0", "cuda:1") as (third, _):
            assert third == "cuda:1"  # the second was killed, and the kernel let go of its claim


def test_when_all_devices_are_held_the_first_is_shared_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with another_process(tmp_path, "cpu:0") as (held, _), caplog.at_level(logging.WARNING):
        assert held == "cpu:0"
        assert claim_device(["cpu:0"], tmp_path) == "cpu:0"
    assert caplog.messages == ["GEOPIN_DEVICE: other processes hold all of cpu:0; sharing cpu:0"]


def test_a_process_that_asks_again_keeps_its_device(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with another_process(tmp_path, "cuda:0"):
        for _ in range(2):
            assert choose_device("cuda:0,cuda:1", MACHINE, tmp_path) == "cuda:1"
    with another_process(tmp_path, "cuda:1", "cuda:0") as (other, _):
        assert other == "cuda:0"
    assert not caplog.messages
