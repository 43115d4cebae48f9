"""What goes wrong on demand, before or after the service did its work.

Here: which calls a fault meets and what it makes of their answers. Not here: the routes that set them
(the sandbox's `server.py`), failures that follow from the state of a service, as a database in the middle of an import.

    status        `status` (500), `code` and `message`, with Retry-After if `retry_after_s` is set
    unsuccessful  200 with `success: false`
    reset         the connection ends in the middle of the answer
    hang          no answer
    truncated     half of the answer as if that were all
    lost          a mutation of Vectorize is accepted and never applied; those after it are
    stuck         a mutation of Vectorize is accepted, and from it on nothing is applied until faults are cleared

`committed` says whether the work was done all the same: a 500, a hang or a reset tell the client nothing about it.
A truncated answer always comes after the work. Which calls: `service` (vectorize, d1, files), `access` (read,
write), `path` (a shell pattern over the path, as `*/upsert`); the first `after` of them pass, then `share` of them
are met (evenly spread, or drawn from `seed` if there is one), at most `times`.
"""

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from geopin_assets_tests.cloudflare.routes import Call, Fate
from geopin_assets_tests.cloudflare.wire import Answer, Ending, Refused, refused

D1_RETRY = (
    "D1 DB reset because its code was updated.",
    "Internal error while starting up D1 DB storage caused object to be reset.",
    "Network connection lost.",
    "Internal error in D1 DB storage caused object to be reset.",
    "Cannot resolve D1 DB due to transient issue on remote node.",
    "Can't read from request stream because client disconnected.",
    "D1 DB is overloaded. Requests queued for too long.",
    "D1 DB is overloaded. Too many requests queued.",
)
"""What D1 says when the same request may pass later, as its documentation lists it."""
D1_TOO_MUCH = (
    "D1 DB storage operation exceeded timeout which caused object to be reset.",
    "D1 DB's isolate exceeded its memory limit and was reset.",
    "D1 DB exceeded its CPU time limit and was reset.",
)
"""What D1 says when only a smaller request can pass."""


class Kind(StrEnum):
    """What a fault does."""

    STATUS = "status"
    UNSUCCESSFUL = "unsuccessful"
    RESET = "reset"
    HANG = "hang"
    TRUNCATED = "truncated"
    LOST = "lost"
    STUCK = "stuck"


_ENDINGS = {Kind.RESET: Ending.RESET, Kind.HANG: Ending.HANG, Kind.TRUNCATED: Ending.TRUNCATED}
_FATES = {Kind.LOST: Fate.LOST, Kind.STUCK: Fate.STUCK}
_AFTER_THE_WORK = {Kind.TRUNCATED, *_FATES}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudflareFault:
    """One fault, see the module. Raises ValueError for words and shares that mean nothing."""

    kind: str = Kind.STATUS
    status: int = 500
    code: int = 10001
    message: str = "Internal server error"
    retry_after_s: int | None = None
    committed: bool = False
    service: str | None = None
    access: str | None = None
    path: str = "*"
    after: int = 0
    share: float = 1.0
    seed: int | None = None
    times: int | None = None
    _turns: Any = field(default_factory=lambda: count(1), compare=False, repr=False)
    _met: Any = field(default_factory=lambda: count(1), compare=False, repr=False)
    _dice: random.Random = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in set(Kind):
            raise ValueError(f"kind {self.kind!r}: one of {', '.join(Kind)}")
        if self.access not in (None, "read", "write"):
            raise ValueError(f"access {self.access!r}: read or write")
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share!r}: above 0, at most 1")
        object.__setattr__(self, "_dice", random.Random(self.seed))

    @property
    def is_before(self) -> bool:
        """Whether the call is answered without being performed."""
        return not self.committed and self.kind not in _AFTER_THE_WORK

    @property
    def fate(self) -> Fate:
        """What becomes of the mutation that the call makes."""
        return _FATES.get(Kind(self.kind), Fate.VISIBLE)

    def meets(self, call: Call) -> bool:
        """Whether this call is met; counts turns."""
        if self.service not in (None, call.service) or not fnmatchcase(call.request.path, self.path):
            return False
        if self.access is not None and call.writes != (self.access == "write"):
            return False
        turn = next(self._turns) - self.after
        return turn > 0 and self._falls_on(turn) and (self.times is None or next(self._met) <= self.times)

    def spoil(self, answer: Answer) -> Answer:
        """What reaches the client instead of an answer."""
        if self.kind == Kind.STATUS:
            headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
            return refused(Refused(self.status, self.code, self.message, headers=headers))
        if self.kind == Kind.UNSUCCESSFUL:
            return refused(Refused(200, self.code, self.message))
        return replace(answer, ending=_ENDINGS.get(Kind(self.kind), Ending.WHOLE))

    def _falls_on(self, turn: int) -> bool:
        if self.seed is not None:
            return self._dice.random() < self.share
        return int(turn * self.share) > int((turn - 1) * self.share)
