"""What one running sandbox knows beside its world: faults, vanished captures and request counts.

Here: the hook through which every request of every stand-in passes. Not here: routes and wire formats.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse, Response

from geopin_assets.sandbox.world import Shot, World

Box = tuple[float, float, float, float]
"""west, south, east, north in degrees, as a request asked for it."""

_TOUCH_DEG = 1e-6  # neighboring boxes share an edge; sharing less than 10 cm is no overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Requests to `source` answer `status`: those overlapping `bbox`, or the images of `capture`, else all listings.

    `capture` is the source's own id. `retry_after_s` adds a Retry-After header.
    """

    source: str
    status: int = 500
    bbox: Box | None = None
    capture: str | None = None
    retry_after_s: int | None = None

    def concerns(self, source: str, box: Box | None, capture: str | None) -> bool:
        """Whether a request (a listing of `box`, or an image of `capture`) meets this fault."""
        if source != self.source or capture != self.capture:
            return False
        return self.bbox is None or (box is not None and _overlap(self.bbox, box))

    def response(self) -> Response:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return PlainTextResponse("a fault set at /faults", self.status, headers)


@dataclass(slots=True)
class Sandbox:
    """State shared by the stand-ins of one app. `base_url` has no trailing slash and starts every href."""

    world: World
    base_url: str
    faults: list[Fault] = field(default_factory=list)
    vanished: set[str] = field(default_factory=set)
    """Source's own ids of captures that were taken down."""
    requests: Counter[str] = field(default_factory=Counter)

    def meet(self, source: str, kind: str, *, box: Box | None = None, capture: str | None = None) -> Response | None:
        """Count a request and return the fault it meets, or None to answer it."""
        self.requests[f"{source}.{kind}"] += 1
        return next((fault.response() for fault in self.faults if fault.concerns(source, box, capture)), None)

    def published(self, ids: Sequence[tuple[str, Shot]]) -> list[tuple[str, Shot]]:
        """The (id, shot) pairs that were not taken down."""
        return [(id_, shot) for id_, shot in ids if id_ not in self.vanished]


def _overlap(a: Box, b: Box) -> bool:
    east_west = min(a[2], b[2]) - max(a[0], b[0])
    north_south = min(a[3], b[3]) - max(a[1], b[1])
    return east_west > _TOUCH_DEG and north_south > _TOUCH_DEG
