"""The polite HTTP client: identity, rate, retries by class of error, deadlines, size and redirect guards.

Here: one synchronous client per source (or service), shared by all its threads; the only package
that knows httpx. Not here: any provider's addresses, parameters or error bodies; a provider whose
statuses lie passes a `judge`.

What an answer means, unless the judge says otherwise:

    429, 503 with Retry-After   everybody waits that long, then again; a wait above `max_wait_s` is a TransientError
    408, 425, 5xx, timeouts,    retried with exponential backoff and jitter, then TransientError
    connection errors
    202                         the same, but it says nothing against the source: it is still working on the answer
    203                         200, by way of a proxy
    401, 403                    PermanentError; nothing more is sent for a while (asking on makes a ban worse)
    3xx, other 4xx              PermanentError at once; redirects are never followed (a login page would be a 200)
    200, not JSON               TransientError (retried) if it begins like JSON and was cut; else PayloadError
    200, too large; headers     PayloadError
    larger than 100 kB

A rate that a provider grants an account or an address, not a process, is kept where all of them look (`state.py`).

Messages name the source, the URL's path and the status, never a query, header or known secret.
"""

from geopin_assets.http_client.body import Body
from geopin_assets.http_client.client import AccessDenied, HttpClient, KeyRefused, NotFound, user_agent
from geopin_assets.http_client.exchange import Answer, How, Judge, Tally, asked_wait_s
from geopin_assets.http_client.politeness import (
    CircuitBreaker,
    DailyUse,
    Politeness,
    Quota,
    build_politeness,
    shared_politeness,
)
from geopin_assets.http_client.rate import SharedBucket
from geopin_assets.http_client.redaction import hide_path
from geopin_assets.http_client.state import MOMENT, OwnState, SharedState, State, Values

__all__ = [
    "MOMENT",
    "AccessDenied",
    "Answer",
    "Body",
    "CircuitBreaker",
    "DailyUse",
    "How",
    "HttpClient",
    "Judge",
    "KeyRefused",
    "NotFound",
    "OwnState",
    "Politeness",
    "Quota",
    "SharedBucket",
    "SharedState",
    "State",
    "Tally",
    "Values",
    "asked_wait_s",
    "build_politeness",
    "hide_path",
    "shared_politeness",
    "user_agent",
]
