"""Vectorize v2: its operations over the indexes of one account.

Here: what each call takes, checks and gives; JSON bodies; lists of ids, page by page, as the index was when the first
page was asked for. Not here: the format of uploads (`vector_lines.py`), searches (`vector_query.py`), what is stored
and when it becomes visible (`vector_store.py`).
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.limits import Lag, Limits
from geopin_assets_tests.cloudflare.routes import Call
from geopin_assets_tests.cloudflare.vector_lines import uploaded
from geopin_assets_tests.cloudflare.vector_query import VectorQuery
from geopin_assets_tests.cloudflare.vector_store import Index, VectorStore
from geopin_assets_tests.cloudflare.wire import Answer, Request, accepted

_NAME = re.compile(r"[a-z]+[a-z0-9_-]*[a-z0-9]+")
_METRICS = ("cosine", "euclidean", "dot-product")
_KINDS = ("string", "number", "boolean")
_PRESETS = {
    "@cf/baai/bge-small-en-v1.5": 384,
    "@cf/baai/bge-base-en-v1.5": 768,
    "@cf/baai/bge-large-en-v1.5": 1024,
    "openai/text-embedding-ada-002": 1536,
    "cohere/embed-multilingual-v2.0": 768,
}


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


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is left of a snapshot."""

    ids: list[str]
    total: int
    expires_at: float


class Listings:
    """The lists that clients are in the middle of. `clock` gives seconds."""

    def __init__(self, store: VectorStore, limits: Limits, clock: Callable[[], float]) -> None:
        self._store, self._limits, self._clock = store, limits, clock
        self._rests: dict[str, _Rest] = {}

    def page(self, query: Mapping[str, str], index: str) -> dict[str, Any]:
        """One page. Raises Refused."""
        count = self._count(query.get("count", "100"))
        rest = self._rest(query.get("cursor"), index)
        page, left = rest.ids[:count], rest.ids[count:]
        return {
            "count": len(page),
            "totalCount": rest.total,
            "isTruncated": bool(left),
            "nextCursor": self._kept(replace(rest, ids=left)) if left else None,
            "cursorExpirationTimestamp": time_text(rest.expires_at) if left else None,
            "vectors": [{"id": id_} for id_ in page],
        }

    def _count(self, stated: str) -> int:
        if not stated.isdecimal() or not 1 <= int(stated) <= self._limits.list_page:
            raise refusals.COUNT(self._limits.list_page)
        return int(stated)

    def _rest(self, cursor: str | None, index: str) -> _Rest:
        if cursor is None:
            ids = self._store.ids(index)
            return _Rest(ids, len(ids), self._clock() + self._limits.cursor_s)
        self._rests = {key: rest for key, rest in self._rests.items() if rest.expires_at > self._clock()}
        if cursor not in self._rests:
            raise refusals.INVALID_CURSOR()
        return self._rests[cursor]

    def _kept(self, rest: _Rest) -> str:
        cursor = secrets.token_urlsafe(24)
        self._rests[cursor] = rest
        return cursor


class Vectorize:
    """The service; a context manager. `clock` gives seconds."""

    def __init__(self, folder: Path | None, limits: Limits, lag: Lag, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._store = VectorStore(folder, lag, clock)
        self._listings = Listings(self._store, limits, clock)
        self._operations: dict[str, Callable[[Call, Index], Answer]] = {
            "get_index": lambda call, index: accepted(_described(index)),
            "delete_index": self._delete_index,
            "info": self._info,
            "insert": self._write,
            "upsert": self._write,
            "query": self._query,
            "get_by_ids": self._get_by_ids,
            "delete_by_ids": self._delete_by_ids,
            "list_vectors": self._list_vectors,
            "create_metadata_index": self._create_metadata_index,
            "list_metadata_indexes": self._list_metadata_indexes,
            "delete_metadata_index": self._delete_metadata_index,
        }

    def __enter__(self) -> "Vectorize":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def release(self) -> None:
        self._store.release()

    def answer(self, call: Call) -> Answer:
        """Perform a call. Raises Refused."""
        self._store.advance()
        if call.operation == "create_index":
            return self._create_index(call.request)
        if call.operation == "list_indexes":
            return accepted([_described(index) for index in self._store.indexes()])
        index = self._store.index(call.names["index"])
        if index is None:
            raise refusals.NO_INDEX(call.names["index"])
        if index.is_deleted:
            raise refusals.DELETED_INDEX(index.name)
        return self._operations[call.operation](call, index)

    def _create_index(self, request: Request) -> Answer:
        body = json_body(request)
        name, config = body.get("name"), body.get("config")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name.encode()) > self._limits.index_name_bytes:
            raise refusals.INVALID_NAME(name)
        dimensions, metric = _configuration(config, self._limits)
        if self._store.index(name) is not None:
            raise refusals.DUPLICATE_INDEX(name)
        if len(self._store.indexes()) >= self._limits.indexes:
            raise refusals.TOO_MANY_INDEXES(self._limits.indexes)
        self._store.create(name, body.get("description"), dimensions, metric)
        created = self._store.index(name)
        return accepted(created and _described(created), 201)

    def _delete_index(self, call: Call, index: Index) -> Answer:
        self._store.delete(index.name)
        return accepted(None)

    def _info(self, call: Call, index: Index) -> Answer:
        return accepted(
            {
                "dimensions": index.dimensions,
                "vectorCount": self._store.late_count(index.name),
                "processedUpToDatetime": None if index.processed_at is None else time_text(index.processed_at),
                "processedUpToMutation": index.processed_mutation,
            }
        )

    def _write(self, call: Call, index: Index) -> Answer:
        vectors = uploaded(call.request, call.operation, index.dimensions, self._limits)
        self._check_room(index, {v.id for v in vectors}, {v.namespace for v in vectors if v.namespace})
        return _mutation(self._store.append(index.name, call.operation, call.fate, vectors=vectors))

    def _check_room(self, index: Index, ids: set[str], namespaces: set[str]) -> None:
        """Cheap while there is plenty of room: ids are only compared when an index may be full."""
        most, most_names = self._limits.vectors_per_index, self._limits.namespaces_per_index
        may_be_full = self._store.most(index.name) + len(ids) > most
        if may_be_full and len(self._store.upcoming(index.name, "vector_id") | ids) > most:
            raise refusals.INDEX_FULL(most)
        if namespaces and len(self._store.upcoming(index.name, "namespace") | namespaces) > most_names:
            raise refusals.TOO_MANY_NAMESPACES(most_names)

    def _query(self, call: Call, index: Index) -> Answer:
        query = VectorQuery.parsed(json_body(call.request), self._limits)
        return accepted(query.matches(index, self._store))

    def _get_by_ids(self, call: Call, index: Index) -> Answer:
        found = self._store.rows(index.name, listed_ids(call.request, self._limits.ids_per_get))
        return accepted([row.shown() for row in found])

    def _delete_by_ids(self, call: Call, index: Index) -> Answer:
        ids = listed_ids(call.request, self._limits.ids_per_delete)
        return _mutation(self._store.append(index.name, call.operation, call.fate, payload=ids))

    def _list_vectors(self, call: Call, index: Index) -> Answer:
        return accepted(self._listings.page(call.request.query, index.name))

    def _create_metadata_index(self, call: Call, index: Index) -> Answer:
        body = json_body(call.request)
        name, kind = body.get("propertyName"), body.get("indexType")
        if kind not in _KINDS:
            raise refusals.NOT_JSON(f"indexType: one of {', '.join(_KINDS)}")
        if not isinstance(name, str) or not name or name.startswith("$") or '"' in name:
            raise refusals.INVALID_METADATA_INDEX(f"propertyName {name!r}")
        made = {known for known, _ in self._store.properties(index.name).values()}
        if len(made | self._store.pending_properties(index.name) | {name}) > self._limits.metadata_indexes:
            raise refusals.INVALID_METADATA_INDEX(f"at most {self._limits.metadata_indexes} per index")
        payload = {"propertyName": name, "indexType": kind}
        return _mutation(self._store.append(index.name, call.operation, call.fate, payload=payload))

    def _list_metadata_indexes(self, call: Call, index: Index) -> Answer:
        made = self._store.properties(index.name).values()
        return accepted({"metadataIndexes": [{"propertyName": name, "indexType": kind} for name, kind in made]})

    def _delete_metadata_index(self, call: Call, index: Index) -> Answer:
        name = json_body(call.request).get("propertyName")
        if name not in {known for known, _ in self._store.properties(index.name).values()}:
            raise refusals.INVALID_METADATA_INDEX(f"a metadata index on {name!r} does not exist")
        return _mutation(self._store.append(index.name, call.operation, call.fate, payload={"propertyName": name}))


def _configuration(config: Any, limits: Limits) -> tuple[int, str]:
    if not isinstance(config, dict):
        raise refusals.INVALID_CONFIG("Config must be provided")
    if "preset" in config:
        if config["preset"] not in _PRESETS:
            raise refusals.INVALID_CONFIG(f"preset {config['preset']!r}")
        return _PRESETS[config["preset"]], "cosine"
    dimensions, metric = config.get("dimensions"), config.get("metric")
    if metric not in _METRICS:
        raise refusals.INVALID_CONFIG(f"metric {metric!r}")
    if type(dimensions) is not int or not limits.min_dimensions <= dimensions <= limits.max_dimensions:
        raise refusals.DIMENSIONS(limits)
    return dimensions, metric


def _described(index: Index) -> Mapping[str, Any]:
    created = time_text(index.created_at)
    return {
        "created_on": created,
        "modified_on": created,
        "name": index.name,
        "description": index.description or "",
        "config": {"dimensions": index.dimensions, "metric": index.metric},
    }


def _mutation(id_: str) -> Answer:
    return accepted({"mutationId": id_})
