"""A server as it is seen through a network that can be cut: a port of ours before it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gate:
    """Open at first. Shut, what was connected is cut, and who connects is sent away."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to, self._is_open, self._through = to, True, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def shut(self) -> None:
        self._is_open = False
        while self._through:
            with suppress(OSError):
                self._through.pop().shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._is_open = True

    def close(self) -> None:
        self.shut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._is_open:
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                self._through += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with one, suppress(OSError):
        while content := one.recv(2**16):
            other.sendall(content)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)


@contextmanager
def gate(host: str, port: int) -> Iterator[Gate]:
    """One before a server."""
    found = Gate((host, port))
    try:
        yield found
    finally:
        found.close()
