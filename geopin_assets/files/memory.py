"""A bound on the memory of this process, while it reads what strangers wrote.

Here: the limit, as far as the system has one. Not here: a process of its own for what can take one over
(`embedding/decoders.py`).
"""

import mmap
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geopin_assets.errors import PayloadError

_DATA = 5
_STACKS = 3 * 8 * 1024**2
"""For each core of the threads that libraries start meanwhile: polars, and pyarrow twice."""


def limit(what: int, value: int) -> None:
    """Set a limit as far as the hard one allows; that one stays, so that the limit can be raised again."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def mapped_bytes() -> int:
    """What this process has mapped so far; where the system does not say, there is no limit on memory."""
    return _said_by_system(0)


@contextmanager
def within_memory(more_bytes: int, what: str) -> Iterator[None]:
    """Whatever takes so much more than there is now ends with a PayloadError that names `what`.

    Of what can be written to: what libraries only reserve is not counted.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    most = _said_by_system(_DATA) + more_bytes + _STACKS * (os.cpu_count() or 1)
    limit(resource.RLIMIT_DATA, most if before[0] == resource.RLIM_INFINITY else min(most, before[0]))
    try:
        yield
    except MemoryError as error:
        raise PayloadError(f"{what}: reading it takes more memory than anything that we write") from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _said_by_system(field: int) -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[field]) * mmap.PAGESIZE
    except OSError:
        return 2**40
