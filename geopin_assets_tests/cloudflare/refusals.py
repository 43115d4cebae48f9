"""Everything the service refuses, with its status, code and message.

Here: wording only. Not here: who decides (`vectorize.py`, `d1.py` and the modules they use). The codes and messages
are those of the live service as public reports quote them, except where no report names a code: those carry
CODE_NOT_KNOWN, so that nothing comes to depend on a number that was made up. Of Vectorize's statuses only 400 is
reported; 404, 409 and 410 follow what official clients expect.
"""

from dataclasses import dataclass
from typing import Any

from geopin_assets_tests.cloudflare.wire import Refused

CODE_NOT_KNOWN = 40000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of refusal; called with what goes into its text, it gives the one to raise."""

    status: int
    code: int
    text: str
    result: Any = None

    def __call__(self, *values: object) -> Refused:
        return Refused(self.status, self.code, self.text.format(*values), self.result)


# --- the API -------------------------------------------------------------------------------------

TOO_MANY_REQUESTS = Refusal(429, 971, "Please wait and consider throttling your request speed")
NO_TOKEN = Refusal(401, 10000, "Authentication error")
NO_PERMISSION = Refusal(403, 10000, "Authentication error")
NO_ROUTE = Refusal(404, 7003, "Could not route to {}, perhaps your object identifier is invalid?")
TIMEOUT = Refusal(504, 7009, "Upstream service unavailable")

# --- Vectorize: indexes --------------------------------------------------------------------------

NO_INDEX = Refusal(404, 3000, 'vectorize.index.not_found - Index name "{}"')
DELETED_INDEX = Refusal(410, 3005, 'vectorize.index.deleted - Index name "{}" was deleted')
DUPLICATE_INDEX = Refusal(409, 3002, 'vectorize.index.duplicate_name - Index name "{}"')
"""Also for a name that belonged to an index deleted since: names are never free again."""
INVALID_CONFIG = Refusal(400, CODE_NOT_KNOWN, "vectorize.index.invalid_config - {}")
DIMENSIONS = Refusal(
    400,
    CODE_NOT_KNOWN,
    "vectorize.index.invalid_config - Dimensions must be in range: [{0.min_dimensions}, {0.max_dimensions}]",
)
INVALID_NAME = Refusal(400, CODE_NOT_KNOWN, "vectorize.index.invalid_name - Index name {!r}")
TOO_MANY_INDEXES = Refusal(400, CODE_NOT_KNOWN, "at most {} indexes per account")
INVALID_METADATA_INDEX = Refusal(400, CODE_NOT_KNOWN, "invalid metadata index: {}")

# --- Vectorize: bodies ---------------------------------------------------------------------------

UNKNOWN_CONTENT_TYPE = Refusal(400, 1005, "vectorize.unknown_content_type")
NOT_JSON_TYPE = Refusal(400, 40026, "Expected request with `Content-Type: application/json`")
NOT_JSON = Refusal(400, 40026, "Failed to parse the request body as JSON: {}")
UNPARSABLE_LINE = Refusal(
    400, 40023, "failed to parse {} vectors request in ndjson format: line Some({}) was not expected format"
)
UPLOAD_TOO_LARGE = Refusal(413, CODE_NOT_KNOWN, "request body too large; max is {} bytes")
TOO_MANY_VECTORS = Refusal(400, CODE_NOT_KNOWN, "too many vectors in payload; max vector count is {}, got {}")
TOO_MANY_IDS = Refusal(400, 40007, "too many ids in payload; max id count is {}, got {}")

# --- Vectorize: vectors --------------------------------------------------------------------------

INDEX_FULL = Refusal(400, CODE_NOT_KNOWN, "too many vectors in index; max vector count is {}")
TOO_MANY_NAMESPACES = Refusal(400, CODE_NOT_KNOWN, "too many namespaces in index; max namespace count is {}")
ID_TOO_LONG = Refusal(400, 40008, "id too long; max is {} bytes, got {} bytes")
NAMESPACE_TOO_LONG = Refusal(400, CODE_NOT_KNOWN, "namespace too long; max is {} bytes, got {} bytes")
VECTOR_DIMENSIONS = Refusal(400, 40012, 'invalid vector for id="{}", expected {} dimensions, and got {} dimensions')
VECTOR_NOT_FINITE = Refusal(400, CODE_NOT_KNOWN, 'invalid vector for id="{}", a value is not a finite float32')
OVERSIZED_METADATA = Refusal(
    400,
    40016,
    'oversized metadata for vector id="{}"; the compact JSON representation of the metadata '
    "must not exceed {} bytes, got {} bytes",
)
METADATA_KEY = Refusal(
    400, CODE_NOT_KNOWN, 'invalid metadata key for vector id="{}": {!r} is empty, has . or ", or starts with $'
)

# --- Vectorize: searches and lists ---------------------------------------------------------------

QUERY_DIMENSIONS = Refusal(400, 40006, "invalid query vector, expected {} dimensions, and got {} dimensions")
TOP_K = Refusal(400, 40025, "max top K is {}, but got {}")
TOP_K_WITH_VALUES = Refusal(
    400,
    40025,
    "with returnValues=true or returnMetadata=all, max top K is {0.top_k_with_values}, but got {1}; "
    "for a top K up to {0.top_k}, retry with returnValues=false and returnMetadata=indexed",
)
NO_VECTOR = Refusal(404, CODE_NOT_KNOWN, 'vector with id="{}" not found')
INVALID_FILTER = Refusal(400, CODE_NOT_KNOWN, "invalid filter: {}")
COUNT = Refusal(400, CODE_NOT_KNOWN, "count must be between 1 and {}")
INVALID_CURSOR = Refusal(400, CODE_NOT_KNOWN, "cursor is unknown or expired")

# --- D1 ------------------------------------------------------------------------------------------

SQL = Refusal(400, 7500, "{}", [])
DATABASE_FULL = Refusal(400, 7500, "Exceeded maximum DB size", [])
IMPORTING = Refusal(400, 7500, "Currently processing a long-running import.", [])
MALFORMED = Refusal(400, 7400, "{}")
INVALID_UUID = Refusal(400, 7400, "Invalid property: databaseId => Invalid uuid")
NO_DATABASE = Refusal(404, 7404, "The database {} could not be found")
DUPLICATE_DATABASE = Refusal(400, 7502, "A database with that name already exists")
TOO_MANY_RESTORES = Refusal(429, CODE_NOT_KNOWN, "too many restores of this database; wait a few minutes")
NO_BOOKMARK = Refusal(400, CODE_NOT_KNOWN, "{!r} is no bookmark that this database handed out lately")
