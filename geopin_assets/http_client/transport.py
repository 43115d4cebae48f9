"""How httpx is set up below a request: sockets that know a total deadline, and proxies.

A client's read timeout starts anew with every byte, so a server that drips one byte a second holds a "10 s" request
for as long as it likes, in the headers as well as in the body. Here every socket operation gets what is left of the
deadline instead. Not here: when and what to send (`client.py`).
"""

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import httpcore
import httpx

from geopin_assets.errors import PermanentError
from geopin_assets.http_client.addresses import AddressRule, ForbiddenAddressError

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Network operations of this thread fail with a timeout once `seconds` have passed."""
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def _left_s(timeout_s: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    ends_at = _ends_at.get()
    if ends_at is None:
        return timeout_s
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise error("total deadline passed")
    return left_s if timeout_s is None else min(timeout_s, left_s)


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=_left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout=_left_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _left_s(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class DeadlineBackend(httpcore.SyncBackend):
    """The library's own sockets, with `deadline` applied to each operation."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left_s(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(super().connect_tcp(host, port, left_s, local_address, socket_options))


class GuardedBackend(DeadlineBackend):
    """Sockets for addresses that strangers name: each goes to an address that the rule allows, or is not opened."""

    def __init__(self, rule: AddressRule) -> None:
        super().__init__()
        self._rule = rule

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises PermanentError for a forbidden address. What was looked up is what is connected to."""
        try:
            found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
            self._rule.check_host(host)
            self._rule.check_addresses(host, found)
        except ForbiddenAddressError as error:
            raise PermanentError(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be looked up") from error
        return super().connect_tcp(found[0], port, timeout, local_address, socket_options)


Transport = httpx.BaseTransport


@cache
def _tls() -> ssl.SSLContext:
    """Shared by all clients: the library would read the list of authorities three times for each, 40 ms a time."""
    return httpx.create_ssl_context()


class DirectTransport(httpx.HTTPTransport):
    """The library's transport on sockets that know the total deadline."""

    def __init__(self, backend: httpcore.NetworkBackend | None = None) -> None:
        super().__init__(verify=_tls())
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), keepalive_expiry=5.0, network_backend=backend or DeadlineBackend()
        )


def guarded_transport(rule: AddressRule) -> Transport:
    """For addresses that strangers name; through no proxy, which would do the looking up."""
    return DirectTransport(GuardedBackend(rule))


def build_client(headers: dict[str, str], timeout_s: float, transport: Transport | None) -> httpx.Client:
    """A client that follows no redirect; its sockets are ours unless `transport` takes their place."""
    return httpx.Client(
        headers=headers,
        verify=_tls(),
        timeout=httpx.Timeout(timeout_s),
        follow_redirects=False,
        transport=transport,
        mounts=None if transport else _direct_mounts(),
    )


def _direct_mounts() -> dict[str, httpx.BaseTransport | None]:
    """Everything directly and with deadlines, except what the environment sends through a proxy; loopback never is."""
    direct = DirectTransport()
    return {"all://": direct, "all://127.0.0.1": direct, "all://localhost": direct}
