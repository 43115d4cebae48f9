"""What a web server has, to be read: a publication on any of them.

Not here: reading objects (`object_store.py`). Nobody lists the web, or writes there.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from geopin_assets.errors import ConfigurationError
from geopin_assets.files.store_errors import understood

if TYPE_CHECKING:
    from obstore.store import ClientConfig, HTTPStore, RetryConfig

_TIMEOUT = "3600s"
"""Of one answer with all of its body, which may have gigabytes."""


def open_web(address: str) -> "HTTPStore":
    """Below an address; nothing is asked yet. Raises ConfigurationError for one with a key in it."""
    from obstore.store import HTTPStore

    if any(mark in address for mark in "@?#"):
        raise ConfigurationError("the address of a store holds no key, and nothing behind a ? or #")
    options: ClientConfig = {"allow_http": True, "connect_timeout": "20s", "timeout": _TIMEOUT}
    retry: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
    with understood(address):
        return HTTPStore.from_url(address.rstrip("/"), client_options=options, retry_config=retry)
