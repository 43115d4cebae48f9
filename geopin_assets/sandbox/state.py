"""What one running sandbox knows beside its world: faults, captures that vanished or moved, lowered caps, counts.

Here: the hook through which every request of every stand-in passes. Not here: routes and wire formats.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp

from geopin_assets.sandbox.faults import Box, Fault
from geopin_assets.sandbox.shelf import Shelf
from geopin_assets.sandbox.world import Shot, World


class CloudflareStandIn(Protocol):
    """What the sandbox asks of Cloudflare's stand-in, which comes with a checkout, beside the tests."""

    requests: Counter[str]
    """Calls by `service.operation`."""
    faults: list[Any]

    def app(self) -> ASGIApp: ...
    def add_fault(self, **fields: Any) -> None:
        """Raises TypeError or ValueError for fields that are no fault."""

    def clear_faults(self) -> None: ...


@dataclass(slots=True)
class Sandbox:
    """State shared by the stand-ins of one app. `base_url` has no trailing slash and starts every href."""

    world: World
    base_url: str
    faults: list[Fault] = field(default_factory=list)
    vanished: set[str] = field(default_factory=set)
    """Source's own ids of captures that were taken down."""
    moved: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Source's own id -> (lon, lat) where the capture is now."""
    caps: dict[str, int] = field(default_factory=dict)
    """Source -> most records it puts into one answer from now on, without a word about it."""
    requests: Counter[str] = field(default_factory=Counter)
    cloudflare: CloudflareStandIn | None = None

    def meet(self, source: str, kind: str, *, box: Box | None = None, capture: str | None = None) -> Response | None:
        """Count a request and return what it gets instead of an answer, or None to answer it."""
        self.requests[f"{source}.{kind}"] += 1
        fault = next((fault for fault in self.faults if fault.concerns(source, box, capture)), None)
        return fault.response() if fault else None

    def shelf(self, source: str, id_of: Callable[[Shot], str]) -> Shelf:
        """What a source has on offer, under its own ids; hidden shots are not."""
        return Shelf(self.world.of(source), id_of, self.vanished, self.moved)

    def cap(self, source: str, usual: int) -> int:
        """Most records of one answer: `usual`, unless it was lowered."""
        return min(usual, self.caps.get(source, usual))

    def clear(self) -> None:
        """Everything as it was."""
        for turned in (self.faults, self.vanished, self.moved, self.caps):
            turned.clear()
        if self.cloudflare is not None:
            self.cloudflare.clear_faults()
