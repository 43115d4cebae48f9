"""Reports under their place in the UI: the objects of a store, parts of large ones, and single tiles of layers.

Maps of ours are served with a policy of their own: nothing runs in them but the script that this version wrote, and
that may ask for layers only, nothing else of the UI. Whatever else lies there gets none here, so the door puts it in a
sandbox. Not here: who may ask (`door.py`), or what maps show (`quality/`).
"""

import re
from functools import partial
from mimetypes import guess_type

from pmtiles.reader import Reader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geopin_assets.cli.door import REPORTS
from geopin_assets.errors import PermanentError
from geopin_assets.files.object_store import ObjectStore, Stored
from geopin_assets.quality.layers import FOLDER
from geopin_assets.quality.pages import policy_of

_TILE = "application/vnd.mapbox-vector-tile"
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


def reports(objects: ObjectStore) -> Starlette:
    """The objects of the store, under their place in the UI: no listing, nothing outside. And single tiles of layers,
    for programs that read no archives."""

    def report(request: Request) -> Response:
        key = request.path_params["key"]
        try:
            asked = _RANGE.fullmatch(request.headers.get("range", ""))
            if asked and (stored := objects.find(key)):
                return _part(objects, key, stored, int(asked[1]), int(asked[2] or stored.bytes))
            return _whole(objects.get(key), guess_type(key)[0], request.headers["host"])
        except PermanentError:  # not there, or no plain name
            return Response(status_code=404)

    def tile(request: Request) -> Response:
        name, *at = (request.path_params[part] for part in ("name", "z", "x", "y"))
        try:
            found = Reader(partial(objects.get_range, f"{FOLDER}/{name}.pmtiles")).get(*at)
        except (PermanentError, ValueError, OverflowError):  # not there, or no tile of any map
            return Response(status_code=404)
        if found is None:
            return Response(status_code=204)
        return Response(found, headers={"content-encoding": "gzip"}, media_type=_TILE)

    of_tile = Route(f"{REPORTS}/{FOLDER}/{{name}}/{{z:int}}/{{x:int}}/{{y:int}}.mvt", tile)
    return Starlette(routes=[of_tile, Route(f"{REPORTS}/{{key:path}}", report)])


def _whole(content: bytes, kind: str | None, host: str) -> Response:
    policy = policy_of(content, f"{host}{REPORTS}/{FOLDER}/") if kind == "text/html" else None
    headers = {"content-security-policy": policy} if policy else {}
    return Response(content, headers=headers, media_type=kind or "application/octet-stream")


def _part(objects: ObjectStore, key: str, stored: Stored, first: int, last: int) -> Response:
    """The bytes of an object from first to last, as readers of large archives ask for them."""
    last = min(last, stored.bytes - 1)
    if first > last:
        return Response(status_code=416, headers={"content-range": f"bytes */{stored.bytes}"})
    found = objects.get_range(key, first, last - first + 1)
    headers = {"content-range": f"bytes {first}-{last}/{stored.bytes}", "accept-ranges": "bytes"}
    return Response(found, status_code=206, headers=headers, media_type="application/octet-stream")
