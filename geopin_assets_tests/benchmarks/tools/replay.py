"""The requests of a publish, to be sent again without it: what a bare client does.

Here: recording and sending. Not here: what is published (`publishing.py`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from geopin_assets_tests.cloudflare import API

_SENT_AGAIN = ("authorization", "content-type", "user-agent")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was sent; `path` without the name of the account."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def is_limited(self) -> bool:
        """Whether it counts against the account's rate, as uploads to storage do not."""
        return self.path.startswith(API)


class Recorder(httpx.BaseTransport):
    """Sends requests, and keeps them in `asked`."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self.asked: list[Asked] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _, _, path = request.url.raw_path.decode().split("/", 2)
        headers = {name: request.headers[name] for name in _SENT_AGAIN if name in request.headers}
        self.asked.append(Asked(request.method, f"/{path}", headers, request.read()))
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def send_again(client: httpx.Client, requests: Iterable[Asked], address: str, turn: Callable[[], None]) -> None:
    """What was asked of one account is asked of the one at `address`; `turn` waits before each limited request."""
    for asked in requests:
        if asked.is_limited:
            turn()
        url = f"{address}{asked.path}"
        client.request(asked.method, url, headers=asked.headers, content=asked.body).raise_for_status()
