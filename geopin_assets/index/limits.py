"""Cloudflare's limits, and the checks every backend runs before it sends anything.

Here: numbers with their source, and functions that raise PermanentError with the service's own
code where one is known. Not here: how a request is sent, or what is published. The embedded
backends run the same checks: a stand-in that is more lenient than the service hides the error
until the first real publish.

Sources: [docs] developers.cloudflare.com, the "limits" pages of Vectorize and D1 and "API rate limits";
[server] enforced but undocumented, seen in public reports (wevm/vocs#577, n8n-nodes-cloudflare#1,
second-brain-cloudflare#89); [ours] chosen within those, for the reason given.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from geopin_assets.capture import MAX_VECTOR_ID_BYTES
from geopin_assets.errors import PermanentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Every call of the API
WINDOW_S = 300.0  # [docs] in which a user may send 1,200 requests, all his programs and the dashboard together
BLOCK_S = 300.0  # [docs] a user beyond that is refused everything this long, with 429
OUR_REQUESTS_PER_WINDOW = 1_000  # [ours] leaves 200 to the dashboard and to other programs of the same user
OUR_BURST = 100  # [ours] small publishes go at once, the rest at 3 a second

# Vectorize
VECTORS_PER_UPSERT = 5_000  # [docs] over HTTP
MAX_UPSERT_BYTES = 100_000_000  # [docs] "100 MB"
VECTORS_PER_INDEX = 20_000_000  # [docs] changelog of 2026-08-04
IDS_PER_DELETE = 100  # [server] 40007
IDS_PER_GET = 20  # [server] 40007
IDS_PER_LIST = 1_000  # [docs] a page of ids
MAX_METADATA_BYTES = 10 * 1024  # [docs] per vector
INDEXED_STRING_BYTES = 64  # [docs] filters see this much of a string
MAX_FILTER_BYTES = 2_048  # [docs] compact JSON, exclusive
MAX_TOP_K = 100  # [docs] ids and scores only; 50 with values or all metadata
MAX_INDEX_NAME_LENGTH = 64  # [docs]

# D1
MAX_STATEMENT_BYTES = 100_000  # [docs] UTF-8 bytes, not characters
MAX_PARAMETERS = 100  # [docs] bound per statement
MAX_VALUE_BYTES = 2_000_000  # [docs] a string or a row
ROWS_PER_REQUEST = 5_000  # [ours] as one JSON parameter, 56,000 rows/s measured against 15,000 with small ones
BYTES_PER_REQUEST = 1_000_000  # [ours] half of what one value may hold
IMPORT_STATEMENT_BYTES = 95_000  # [ours] below MAX_STATEMENT_BYTES
IMPORT_FILE_BYTES = 30_000_000  # [docs] "tens of MB"; 5 GB are allowed and failed (workers-sdk#7554, #11958)

FILTER_OPERATORS = ("$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin")  # [docs] joined by AND, there is no OR


def check_vectors(vectors: pl.DataFrame, schema: Mapping[str, pl.DataType], dim: int) -> None:
    """Raise PermanentError unless these rows can be upserted in one request (schema: `protocol.vector_schema`)."""
    import numpy as np

    if vectors.height > VECTORS_PER_UPSERT:
        raise PermanentError(f"{vectors.height} vectors in one upsert; at most {VECTORS_PER_UPSERT}")
    if dict(vectors.schema) != dict(schema):
        raise PermanentError(f"40023: an index of {dim} dimensions takes {dict(schema)}, not {dict(vectors.schema)}")
    if vectors.select(pl.col("vector_id", "embedding", "source", "cell_block").is_null().any()).row(0).count(True):
        raise PermanentError("40023: a vector without id, values, source or cell_block")
    if not np.isfinite(vectors["embedding"].to_numpy()).all():
        raise PermanentError("40023: a vector holds NaN or infinity")
    if vectors["vector_id"].is_duplicated().any():
        raise PermanentError("an id occurs twice in one upsert; which one wins is not documented")
    _check_sizes(vectors)


def _check_sizes(vectors: pl.DataFrame) -> None:
    longest = vectors.select(pl.col("vector_id").str.len_bytes().max()).item() or 0
    if longest > MAX_VECTOR_ID_BYTES:
        raise PermanentError(f"an id of {longest} bytes; at most {MAX_VECTOR_ID_BYTES}")
    metadata = vectors.select("source", "cell_block", "captured_year")
    largest = metadata.select(pl.struct(pl.all()).struct.json_encode().str.len_bytes().max()).item() or 0
    if largest > MAX_METADATA_BYTES:
        raise PermanentError(f"{largest} bytes of metadata on one vector; at most {MAX_METADATA_BYTES}")


def check_ids(ids: Sequence[str], limit: int) -> None:
    """Raise PermanentError 40007 when a request names more ids than the service takes."""
    if len(ids) > limit:
        raise PermanentError(f"40007: too many ids in payload; max id count is {limit}, got {len(ids)}")


def check_top_k(top_k: int, most: int = MAX_TOP_K) -> None:
    """Raise PermanentError 40025 when more matches are asked for than one query returns."""
    if not 1 <= top_k <= most:
        raise PermanentError(f"40025: topK={top_k}; between 1 and {most} for this kind of query")


def check_query_vector(vector: "NDArray[np.float32]", dim: int) -> None:
    """Raise PermanentError unless it has `dim` finite numbers."""
    import numpy as np

    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise PermanentError(f"a query takes {dim} finite numbers, not an array of shape {vector.shape}")


def check_filter(where: Mapping[str, Any], metadata_indexes: Sequence[str]) -> None:
    """Raise PermanentError for a filter that is too long, or one the service would not understand."""
    if len(orjson.dumps(where)) >= MAX_FILTER_BYTES:
        raise PermanentError(f"a filter of {len(orjson.dumps(where))} bytes; below {MAX_FILTER_BYTES}")
    if unknown := sorted(set(where) - set(metadata_indexes)):
        raise PermanentError(f"no metadata index on {', '.join(unknown)}: only indexed properties can be filtered")
    operators = {operator for condition in where.values() if isinstance(condition, Mapping) for operator in condition}
    if unknown := sorted(operators.difference(FILTER_OPERATORS)):
        raise PermanentError(f"unknown filter operator {unknown[0]}; there are {', '.join(FILTER_OPERATORS)}")


def check_statement(sql: str, params: Sequence[Any]) -> None:
    """Raise PermanentError (D1's code 7500) for a statement or parameters beyond D1's limits."""
    if len(sql.encode()) > MAX_STATEMENT_BYTES:
        raise PermanentError("7500: statement too long: SQLITE_TOOBIG")
    if len(params) > MAX_PARAMETERS:
        raise PermanentError(f"7500: too many SQL variables: {len(params)}, at most {MAX_PARAMETERS}")
    if any(len(value.encode()) > MAX_VALUE_BYTES for value in params if isinstance(value, str)):
        raise PermanentError(f"7500: a parameter is longer than {MAX_VALUE_BYTES} bytes: SQLITE_TOOBIG")
