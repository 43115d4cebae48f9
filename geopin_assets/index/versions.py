"""Index versions: which index searches use, which one is being built, and which are kept until told otherwise.

    building ──switch──► serving ──(the next one's switch)──► retired ──drop──► gone

Here: our record of them, in the ledger's SQLite file, and what the index itself tells whoever searches it without
knowing this project: the version whose state is `serving` is the one to search. Not here: what is in an index
(`ledger.py`), or whether one is complete (`defs/`). A new model, or a removal of so much that deleting it would take
longer than publishing the rest, is a new version: searches use the old one until then.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from geopin_assets.errors import ConfigurationError, DamagedFileError
from geopin_assets.files.sqlite import opened, transaction
from geopin_assets.index.protocol import index_name

_SCHEMA = """
CREATE TABLE IF NOT EXISTS index_versions (
  backend TEXT NOT NULL, model_id TEXT NOT NULL, number INTEGER NOT NULL, dim INTEGER NOT NULL,
  shards INTEGER NOT NULL, state TEXT NOT NULL, since TEXT NOT NULL,
  PRIMARY KEY (backend, model_id, number)
) WITHOUT ROWID
"""
_COLUMNS = "model_id, number, dim, shards, state, since"


class State(StrEnum):
    """What an index version is for."""

    BUILDING = "building"
    SERVING = "serving"
    RETIRED = "retired"
    DROPPED = "dropped"
    """Remembered, because Cloudflare does not let the name of a deleted index be used again."""


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One index of one model, in so many shards."""

    model_id: str
    number: int
    dim: int
    shards: int
    state: State
    since: datetime
    """When it came into this state."""

    @property
    def name(self) -> str:
        return index_name(self.model_id, self.number)

    def shard_names(self) -> list[str]:
        """What the indexes themselves are called; the only shard has the version's own name."""
        if self.shards == 1:
            return [self.name]
        return [index_name(self.model_id, self.number, shard) for shard in range(self.shards)]


class IndexVersions:
    """The versions in one backend (`backend` names it, e.g. `embedded`). Every change is one transaction."""

    def __init__(self, path: Path, backend: str) -> None:
        self._path, self._backend = path, backend

    def all(self) -> list[IndexVersion]:
        """Every version that was not dropped, the newest of a model last."""
        return _kept(self._read())

    def serving(self) -> IndexVersion | None:
        """The one that searches use; None before the first publish."""
        return _serving(self._read())

    def building(self, model_id: str) -> IndexVersion | None:
        """The one of this model that is being built."""
        return _building(self._read(), model_id)

    def target(self, model_id: str) -> IndexVersion | None:
        """The one that vectors of a model are published to, if there is one yet: being built, else what serves."""
        return _target(self._read(), model_id)

    def publishing(self, model_id: str, dim: int, *, shards: int, now: datetime) -> IndexVersion:
        """The one that vectors of a model are published to: what is being built, else what serves.

        The very first index serves at once; one of another model than the serving one's is built beside it.
        `shards` counts for a new version only: an index never changes its number of shards.
        """
        if target := self.target(model_id):
            return target
        with transaction(self._path, _SCHEMA) as connection:  # two may come here at once, and one of them adds it
            found = self._found(connection)
            state = State.BUILDING if _serving(found) else State.SERVING
            return _target(found, model_id) or self._add(connection, model_id, dim, shards, state, now)

    def rebuild(self, model_id: str, dim: int, *, shards: int, now: datetime) -> IndexVersion:
        """Begin a new version of a model; where one is being built already, that."""
        with transaction(self._path, _SCHEMA) as connection:
            building = _building(self._found(connection), model_id)
            return building or self._add(connection, model_id, dim, shards, State.BUILDING, now)

    def replaced(self, lost: IndexVersion, *, shards: int, now: datetime) -> IndexVersion:
        """Another version in the place of one whose index was deleted, in its state; where others did so, theirs."""
        with transaction(self._path, _SCHEMA) as connection:
            found = self._found(connection)
            if (target := _target(found, lost.model_id)) and not _is_same(target, lost):
                return target
            self._set(connection, State.DROPPED, now, "model_id = ? AND number = ?", (lost.model_id, lost.number))
            return self._add(connection, lost.model_id, lost.dim, shards, lost.state, now)

    def news(self, told: Iterable[IndexVersion]) -> list[IndexVersion]:
        """Those of which others know something newer than our record, or anything where there is none."""
        return _news(self._read(), told)

    def adopt(self, told: Iterable[IndexVersion]) -> None:
        """Believe the news. One version serves then: whichever came to do so last."""
        with transaction(self._path, _SCHEMA) as connection:
            found = self._found(connection)
            known, new = {(v.model_id, v.number): v for v in found}, _news(found, told)
            known |= {(v.model_id, v.number): v for v in new}
            serving = sorted((v for v in known.values() if v.state is State.SERVING), key=lambda v: v.since)
            known |= {(v.model_id, v.number): replace(v, state=State.RETIRED) for v in serving[:-1]}
            rows = [
                (self._backend, v.model_id, v.number, v.dim, v.shards, v.state.value, v.since.isoformat())
                for v in known.values()
            ]
            connection.executemany("INSERT OR REPLACE INTO index_versions VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def switch(self, version: IndexVersion, now: datetime) -> None:
        """Searches use this version from now on; the one before is retired.

        Raises ConfigurationError for one that was dropped meanwhile.
        """
        with transaction(self._path, _SCHEMA) as connection:
            if not any(_is_same(kept, version) for kept in _kept(self._found(connection))):
                raise ConfigurationError(f"{version.name} was dropped meanwhile")
            self._set(connection, State.RETIRED, now, "state = 'serving'", ())
            self._set(connection, State.SERVING, now, "model_id = ? AND number = ?", (version.model_id, version.number))

    def drop(self, version: IndexVersion, now: datetime) -> None:
        """Forget a version whose vectors are gone. Raises ConfigurationError for the one that searches use."""
        with transaction(self._path, _SCHEMA) as connection:
            _refuse_serving(self._found(connection), version)
            self._set(connection, State.DROPPED, now, "model_id = ? AND number = ?", (version.model_id, version.number))

    def check_may_drop(self, version: IndexVersion) -> None:
        """Raises ConfigurationError for the one that searches use."""
        _refuse_serving(self._read(), version)

    def outlived(self, before: datetime) -> list[IndexVersion]:
        """Versions that were retired before a moment, except the newest retired one: searches could go back to it."""
        retired = sorted((v for v in self.all() if v.state is State.RETIRED), key=lambda version: version.since)
        return [version for version in retired[:-1] if version.since < before]

    def named(self, name: str) -> IndexVersion:
        """Raises ConfigurationError for a name that is none, listing those that are."""
        for version in self.all():
            if version.name == name:
                return version
        raise ConfigurationError(f"no index {name!r}: {', '.join(v.name for v in self.all()) or 'there is none yet'}")

    def _read(self) -> list[IndexVersion]:
        """Makes no ledger where there is none: that would say that this machine publishes."""
        if not self._path.exists():
            return []
        with opened(self._path, _SCHEMA) as connection:
            return self._found(connection)

    def _found(self, connection: sqlite3.Connection) -> list[IndexVersion]:
        sql = f"SELECT {_COLUMNS} FROM index_versions WHERE backend = ? ORDER BY model_id, number"  # noqa: S608
        rows = connection.execute(sql, (self._backend,)).fetchall()
        try:
            return [
                IndexVersion(model_id, number, dim, shards, State(state), datetime.fromisoformat(since))
                for model_id, number, dim, shards, state, since in rows
            ]
        except (TypeError, ValueError) as error:
            said = (
                f"{self._path}: a version of the index that is none: {error}. Move it away, and run `geopin reconcile`"
            )
            raise DamagedFileError(said) from error

    def _add(
        self, connection: sqlite3.Connection, model_id: str, dim: int, shards: int, state: State, now: datetime
    ) -> IndexVersion:
        sql = "SELECT coalesce(max(number), 0) + 1 FROM index_versions WHERE backend = ? AND model_id = ?"
        (number,) = connection.execute(sql, (self._backend, model_id)).fetchone()
        row = (self._backend, model_id, number, dim, shards, state.value, now.isoformat())
        connection.execute("INSERT INTO index_versions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return IndexVersion(model_id, number, dim, shards, state, now)

    def _set(
        self, connection: sqlite3.Connection, state: State, now: datetime, where: str, params: tuple[object, ...]
    ) -> None:
        """Later than whatever is known, also by a clock that was set back: whichever came last counts (`_news`)."""
        now = max([now, *(version.since + timedelta(microseconds=1) for version in self._found(connection))])
        sql = f"UPDATE index_versions SET state = ?, since = ? WHERE backend = ? AND {where}"  # noqa: S608
        connection.execute(sql, (state.value, now.isoformat(), self._backend, *params))


def _news(found: Iterable[IndexVersion], told: Iterable[IndexVersion]) -> list[IndexVersion]:
    known = {(v.model_id, v.number): v for v in found}
    return [v for v in told if not (old := known.get((v.model_id, v.number))) or old.since < v.since]


def _kept(found: Iterable[IndexVersion]) -> list[IndexVersion]:
    return [version for version in found if version.state is not State.DROPPED]


def _serving(found: Iterable[IndexVersion]) -> IndexVersion | None:
    return next((version for version in found if version.state is State.SERVING), None)


def _building(found: Iterable[IndexVersion], model_id: str) -> IndexVersion | None:
    return next((v for v in found if v.model_id == model_id and v.state is State.BUILDING), None)


def _target(found: Sequence[IndexVersion], model_id: str) -> IndexVersion | None:
    """What is being built of a model, else what serves if it is of that model."""
    serving = _serving(found)
    return _building(found, model_id) or (serving if serving and serving.model_id == model_id else None)


def _is_same(one: IndexVersion, other: IndexVersion) -> bool:
    """Whatever state each was read in."""
    return (one.model_id, one.number) == (other.model_id, other.number)


def _refuse_serving(found: Iterable[IndexVersion], version: IndexVersion) -> None:
    """Raises ConfigurationError for the one that searches use now, however old the object in hand is."""
    serving = _serving(found)
    if serving and _is_same(serving, version):
        raise ConfigurationError(f"{version.name} is the index that searches use: switch to another one first")
