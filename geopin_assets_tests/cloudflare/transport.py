"""Cloudflare's emulator without a socket: a sync httpx transport, and a plain client for requests by hand.

A fault's ending becomes the error that httpx raises for it, at once: a hang costs no time.
"""

from typing import Any

import httpx

from geopin_assets_tests.cloudflare import CloudflareEmulator, Ending, Request


class CloudflareTransport(httpx.BaseTransport):
    """Asks an emulator. Thread-safe."""

    def __init__(self, emulator: CloudflareEmulator) -> None:
        self._emulator = emulator

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.url.path, dict(request.url.params), headers, request.read())
        answer = self._emulator.answer(asked)
        if answer.ending is Ending.HANG:
            raise httpx.ReadTimeout("no answer", request=request)
        if answer.ending is Ending.RESET:
            raise httpx.ReadError("connection reset", request=request)
        body = answer.body if answer.ending is Ending.WHOLE else answer.body[: len(answer.body) // 2]
        return httpx.Response(answer.status, headers=dict(answer.headers), content=body, request=request)


class Account:
    """Plain requests with the account's token; paths begin after `/accounts/{id}`."""

    def __init__(self, emulator: CloudflareEmulator) -> None:
        self.emulator = emulator
        self.client = httpx.Client(
            transport=CloudflareTransport(emulator),
            base_url=f"{emulator.base_url}/accounts/{emulator.account_id}/",
            headers={"Authorization": f"Bearer {emulator.token}"},
        )

    def __call__(self, method: str, path: str, **parts: Any) -> httpx.Response:
        return self.client.request(method, path, **parts)

    def result(self, method: str, path: str, **parts: Any) -> Any:
        """The result of a call that must succeed."""
        answer = self(method, path, **parts)
        body = answer.json()
        assert answer.is_success, body
        assert (body["success"], body["errors"], body["messages"]) == (True, [], [])
        return body["result"]

    def refusal(self, method: str, path: str, **parts: Any) -> tuple[int, int, str]:
        """Status, code and message of a call that must be refused."""
        answer = self(method, path, **parts)
        body = answer.json()
        assert body["success"] is False
        assert body["messages"] == []
        ((error),) = body["errors"]
        return answer.status_code, error["code"], error["message"]
