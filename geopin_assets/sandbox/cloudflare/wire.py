"""Requests and answers as values, and Cloudflare's envelope around every result.

Here: what travels. Not here: sockets (`asgi.py`), or the wording of refusals (`refusals.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

JSON_TYPE = {"content-type": "application/json"}


class Ending(StrEnum):
    """How an answer reaches the client."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    """Half of the body, as if that were all."""
    RESET = "reset"
    """The connection ends in the middle of the body."""
    HANG = "hang"
    """Nothing comes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `path` begins with `/client/v4`, header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, or what is left of it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE


@dataclass(eq=False, slots=True)
class Refused(Exception):
    """What the service says no with. `result` is null, or [] from D1's queries."""

    status: int
    code: int
    message: str
    result: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status} {self.code} {self.message}"


def accepted(result: Any, status: int = 200, **more: Any) -> Answer:
    """The envelope of a result; `more` are further keys, as `result_info`."""
    body = {"result": result, "success": True, "errors": [], "messages": [], **more}
    return Answer(status, orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), JSON_TYPE)


def refused(error: Refused) -> Answer:
    """The envelope of a refusal."""
    errors = [{"code": error.code, "message": error.message}]
    body = {"result": error.result, "success": False, "errors": errors, "messages": []}
    return Answer(error.status, orjson.dumps(body), {**JSON_TYPE, **error.headers})
