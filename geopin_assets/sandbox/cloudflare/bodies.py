"""JSON bodies of requests to Vectorize, and times in answers.

Here: the outermost shape. Not here: NDJSON (`vector_lines.py`), D1's bodies (`d1.py`), which are refused differently.
"""

from datetime import UTC, datetime
from typing import Any

import orjson

from geopin_assets.sandbox.cloudflare import refusals
from geopin_assets.sandbox.cloudflare.wire import Request


def json_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise refusals.NOT_JSON_TYPE()
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise refusals.NOT_JSON(str(error)) from error
    if not isinstance(body, dict):
        raise refusals.NOT_JSON("expected an object")
    return body


def listed_ids(request: Request, limit: int) -> list[str]:
    """The ids of a request, at most `limit`. Raises Refused."""
    ids = json_body(request).get("ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(id_, str) for id_ in ids):
        raise refusals.NOT_JSON("ids: expected a list of strings")
    if len(ids) > limit:
        raise refusals.TOO_MANY_IDS(limit, len(ids))
    return ids


def time_text(seconds: float) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
