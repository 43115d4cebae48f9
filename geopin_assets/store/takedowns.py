"""The takedown list: captures that never come back, whatever a source shows. A file that only grows, and its copies.

Each act is a line with a number: the newest about a capture counts, and of two with the same number the takedown.
Copies hold the same lines (beside the raw files, in the embedded index's folder; the rows store has a table). What any
of them has is in the list: a lost or older file is restored by the next use, and nothing shortens it. The first line
says whose list it is: the installation's id.

Here: the list. Not here: what it makes others do. Raw files are stored without what is on it (`defs/assets/raw.py`),
the catalog applies it (`catalog.py`), publishing leaves it out (`index/publish.py`), `defs/running/takedown.py`
removes the rest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from uuid import uuid4

import polars as pl

from geopin_assets.files.journal import Journal, Line, Lines, check_of, encode, found, parse
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore

TAKEDOWNS = "takedowns.jsonl"
"""What the file and its copies are called."""
REMEDY = "Nothing is embedded or published until `geopin takedown --mend` has made it whole from what its copies hold"
TAKEDOWN_SCHEMA = pl.Schema({"capture_id": pl.String(), "taken_down_at": pl.Datetime("us", "UTC"), "note": pl.String()})
"""One row per capture on the list."""
_ID = "installation_id"


@dataclass(frozen=True, slots=True)
class Mended:
    """What mending did: the damaged files under their new names, lines in them that are lost unless a copy had them."""

    set_aside: list[str]
    bad_lines: int


class Takedowns:
    """The list at `path` and its copies. Safe to use from several processes.

    Everything raises DamagedFileError where a line cannot be read, and TransientError where a copy cannot be asked:
    nobody ever takes that for "no takedowns".
    """

    def __init__(self, path: Path, copies: Callable[[], Sequence[ObjectStore]] = tuple) -> None:
        self._journal, self._copies = Journal(path, remedy=REMEDY), copies

    def take_down(self, capture_ids: Sequence[str], *, note: str, now: datetime) -> None:
        """Put captures on the list, on the disk when this returns; copies follow with `sync`.

        One that is on the list already keeps its day, and its note unless there is a new one.
        """
        self._append(capture_ids, note, now, is_taken_down=True)

    def undo(self, capture_ids: Sequence[str], *, now: datetime) -> list[str]:
        """Take captures off the list, so that the next crawl may bring them back; returns those that were on it."""
        gone = sorted(self.ids().intersection(capture_ids))
        self._append(gone, "", now, is_taken_down=False)
        self.sync()
        return gone

    def sync(self, more: Iterable[Line] = ()) -> list[Line]:
        """Have the file and every copy hold what any of them holds, and `more`; all of it. Writes only where needed."""
        more, held, copied = list(more), self._journal.read(), self._copied()
        if not _unknown(held, chain(*copied, more)) and not any(_unknown(lines, held) for lines in copied):
            return held
        return self._journal.extend(lambda held: _unknown(held, chain(*self._copied(), more)), self._copy)

    def adopt(self, listed: pl.DataFrame) -> None:
        """Put on the list what it has never heard of: TAKEDOWN_SCHEMA, of a catalog older than the file or beside a
        lost one."""
        known = {line["capture_id"] for line in self.lines() if _ID not in line}
        rows = listed.filter(~pl.col("capture_id").is_in(known)).sort("taken_down_at", "capture_id")
        for (since, note), some in rows.group_by("taken_down_at", "note", maintain_order=True):
            self._append(some["capture_id"].to_list(), str(note), since, is_taken_down=True)

    def installation_id(self, candidate: str = "") -> str:
        """Whose list this is: made up by its first use, or the candidate then."""
        if found := _id_of(self.lines()):
            return found
        first = {_ID: candidate or uuid4().hex}
        return _id_of(self._journal.extend(lambda held: [] if _id_of(held) else [first]))

    def mend(self) -> Mended | None:
        """Set damaged files aside and make them whole from what can be read of all; None if none was damaged."""
        copied = [(copy, found(partial(_content, copy))) for copy in self._copies()]
        bad = len(found(self._journal.content).bad) + sum(len(lines.bad) for _, lines in copied)
        if not bad:
            return None
        sound = [line for _, lines in copied for line in lines.lines]
        places = [copy.address(copy.set_aside(TAKEDOWNS) or TAKEDOWNS) for copy, lines in copied if lines.bad]
        place = self._journal.mend(lambda held: _unknown(held, sound))
        self.sync(sound)
        return Mended([*map(str, filter(None, [place])), *places], bad)

    def lines(self) -> list[Line]:
        """What any of the files holds. Makes none."""
        held = self._journal.read()
        return [*held, *_unknown(held, chain(*self._copied()))]

    def listed(self) -> pl.DataFrame:
        """The whole list, TAKEDOWN_SCHEMA, oldest first."""
        rows = [(capture_id, *about) for capture_id, about in _state(self.lines()).items()]
        return pl.DataFrame(rows, schema=TAKEDOWN_SCHEMA, orient="row").sort("taken_down_at", "capture_id")

    def ids(self) -> frozenset[str]:
        """Every capture on the list."""
        return frozenset(_state(self.lines()))

    def of(self, source: str) -> frozenset[str]:
        """Captures of one source that are on the list."""
        return frozenset(capture_id for capture_id in self.ids() if capture_id.startswith(f"{source}:"))

    def _append(self, capture_ids: Sequence[str], note: str, now: datetime, *, is_taken_down: bool) -> None:
        def acts(held: list[Line]) -> list[Line]:
            number = max([int(now.timestamp() * 1e6), *(line.get("number", 0) + 1 for line in held)])
            about = {"is_taken_down": is_taken_down, "at": now.isoformat(), "note": note}
            down = _state(held) if is_taken_down else {}
            ids = [one for one in dict.fromkeys(capture_ids) if one not in down or note not in ("", down[one][1])]
            return [{"number": number + nth, "capture_id": capture_id, **about} for nth, capture_id in enumerate(ids)]

        self._journal.extend(acts)

    def _copied(self) -> list[list[Line]]:
        return [_parsed(copy).sound(copy.address(TAKEDOWNS), REMEDY) for copy in self._copies()]

    def _copy(self, lines: list[Line]) -> None:
        for copy in self._copies():
            if _unknown(_parsed(copy).lines, lines):
                copy.put(TAKEDOWNS, encode(lines))


def whose(copy: ObjectStore) -> str:
    """The installation whose list a copy is; empty where there is none."""
    return _id_of(_parsed(copy).lines)


def _parsed(copy: ObjectStore) -> Lines:
    return parse(_content(copy))


def _content(copy: ObjectStore) -> bytes:
    try:
        return copy.get(TAKEDOWNS)
    except NoSuchObjectError:
        return b""


def _unknown(held: Iterable[Line], more: Iterable[Line]) -> list[Line]:
    """Those of `more` that are not held yet, each once. Only the first installation's id is taken."""
    known, has_id = {check_of(line) for line in held}, bool(_id_of(held))
    new: list[Line] = []
    for line in more:
        if (check := check_of(line)) not in known and not (has_id and _ID in line):
            known.add(check)
            new.append(line)
            has_id = has_id or _ID in line
    return new


def _id_of(lines: Iterable[Line]) -> str:
    return next((str(line[_ID]) for line in lines if _ID in line), "")


def _state(lines: Iterable[Line]) -> dict[str, tuple[datetime, str]]:
    """capture_id -> since when it is down, and why."""
    down: dict[str, tuple[datetime, str]] = {}
    acts = (line for line in lines if _ID not in line)
    for act in sorted(acts, key=lambda act: (act["number"], act["is_taken_down"])):
        capture_id = act["capture_id"]
        if not act["is_taken_down"]:
            down.pop(capture_id, None)
            continue
        since, note = down.get(capture_id, (datetime.fromisoformat(act["at"]).astimezone(UTC), ""))
        down[capture_id] = since, act["note"] or note
    return down
