"""Other processes, for tests of what several of them do at once and of what one leaves behind when it is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A new interpreter that runs the code, with the arguments in `sys.argv[1:]` and pipes for in and output."""
    command = [sys.executable, "-c", dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for one; its exit code and what it said."""
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


@contextmanager
def at_work(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """One that has printed its first line; killed at the end."""
    with start(code, *arguments) as process:
        assert process.stdout
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
