"""The registry of sources: one entry each, in the order shown to people.

Everything that differs between sources follows from their classes; nothing else lists them. A source is a module, or a
folder whose `__init__.py` holds the class, its facts and the generator; beside it `read.py` understands what the
provider answers, and `ask.py` and `tiles.py`, where there are such, ask. Not here: crawling (`crawl.py`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING

from geopin_assets.environment import refuse_unknown
from geopin_assets.errors import ConfigurationError
from geopin_assets.http_client import DailyUse, HttpClient, Politeness, Quota, build_politeness, shared_politeness
from geopin_assets.settings import Settings
from geopin_assets.sources.amsterdam import Amsterdam
from geopin_assets.sources.base import Source
from geopin_assets.sources.europeana import Europeana
from geopin_assets.sources.flickr import Flickr
from geopin_assets.sources.kartaview import KartaView
from geopin_assets.sources.mapilio import Mapilio
from geopin_assets.sources.mapillary import Mapillary
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets.sources.panoramax import Panoramax
from geopin_assets.sources.stac import Stac
from geopin_assets.sources.wikimedia_commons import WikimediaCommons
from geopin_assets.variables import PER_SOURCE

if TYPE_CHECKING:
    from geopin_assets.http_client.transport import Transport

SOURCES: tuple[type[Source], ...] = (
    Mapillary,
    KartaView,
    Panoramax,
    Mapilio,
    Amsterdam,
    WikimediaCommons,
    Flickr,
    Europeana,
    Stac,
    OwnPhotos,
)

_SLOW_ANSWER_S = 5.0
SANDBOX_REQUESTS_PER_SECOND = 1000.0  # nobody else is on a loopback stand-in


def source_named(name: str) -> type[Source]:
    """The source registered under a name. Raises ConfigurationError naming those that exist."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise ConfigurationError(f"no source {name!r}; there are {', '.join(source.name for source in SOURCES)}")


def refuse_strangers(settings: Settings) -> None:
    """Raises ConfigurationError for a rate or budget of a source or kind that does not exist, naming the nearest."""
    known = {f"GEOPIN_{source.name}_REQUESTS_PER_SECOND".upper() for source in SOURCES}
    known |= {f"GEOPIN_{source.name}_{kind}_PER_DAY".upper() for source in SOURCES for kind in source.quotas}
    refuse_unknown(filter(PER_SOURCE.fullmatch, settings.variables), known)


def rate_per_s(source: type[Source], settings: Settings) -> float:
    """Requests a second that a source is asked at: its own rate, lifted in the sandbox.

    `GEOPIN_<SOURCE>_REQUESTS_PER_SECOND` replaces it where the operator agrees, as for a server of one's own.
    Raises ConfigurationError for anything but a number above 0, at most 1000.
    """
    refuse_strangers(settings)
    usual = SANDBOX_REQUESTS_PER_SECOND if settings.is_sandbox else source.requests_per_second
    return settings.requests_per_second(source.name) or usual


def cells_at_once(source: type[Source], settings: Settings) -> int:
    """How many cells are crawled side by side: more than its rate keeps busy would only all end late."""
    return max(1, min(source.concurrency, ceil(rate_per_s(source, settings) * _SLOW_ANSWER_S)))


def quotas_of(source: type[Source], settings: Settings) -> dict[str, Quota]:
    """Quotas of a source by kind of request, "" for those that name none; rates are lifted in the sandbox.

    `GEOPIN_<SOURCE>_<KIND>_PER_DAY` replaces a daily budget. Raises ConfigurationError for a wrong number.
    """
    own = {}
    for kind, quota in source.quotas.items():
        stated = settings.requests_per_day(source.name, kind)
        per_second = SANDBOX_REQUESTS_PER_SECOND if settings.is_sandbox else quota.per_second
        own[kind] = replace(quota, per_second=per_second, per_day=quota.per_day if stated is None else stated)
    return {"": Quota(per_second=rate_per_s(source, settings)), **own}


@contextmanager
def open_source(
    name: str, settings: Settings, *, left_s: float = inf, transport: "Transport | None" = None
) -> Iterator[Source]:
    """A source ready to crawl, with a client of its own at its rate (`quotas_of`), closed at the end.

    All clients of a source in all processes of an installation share its rate, its pauses, its circuit breaker and its
    daily budgets. Raises ConfigurationError if the source is unknown, disabled or given a
    wrong rate. After `left_s` it asks for nothing more. `transport` replaces the network in tests.
    """
    source = source_named(name)
    if reason := source.disabled_reason(settings):
        raise ConfigurationError(f"{name} is disabled: {reason}")
    quotas = quotas_of(source, settings)
    server = f"{name}@sandbox:{settings.sandbox_port}" if settings.is_sandbox else name
    with HttpClient(
        name,
        contact=settings.contact,
        politeness=build_politeness(quotas)
        if transport
        else _politeness(settings.use_place, server, tuple(sorted(quotas.items()))),
        daily_use=DailyUse(settings.use_place),
        deadline_s=source.deadline_s,
        left_s=left_s,
        max_bytes=source.max_bytes,
        transport=transport,
        secrets=settings.secrets,
    ) as client:
        yield source.from_settings(settings, client)


@lru_cache
def _politeness(place: Path | str, server: str, quotas: tuple[tuple[str, Quota], ...]) -> Mapping[str, Politeness]:
    """The same for the life of the process: what it heard of a source, its next client knows."""
    return shared_politeness(dict(quotas), place, server)
