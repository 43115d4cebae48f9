"""The registry of sources: one entry per module, in the order shown to people.

Everything that differs between sources follows from their classes; nothing else lists them.
"""

from geopin_assets.errors import ConfigurationError
from geopin_assets.http_client import HttpClient, Transport
from geopin_assets.http_client.redaction import secret_values
from geopin_assets.settings import Settings
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


def source_named(name: str) -> type[Source]:
    """The source registered under a name. Raises ConfigurationError naming those that exist."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise ConfigurationError(f"no source {name!r}; there are {', '.join(source.name for source in SOURCES)}")


def build_source(name: str, settings: Settings, *, transport: Transport | None = None) -> Source:
    """A source ready to crawl, with a client of its own at its own rate (lifted in the sandbox).

    Raises ConfigurationError if it is unknown or disabled. `transport` replaces the network in tests.
    """
    source = source_named(name)
    if reason := source.disabled_reason(settings):
        raise ConfigurationError(f"{name} is disabled: {reason}")
    client = HttpClient(
        name,
        contact=settings.contact,
        requests_per_second=SANDBOX_REQUESTS_PER_SECOND if settings.is_sandbox else source.requests_per_second,
        transport=transport,
        secrets=secret_values(settings.variables),
    )
    return source.from_settings(settings, client)
