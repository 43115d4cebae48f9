"""Lists of vector ids, page by page, as the index was when the first page was asked for.

Here: snapshots and cursors. Not here: what an index holds (`vector_store.py`).
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from geopin_assets.sandbox.cloudflare import refusals
from geopin_assets.sandbox.cloudflare.bodies import time_text
from geopin_assets.sandbox.cloudflare.limits import Limits
from geopin_assets.sandbox.cloudflare.vector_store import VectorStore


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
