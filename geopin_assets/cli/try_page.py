"""The page beside the UI's reports on which to drop photos, and the answers that it asks for.

A photo is decoded in a process of its own, searched with, and forgotten: nothing of it is stored or sent. Whatever is
sent gets an answer within ANSWER_S, and memory is bounded however many photos come at once. Here: the two requests.
Not here: who may send them (`door.py`), the page (`locate/page.html`), or answers (`locate/`).
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.cli.door import TRY
from geopin_assets.errors import GeoPinError
from geopin_assets.locate.location import Location
from geopin_assets.locate.photo import MAX_BYTES
from geopin_assets.locate.report import page

ANSWER_S = 60.0
"""From the first byte of a request to its answer: slow uploads, waiting for other photos, and looking included."""
_MAX_BODY = MAX_BYTES * 4 // 3 + 1024
_UPLOADS, _ANSWERS = 4, 2
"""At once: what more are sent wait their turn."""
_CLOSE = {"connection": "close"}
"""Without it the server goes on reading a body that nobody wants."""
_MOST_COMMAS = 16
"""Of a body: base64 has none, and a list of 20 million numbers is JSON too."""


def try_page(locate: Callable[[bytes], Location], *, answer_s: float = ANSWER_S) -> Starlette:
    """The page at TRY; a photo posted there as JSON, `{"photo": base64}`, is answered with a location as JSON."""
    uploads, answering = asyncio.Semaphore(_UPLOADS), ThreadPoolExecutor(_ANSWERS, thread_name_prefix="locate")

    async def show(_: Request) -> Response:
        return HTMLResponse(page())

    async def answer(request: Request) -> Response:
        photo = b""
        try:
            async with asyncio.timeout(answer_s), uploads:
                photo = await _photo(request)
                location = await asyncio.get_running_loop().run_in_executor(answering, locate, photo)
        except TimeoutError:
            what = "looking at the photo took longer" if photo else "the photo did not come"
            return PlainTextResponse(f"no answer within {answer_s:g} s: {what}", 504 if photo else 408, _CLOSE)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except _RefusedError as refused:
            return PlainTextResponse(refused.reason, refused.status)
        except GeoPinError as error:
            return PlainTextResponse(str(error), 422)
        return Response(orjson.dumps(location.to_dict()), media_type="application/json")

    return Starlette(routes=[Route(TRY, show), Route(TRY, answer, methods=["POST"])])


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def _photo(request: Request) -> bytes:
    """The bytes that a body holds. Of one that is too large the rest is read and forgotten: whoever still sends would
    not hear the answer. Raises _RefusedError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk[: _MAX_BODY + 1 - len(body)]
    if len(body) > _MAX_BODY:
        raise _RefusedError(413, f"a photo has at most {MAX_BYTES // 2**20} MB")
    try:
        if body.count(b",") > _MOST_COMMAS:
            raise ValueError
        return base64.b64decode(orjson.loads(body)["photo"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise _RefusedError(400, '{"photo": base64 of a photo} is asked for') from None
