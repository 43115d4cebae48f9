"""A clock that only moves when somebody sleeps, and servers that answer from a list."""

from collections.abc import Callable, Iterable
from typing import Any

import httpx

from geopin_assets.http_client import HttpClient

Reply = httpx.Response | Exception


class Clock:
    """Time as a number; `sleep` moves it and remembers how long."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class Server:
    """Answers each request with the next reply, the last one for ever; remembers requests and when they came."""

    def __init__(self, replies: Iterable[Reply | Callable[[httpx.Request], Reply]], clock: Clock) -> None:
        self.replies = list(replies)
        self.clock = clock
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(request)
        self.times.append(self.clock.now)
        if not isinstance(reply, httpx.Response | Exception):
            reply = reply(request)
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)


def json_reply(body: Any = None, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={} if body is None else body, headers=named)


def client_of(*replies: Any, **options: Any) -> tuple[HttpClient, Server, Clock]:
    """A client named `panoramax` on a server with these replies."""
    clock = Clock()
    server = Server(replies, clock)
    defaults = {"requests_per_second": 1000.0, "wall_clock": lambda: 1_800_000_000.0 + clock.now}
    client = HttpClient(
        "panoramax", transport=httpx.MockTransport(server), clock=clock, sleep=clock.sleep, **defaults | options
    )
    return client, server, clock
