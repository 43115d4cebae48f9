"""The numbers of Vectorize, D1 and the API in front of them, how far things lag behind, and counting requests.

Here: limits with their source and the pace of the emulator; all injectable, so that a test can meet a limit of
twenty million with three vectors. And the API's own limit: so many requests in five minutes over all products, then
none for the next five. Not here: what is answered beyond them (`refusals.py`), who is counted (`emulator.py`).

Sources: [docs] developers.cloudflare.com, "limits" of Vectorize, of D1 and of the API; [server] enforced but not
documented, seen in public reports; [workerd] measured on the engine of D1, workerd 1.20260730.1.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the service enforces."""

    requests_per_window: int = 1_200  # [docs] of one user, over all products
    window_s: float = 300.0  # [docs]
    block_s: float = 300.0  # [docs] every call is refused for this long after one too many

    indexes: int = 50_000  # [docs] per account
    index_name_bytes: int = 64  # [docs]
    min_dimensions: int = 32  # [server] "Dimensions must be in range: [32, 1536]"
    max_dimensions: int = 1_536  # [docs]
    vectors_per_index: int = 20_000_000  # [docs] changelog of 2026-08-04
    vectors_per_upsert: int = 5_000  # [docs] over HTTP
    upload_bytes: int = 100_000_000  # [docs]
    id_bytes: int = 64  # [docs]
    namespace_bytes: int = 64  # [docs]
    namespaces_per_index: int = 50_000  # [docs]
    metadata_bytes: int = 10_240  # [docs]
    metadata_indexes: int = 10  # [docs]
    indexed_bytes: int = 64  # [docs] what filters and `returnMetadata: indexed` see of a string
    filter_bytes: int = 2_048  # [docs] exclusive
    filter_key_characters: int = 512  # [docs]
    ids_per_delete: int = 100  # [server]
    ids_per_get: int = 20  # [server]
    top_k: int = 100  # [docs]
    top_k_with_values: int = 50  # [docs] with values or all metadata
    list_page: int = 1_000  # [docs]
    cursor_s: float = 3_600.0  # an hour is a guess; that cursors expire is documented

    database_bytes: int = 10_000_000_000  # [docs]
    statement_bytes: int = 100_000  # [docs, workerd]
    parameters: int = 100  # [docs, workerd]
    value_bytes: int = 2_000_000  # [docs] a string, BLOB or row; workerd alone takes more
    columns: int = 100  # [docs, workerd] of a table or a result
    function_arguments: int = 32  # [docs] workerd alone takes 127
    pattern_bytes: int = 50  # [docs, workerd] of LIKE and GLOB
    compound_terms: int = 5  # [workerd] SELECTs joined by UNION and the like
    expression_depth: int = 100  # [workerd]
    query_s: float = 30.0  # [docs] all of one API call
    import_bytes: int = 5_000_000_000  # [docs]
    import_poll_s: float = 15.0  # [server] an import that nobody asks after is canceled
    restores: int = 10  # [docs] of time travel, in `restores_s`
    restores_s: float = 600.0
    address_s: float = 3_600.0  # [docs] how long the address of an export works; of an upload too, as a guess


@dataclass(frozen=True, kw_only=True, slots=True)
class Lag:
    """How far the service is behind what it accepted. The real one: half a minute, and more for counts."""

    mutation_s: float = 0.2
    """From accepting a write to Vectorize until reads see it."""
    count_s: float = 2.0
    """How much older than reads `vectorCount` is."""
    import_s: float = 0.0
    """How long D1 works on an import; 0 answers `complete` at once, as it does for small files."""


class RateBlock:
    """Counts one user's requests; `clock` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._seen: deque[float] = deque()
        self._blocked_until = float("-inf")

    def spend(self) -> float | None:
        """Count one request; seconds until requests are answered again, or None if this one is."""
        now = self._clock()
        self._forget(now)
        if now >= self._blocked_until and len(self._seen) >= self._limits.requests_per_window:
            self._blocked_until = now + self._limits.block_s
        if now < self._blocked_until:
            return self._blocked_until - now
        self._seen.append(now)
        return None

    def headers(self) -> dict[str, str]:
        """What every answer says about the limit."""
        now = self._clock()
        first = self._seen[0] if self._seen else now
        reset_s = max(0, round(first + self._limits.window_s - now))
        limit, left = self._limits.requests_per_window, self._limits.requests_per_window - len(self._seen)
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": str(reset_s),
            "ratelimit": f'"default";r={left};t={reset_s}',
            "ratelimit-policy": f'"default";q={limit};w={self._limits.window_s:.0f}',
        }

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0] <= now - self._limits.window_s:
            self._seen.popleft()
