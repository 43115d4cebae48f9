"""The sandbox beside a command: running for as long as the command lasts, in the sandbox profile only."""

from collections.abc import Iterator
from contextlib import contextmanager

from geopin_assets.settings import Settings


@contextmanager
def stand_ins(settings: Settings) -> Iterator[None]:
    """Serve the stand-ins of all APIs, or share a server that already does; nothing with real sources."""
    if not settings.is_sandbox:
        yield
        return
    from geopin_assets.sandbox.server import running

    with running(settings):
        yield
