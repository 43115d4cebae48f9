"""The sandbox's ASGI app: the stand-ins, and what people and tests turn in it.

Here: /health, /stats, /faults and where each stand-in is mounted. Not here: any source's routes, running a server.

    GET    /health   {"geopin_sandbox": "<world version>"}
    GET    /stats    requests by source and kind since the start
    POST   /faults   {"source": "amsterdam", "status": 500, "bbox": [w, s, e, n]}, see `faults.py` for all kinds,
                     {"vanish": ["<id>", …]}, {"move": {"<id>": [lon, lat]}} or {"cap": {"panoramax": 10}};
                     in a checkout {"source": "cloudflare", "kind": "reset", "committed": true, "service": "d1",
                     "times": 1}, see `geopin_assets_tests/cloudflare/faults.py`
    DELETE /faults   everything as it was
"""

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from geopin_assets.sandbox.faults import Fault, Faulty
from geopin_assets.sandbox.stand_ins.amsterdam import AmsterdamStandIn
from geopin_assets.sandbox.stand_ins.europeana import EuropeanaStandIn
from geopin_assets.sandbox.stand_ins.flickr import FlickrStandIn
from geopin_assets.sandbox.stand_ins.kartaview import KartaViewStandIn
from geopin_assets.sandbox.stand_ins.mapilio import MapilioStandIn
from geopin_assets.sandbox.stand_ins.mapillary import MapillaryStandIn
from geopin_assets.sandbox.stand_ins.panoramax import PanoramaxStandIn
from geopin_assets.sandbox.stand_ins.stac import StacStandIn
from geopin_assets.sandbox.stand_ins.wikimedia_commons import WikimediaCommonsStandIn
from geopin_assets.sandbox.state import CloudflareStandIn, Sandbox
from geopin_assets.sandbox.streets.world import World

HEALTH = "geopin_sandbox"
CLOUDFLARE = "cloudflare"


def create_app(
    world: World, base_url: str, faults: Iterable[Fault] | None = None, cloudflare: CloudflareStandIn | None = None
) -> Starlette:
    """The ASGI app over a world. `base_url` starts every href it hands out; no trailing slash."""
    return app_of(Sandbox(world, base_url, list(faults or ()), cloudflare=cloudflare))


def app_of(sandbox: Sandbox) -> Starlette:
    """The ASGI app over a state that the caller keeps a hand on."""

    async def health(request: Request) -> Response:
        return JSONResponse({HEALTH: sandbox.world.version})

    async def stats(request: Request) -> Response:
        published = sandbox.cloudflare.requests if sandbox.cloudflare else {}
        return JSONResponse({**sandbox.requests, **{f"{CLOUDFLARE}.{call}": n for call, n in published.items()}})

    async def set_fault(request: Request) -> Response:
        try:
            _apply(sandbox, await request.json())
        except (TypeError, ValueError) as error:
            return JSONResponse({"message": str(error)}, 400)
        published = sandbox.cloudflare.faults if sandbox.cloudflare else ()
        return JSONResponse({"faults": len(sandbox.faults) + len(published), "vanished": len(sandbox.vanished)})

    async def clear_faults(request: Request) -> Response:
        sandbox.clear()
        return Response(status_code=204)

    stand_ins = (
        MapillaryStandIn,
        KartaViewStandIn,
        PanoramaxStandIn,
        MapilioStandIn,
        AmsterdamStandIn,
        WikimediaCommonsStandIn,
        FlickrStandIn,
        EuropeanaStandIn,
        StacStandIn,
    )
    mounts = [Mount(f"/{s.name}", app=Faulty(Router(s(sandbox).routes()))) for s in stand_ins]
    if sandbox.cloudflare is not None:
        mounts.append(Mount(f"/{CLOUDFLARE}", app=sandbox.cloudflare.app()))
    return Starlette(
        routes=[
            Route("/health", health),
            Route("/stats", stats),
            Route("/faults", set_fault, methods=["POST"]),
            Route("/faults", clear_faults, methods=["DELETE"]),
            *mounts,
        ]
    )


def _apply(sandbox: Sandbox, body: object) -> None:
    """Add one fault, or captures and caps to change. Raises TypeError or ValueError for a body that says neither."""
    if not isinstance(body, dict):
        raise TypeError('a JSON object, {"source": …}, {"vanish": […]}, {"move": {…}} or {"cap": {…}}')
    if "vanish" in body:
        sandbox.vanished.update(map(str, body["vanish"]))
    elif "move" in body:
        sandbox.moved.update({str(id_): (float(lon), float(lat)) for id_, (lon, lat) in body["move"].items()})
    elif "cap" in body:
        sandbox.caps.update({str(source): int(cap) for source, cap in body["cap"].items()})
    elif body.get("source") == CLOUDFLARE:
        if sandbox.cloudflare is None:
            raise ValueError("there is no Cloudflare in this sandbox")
        sandbox.cloudflare.add_fault(**{key: body[key] for key in body if key != "source"})
    else:
        sandbox.faults.append(Fault(**body))
