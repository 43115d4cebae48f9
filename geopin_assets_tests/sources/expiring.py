"""An example of a source whose links expire: `https://images.example/<id>?expires=<hour>` is good before that hour.

Here: the source and its world. Not here: any assertion.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import Cell
from geopin_assets.http_client import HttpClient, Tally
from geopin_assets.settings import Settings
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.links import Links

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@dataclass
class World:
    """What the example's servers have: new links by id. Notes what they are asked."""

    links: Mapping[str, object] = field(default_factory=dict)
    error: Exception | None = None
    fails_after: int = 0
    """Calls that go well before the error."""
    asked: list[list[str]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    open_now: int = 0


def link(id_: str, expires: int, base: str = "https://images.example") -> str:
    return f"{base}/{id_}?expires={expires}"


class Expiring(Source):
    name = "expiring"
    endpoint = "https://api.expiring.example"
    license = "CC0-1.0"
    attribution = "Expiring"

    def __init__(self, world: World) -> None:
        self._world = world

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Expiring":
        return cls(World())

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        raise AssertionError("nobody crawls here")

    @classmethod
    def is_link_expired(cls, image_url: str, now: datetime) -> bool:
        return image_url.startswith(f"{cls.name}:") or int(image_url.partition("expires=")[2]) <= now.hour

    def image_urls(self, ids: Sequence[str], tally: Tally) -> dict[str, str]:
        tally.requests += 1
        self._world.asked.append(list(ids))
        if self._world.error and len(self._world.asked) > self._world.fails_after:
            raise self._world.error
        return {id_: self._world.links[id_] for id_ in ids if id_ in self._world.links}  # type: ignore[misc]


class Lasting(Expiring):
    name = "lasting"

    @classmethod
    def is_link_expired(cls, image_url: str, now: datetime) -> bool:
        return False


SOURCES: Mapping[str, type[Expiring]] = {"expiring": Expiring, "lasting": Lasting}


def source_named(name: str) -> type[Source]:
    if name not in SOURCES:
        raise ConfigurationError(f"no source {name!r}")
    return SOURCES[name]


def links_of(world: World, now: datetime = NOW) -> Links:
    @contextmanager
    def open_source(name: str) -> Iterator[Source]:
        world.opened.append(name)
        world.open_now += 1
        yield SOURCES[name](world)
        world.open_now -= 1

    return Links(open_source, source_named, now=lambda: now)
