"""The page beside the UI's reports on which to drop photos, and the answers that it asks for.

A photo is decoded in a process of its own, searched with, and forgotten: nothing of it is stored or sent. Here: the two
requests. Not here: who may send them (`door.py`), the page (`locate/page.html`), or answers (`locate/`).
"""

import base64
import binascii
from collections.abc import Callable

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from geopin_assets.cli.door import TRY
from geopin_assets.errors import GeoPinError
from geopin_assets.locate.location import Location
from geopin_assets.locate.report import page

MAX_BYTES = 32 * 2**20
_MAX_BODY = MAX_BYTES * 4 // 3 + 1024


def try_page(locate: Callable[[bytes], Location]) -> Starlette:
    """The page at TRY; a photo posted there as JSON, `{"photo": base64}`, is answered with a location as JSON."""

    async def show(_: Request) -> Response:
        return HTMLResponse(page())

    async def answer(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                return PlainTextResponse(f"a photo has at most {MAX_BYTES // 2**20} MB", 413)
        try:
            photo = base64.b64decode(orjson.loads(body)["photo"], validate=True)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
            return PlainTextResponse('{"photo": base64 of a photo} is asked for', 400)
        try:
            location = await run_in_threadpool(locate, photo)
        except GeoPinError as error:
            return PlainTextResponse(str(error), 422)
        return Response(orjson.dumps(location.to_dict()), media_type="application/json")

    return Starlette(routes=[Route(TRY, show), Route(TRY, answer, methods=["POST"])])
