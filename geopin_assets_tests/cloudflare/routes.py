"""Which call a request is: verb and path, as the official clients send them.

Here: the table of routes. Not here: what a call does (`vectorize.py`, `d1.py`, `d1_transfer.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from geopin_assets_tests.cloudflare.wire import Request

API = "/client/v4"
FILES = (
    "/files"  # stands for the storage that uploads and exports go through: its addresses are signed, no token needed
)
_INDEXES = API + "/accounts/{account}/vectorize/v2/indexes"
_DATABASES = API + "/accounts/{account}/d1/database"
_READING = re.compile(r"\s*(SELECT|EXPLAIN|PRAGMA)\b", re.IGNORECASE)


class Service(StrEnum):
    """The products of this stand-in."""

    VECTORIZE = "vectorize"
    D1 = "d1"
    FILES = "files"


class Fate(StrEnum):
    """What becomes of an accepted mutation."""

    VISIBLE = "visible"
    LOST = "lost"
    """It is never applied; those after it are."""
    STUCK = "stuck"
    """Nothing is applied any more, from this one on."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one service. `names` are the parts of the path in braces."""

    service: Service
    operation: str
    request: Request
    names: Mapping[str, str] = field(default_factory=dict)
    fate: Fate = Fate.VISIBLE

    @property
    def writes(self) -> bool:
        """Whether it changes anything; a D1 query does unless it only selects."""
        if self.service is Service.D1 and self.operation in ("query", "raw"):
            return not all(map(_READING.match, _statements(self.request.body)))
        return self.operation in _WRITES


_WRITES = {
    *("create_index", "delete_index", "insert", "upsert", "delete_by_ids"),
    *("create_metadata_index", "delete_metadata_index"),
    *("create_database", "delete_database", "import", "restore", "upload"),
}
_TABLE = (
    (Service.VECTORIZE, "create_index", "POST", _INDEXES),
    (Service.VECTORIZE, "list_indexes", "GET", _INDEXES),
    (Service.VECTORIZE, "get_index", "GET", _INDEXES + "/{index}"),
    (Service.VECTORIZE, "delete_index", "DELETE", _INDEXES + "/{index}"),
    (Service.VECTORIZE, "info", "GET", _INDEXES + "/{index}/info"),
    (Service.VECTORIZE, "insert", "POST", _INDEXES + "/{index}/insert"),
    (Service.VECTORIZE, "upsert", "POST", _INDEXES + "/{index}/upsert"),
    (Service.VECTORIZE, "query", "POST", _INDEXES + "/{index}/query"),
    (Service.VECTORIZE, "get_by_ids", "POST", _INDEXES + "/{index}/get_by_ids"),
    (Service.VECTORIZE, "delete_by_ids", "POST", _INDEXES + "/{index}/delete_by_ids"),
    (Service.VECTORIZE, "list_vectors", "GET", _INDEXES + "/{index}/list"),
    (Service.VECTORIZE, "create_metadata_index", "POST", _INDEXES + "/{index}/metadata_index/create"),
    (Service.VECTORIZE, "list_metadata_indexes", "GET", _INDEXES + "/{index}/metadata_index/list"),
    (Service.VECTORIZE, "delete_metadata_index", "POST", _INDEXES + "/{index}/metadata_index/delete"),
    (Service.D1, "create_database", "POST", _DATABASES),
    (Service.D1, "list_databases", "GET", _DATABASES),
    (Service.D1, "get_database", "GET", _DATABASES + "/{database}"),
    (Service.D1, "delete_database", "DELETE", _DATABASES + "/{database}"),
    (Service.D1, "query", "POST", _DATABASES + "/{database}/query"),
    (Service.D1, "raw", "POST", _DATABASES + "/{database}/raw"),
    (Service.D1, "import", "POST", _DATABASES + "/{database}/import"),
    (Service.D1, "export", "POST", _DATABASES + "/{database}/export"),
    (Service.D1, "bookmark", "GET", _DATABASES + "/{database}/time_travel/bookmark"),
    (Service.D1, "restore", "POST", _DATABASES + "/{database}/time_travel/restore"),
    (Service.FILES, "upload", "PUT", FILES + "/{file}"),
    (Service.FILES, "download", "GET", FILES + "/{file}"),
)
_ROUTES = [
    (verb, re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), service, operation)
    for service, operation, verb, path in _TABLE
]


def routed(request: Request) -> Call | None:
    """The call that a request is, None if there is no such route."""
    for verb, path, service, operation in _ROUTES:
        if verb == request.method and (match := path.fullmatch(request.path)):
            return Call(service, operation, request, match.groupdict())
    return None


def _statements(body: bytes) -> list[str]:
    """The SQL of a query's body; nothing for a body that is none."""
    try:
        query = orjson.loads(body)
        return [str(part["sql"]) for part in query.get("batch") or [query]]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return []
