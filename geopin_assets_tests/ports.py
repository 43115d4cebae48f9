"""A port for a server that has to be told which one.

Not one that the system would choose: those it gives to clients too, of all that is tested at once, and one of them may
take it before the server does.
"""

import socket
from contextlib import suppress
from secrets import randbelow

LOWEST, ABOVE = 10_000, 32_768
"""Below those that Linux gives to clients."""


def free_port() -> int:
    """Another one in each process, whatever seeds its random numbers."""
    while True:
        port = LOWEST + randbelow(ABOVE - LOWEST)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
