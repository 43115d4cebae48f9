"""How httpx is set up: sockets that know the total deadline, proxies, and logs without queries.

Here: everything about the library below a request. Not here: when and what to send (`client.py`).
"""

import logging

import httpcore
import httpx

from geopin_assets.http_client.deadline import DeadlineBackend

Transport = httpx.BaseTransport


class DirectTransport(httpx.HTTPTransport):
    """The library's transport on sockets that know the total deadline."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), keepalive_expiry=5.0, network_backend=DeadlineBackend()
        )


def direct_mounts() -> dict[str, httpx.BaseTransport | None]:
    """Everything directly and with deadlines, except what the environment sends through a proxy; loopback never is."""
    direct = DirectTransport()
    return {"all://": direct, "all://127.0.0.1": direct, "all://localhost": direct}


_hidden_paths: set[str] = set()


def hide_path(path: str) -> None:
    """From now on this path is in no log of requests: as in a webhook's address, it is the secret itself."""
    _hidden_paths.add(path)


class _WithoutSecrets(logging.Filter):
    """httpx logs whole URLs at INFO, and queries can hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_plain(a) if isinstance(a, httpx.URL) else a for a in record.args)
        return True


def _plain(url: httpx.URL) -> httpx.URL:
    return url.copy_with(query=None, path="/***" if url.path in _hidden_paths else url.path)


logging.getLogger("httpx").addFilter(_WithoutSecrets())
