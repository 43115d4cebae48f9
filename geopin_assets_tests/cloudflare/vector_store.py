"""What an account's indexes hold, and the log of mutations that are not applied yet.

Here: one SQLite database, in a file or in memory, and time: a mutation is applied when its lag is over, in order.
Not here: rules and refusals (`vectorize.py`), searching (`vector_query.py`).

Applying is SQL over what was written with the mutation: 5,000 vectors of 512 take 60 ms. The metadata indexes that
exist at that moment are what the vectors are `covered` by, for good: an index made later does not see them.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from geopin_assets_tests.cloudflare.limits import Lag
from geopin_assets_tests.cloudflare.routes import Fate
from geopin_assets_tests.cloudflare.vector_lines import Vector

_SCHEMA = """
CREATE TABLE IF NOT EXISTS indexes (
  name TEXT PRIMARY KEY, description TEXT, dimensions INT, metric TEXT, created_at REAL, is_deleted INT DEFAULT 0,
  processed_mutation TEXT, processed_at REAL
);
CREATE TABLE IF NOT EXISTS properties (id INTEGER PRIMARY KEY AUTOINCREMENT, index_name TEXT, name TEXT, kind TEXT);
CREATE TABLE IF NOT EXISTS mutations (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, index_name TEXT, written_at REAL, operation TEXT, payload TEXT, fate TEXT
);
CREATE TABLE IF NOT EXISTS written (
  seq INT, position INT, vector_id TEXT, namespace TEXT, vals BLOB, metadata BLOB, PRIMARY KEY (seq, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
  index_name TEXT, vector_id TEXT, namespace TEXT, vals BLOB, metadata BLOB, covered TEXT,
  PRIMARY KEY (index_name, vector_id)
);
"""
_APPLY = (
    "{verb} INTO vectors SELECT :index, vector_id, namespace, vals, metadata, :covered FROM written "
    "WHERE seq = :seq ORDER BY position"
)
_DELETE = "DELETE FROM vectors WHERE index_name = :index AND vector_id IN (SELECT value FROM json_each(:payload))"
_STATEMENTS = {
    "upsert": _APPLY.format(verb="INSERT OR REPLACE"),
    "insert": _APPLY.format(verb="INSERT OR IGNORE"),
    "delete_by_ids": _DELETE,
    "create_metadata_index": (
        "INSERT INTO properties (index_name, name, kind) SELECT :index, :payload->>'propertyName', "
        ":payload->>'indexType' WHERE NOT EXISTS "
        "(SELECT 1 FROM properties WHERE index_name = :index AND name = :payload->>'propertyName')"
    ),
    "delete_metadata_index": "DELETE FROM properties WHERE index_name = :index AND name = :payload->>'propertyName'",
}


@dataclass(frozen=True, slots=True)
class Index:
    """One index: how it was created, how far it got."""

    name: str
    description: str | None
    dimensions: int
    metric: str
    created_at: float
    is_deleted: bool
    processed_mutation: str | None
    processed_at: float | None


@dataclass(frozen=True, slots=True)
class Stored:
    """One vector as it is held: float32 bytes, JSON, and the ids of the metadata indexes that see it as JSON."""

    id: str
    namespace: str | None
    values: bytes
    metadata: bytes | None
    covered: str

    def shown(self) -> dict[str, Any]:
        """The vector as it is sent; numbers are float32 written out as double."""
        found: dict[str, Any] = {"id": self.id, "values": np.frombuffer(self.values, np.float32).astype(float)}
        if self.namespace is not None:
            found["namespace"] = self.namespace
        if self.metadata is not None:
            found["metadata"] = orjson.loads(self.metadata)
        return found


class VectorStore:
    """The data plane of Vectorize. `clock` gives seconds; nothing here looks at it on its own: `advance` does."""

    def __init__(self, folder: Path | None, lag: Lag, clock: Callable[[], float]) -> None:
        self._lag, self._clock = lag, clock
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        path = ":memory:" if folder is None else folder / "vectorize.sqlite"
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")  # enough against a killed process
        self.connection.executescript(_SCHEMA)
        self._counts: dict[str, list[tuple[float, int]]] = {}

    def close(self) -> None:
        self.connection.close()

    def create(self, name: str, description: str | None, dimensions: int, metric: str) -> None:
        self._rows(
            "INSERT INTO indexes (name, description, dimensions, metric, created_at) VALUES (?, ?, ?, ?, ?)",
            (name, description, dimensions, metric, self._clock()),
        )

    def delete(self, name: str) -> None:
        """Empty an index and remember its name."""
        for table in ("vectors", "properties", "mutations"):
            self._rows(f"DELETE FROM {table} WHERE index_name = ?", (name,))  # noqa: S608
        self._rows("DELETE FROM written WHERE seq NOT IN (SELECT seq FROM mutations)")
        self._rows("UPDATE indexes SET is_deleted = 1 WHERE name = ?", (name,))
        self._counts.pop(name, None)

    def index(self, name: str) -> Index | None:
        return next((Index(*row) for row in self._rows("SELECT * FROM indexes WHERE name = ?", (name,))), None)

    def indexes(self) -> list[Index]:
        """Those that are not deleted, oldest first."""
        return [Index(*row) for row in self._rows("SELECT * FROM indexes WHERE NOT is_deleted ORDER BY rowid")]

    def properties(self, index: str) -> dict[int, tuple[str, str]]:
        """The applied metadata indexes: id -> (property, type)."""
        rows = self._rows("SELECT id, name, kind FROM properties WHERE index_name = ? ORDER BY id", (index,))
        return {id_: (name, kind) for id_, name, kind in rows}

    def pending_properties(self, index: str) -> set[str]:
        """Properties whose metadata indexes are yet to be made."""
        sql = "SELECT payload->>'propertyName' FROM mutations WHERE index_name = ? AND operation = ?"
        return {name for (name,) in self._rows(sql, (index, "create_metadata_index"))}

    def append(
        self, index: str, operation: str, fate: Fate, *, vectors: Sequence[Vector] = (), payload: Any = None
    ) -> str:
        """Log a mutation and return its id."""
        with self.connection:
            self.connection.execute("BEGIN")
            cursor = self.connection.execute(
                "INSERT INTO mutations (index_name, written_at, operation, payload, fate) VALUES (?, ?, ?, ?, ?)",
                (index, self._clock(), operation, json.dumps(payload), fate),
            )
            seq = cursor.lastrowid or 0
            rows = ((seq, n, v.id, v.namespace, v.values, v.metadata) for n, v in enumerate(vectors))
            self.connection.executemany("INSERT INTO written VALUES (?, ?, ?, ?, ?, ?)", rows)
        return mutation_id(seq)

    def advance(self) -> None:
        """Apply what is due, in the order it was written."""
        due = self._clock() - self._lag.mutation_s
        for row in self._rows("SELECT * FROM mutations ORDER BY seq"):
            seq, index, written_at, operation, payload, fate = row
            if written_at > due or fate == Fate.STUCK:
                return
            done_at = written_at + self._lag.mutation_s
            self.late_count(index)
            self._apply(seq, index, "lost" if fate == Fate.LOST else operation, payload, done_at)
            self._counts[index].append((done_at, self.count(index)))

    def release(self) -> None:
        """Let stuck mutations go on."""
        self._rows("UPDATE mutations SET fate = ? WHERE fate = ?", (Fate.VISIBLE, Fate.STUCK))

    def count(self, index: str) -> int:
        return int(self._rows("SELECT count(*) FROM vectors WHERE index_name = ?", (index,))[0][0])

    def most(self, index: str) -> int:
        """More vectors than this an index cannot come to hold by what was written so far."""
        return self.count(index) + int(self._rows("SELECT count(*) FROM written")[0][0])

    def late_count(self, index: str) -> int:
        """The count of some time ago, to three figures: what `vectorCount` says."""
        counts = self._counts.setdefault(index, [(float("-inf"), self.count(index))])
        past = [count for at, count in counts if at <= self._clock() - self._lag.count_s]
        del counts[: len(past) - 1]
        count = counts[0][1]
        return int(float(f"{count:.3g}"))

    def upcoming(self, index: str, column: str) -> set[str]:
        """Ids (`vector_id`) or namespaces that an index has or will have when everything is applied, at most."""
        sql = (
            f"SELECT {column} FROM vectors WHERE index_name = :index UNION SELECT w.{column} FROM written w "  # noqa: S608
            "JOIN mutations m ON m.seq = w.seq WHERE m.index_name = :index"
        )
        return {value for (value,) in self._rows(sql, {"index": index}) if value is not None}

    def ids(self, index: str) -> list[str]:
        sql = "SELECT vector_id FROM vectors WHERE index_name = ? ORDER BY vector_id"
        return [vector_id for (vector_id,) in self._rows(sql, (index,))]

    def rows(self, index: str, ids: Sequence[str] | None = None) -> list[Stored]:
        """All vectors of an index or some, by id."""
        which = "" if ids is None else "AND vector_id IN (SELECT value FROM json_each(:ids))"
        sql = (
            "SELECT vector_id, namespace, vals, metadata, covered FROM vectors "  # noqa: S608
            f"WHERE index_name = :index {which} ORDER BY vector_id"
        )
        return [Stored(*row) for row in self._rows(sql, {"index": index, "ids": json.dumps(ids)})]

    def _apply(self, seq: int, index: str, operation: str, payload: str, done_at: float) -> None:
        covered = json.dumps(list(self.properties(index)))
        names = {"seq": seq, "index": index, "payload": payload, "covered": covered}
        with self.connection:
            self.connection.execute("BEGIN")
            if operation in _STATEMENTS:
                self.connection.execute(_STATEMENTS[operation], names)
            self.connection.execute("DELETE FROM written WHERE seq = ?", (seq,))
            self.connection.execute("DELETE FROM mutations WHERE seq = ?", (seq,))
            done = (mutation_id(seq), done_at, index)
            self.connection.execute("UPDATE indexes SET processed_mutation = ?, processed_at = ? WHERE name = ?", done)

    def _rows(self, sql: str, values: Any = ()) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()


def mutation_id(seq: int) -> str:
    """Opaque, and the same for the same place in the log."""
    digest = blake2b(str(seq).encode(), digest_size=16).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
