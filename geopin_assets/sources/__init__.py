"""The registry of sources: one entry per module, in the order shown to people.

Everything that differs between sources follows from their classes; nothing else lists them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from geopin_assets.errors import ConfigurationError
from geopin_assets.http_client import HttpClient, Transport
from geopin_assets.http_client.redaction import secret_values
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.amsterdam import Amsterdam
from geopin_assets.sources.base import Source
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets.sources.panoramax import Panoramax

SOURCES: tuple[type[Source], ...] = (
    Panoramax,
    Amsterdam,
    OwnPhotos,
)

SANDBOX_REQUESTS_PER_SECOND = 200.0  # nobody else is on a loopback stand-in
MAX_REQUESTS_PER_SECOND = 1000.0  # more than one client reaches


def source_named(name: str) -> type[Source]:
    """The source registered under a name. Raises ConfigurationError naming those that exist."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise ConfigurationError(f"no source {name!r}; there are {', '.join(source.name for source in SOURCES)}")


def rate_per_s(source: type[Source], settings: Settings) -> float:
    """Requests a second that a source is asked at: its own rate, lifted in the sandbox.

    `GEOPIN_<SOURCE>_REQUESTS_PER_SECOND` replaces it where the operator agrees, as for a server of one's own.
    Raises ConfigurationError for anything but a number above 0, at most 1000.
    """
    variable = f"GEOPIN_{source.name.upper()}_REQUESTS_PER_SECOND"
    stated = settings.variables.get(variable, "").strip()
    if not stated:
        return SANDBOX_REQUESTS_PER_SECOND if settings.is_sandbox else source.requests_per_second
    rate = fields.number(stated)
    if rate is None or not 0 < rate <= MAX_REQUESTS_PER_SECOND:
        raise ConfigurationError(f"{variable}={stated!r}: choose a number above 0, at most {MAX_REQUESTS_PER_SECOND:g}")
    return rate


@contextmanager
def open_source(name: str, settings: Settings, *, transport: Transport | None = None) -> Iterator[Source]:
    """A source ready to crawl, with a client of its own at its rate (`rate_per_s`), closed at the end.

    Raises ConfigurationError if it is unknown, disabled or given a wrong rate. `transport` replaces the network
    in tests.
    """
    source = source_named(name)
    if reason := source.disabled_reason(settings):
        raise ConfigurationError(f"{name} is disabled: {reason}")
    with HttpClient(
        name,
        contact=settings.contact,
        requests_per_second=rate_per_s(source, settings),
        transport=transport,
        secrets=secret_values(settings.variables),
    ) as client:
        yield source.from_settings(settings, client)
