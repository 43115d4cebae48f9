"""The first load of a D1 table: rows as files of SQL, and the calls that import a file.

Here: statements, files, and the states of an import. Not here: the store (`d1.py`).

An import is init (the service names an address), PUT, ingest, and poll until it says "complete". When the
service knows the file already, init has started the import. `complete` is the only success: "Not
currently importing anything" is said of one that was cut off as well. A failed import leaves the
database as it was, and a file can be imported twice: its statements write only rows that differ.

A file is some tens of MB in statements as long as allowed: imports of 300,000 small statements failed for memory
(workers-sdk#7554), and what the service counts are statements.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import polars as pl
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from geopin_assets.errors import PermanentError, TransientError
from geopin_assets.index.cloudflare.answers import RequestTooLarge, classify, field
from geopin_assets.index.cloudflare.api import CloudflareApi
from geopin_assets.index.limits import IMPORT_FILE_BYTES, IMPORT_STATEMENT_BYTES
from geopin_assets.index.protocol import WriteResult
from geopin_assets.index.tables import Table, hashed_rows
from geopin_assets.index.targets import Tally
from geopin_assets.index.waiting import Wait

ATTEMPTS = 4
_log = logging.getLogger(__name__)


def import_statements(table: Table, rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows (`tables.hashed_rows`) in the upserts of `tables.py`, of at most IMPORT_STATEMENT_BYTES.

    The JSON is in the statement where a request has a parameter: as SQL literals, 16 of 200,000 headings came back
    with another last bit (SQLite 3.40).
    """
    before, after = table.upsert_sql.encode().split(b"?1")
    head, tail = before + b"'[", b"]'" + after + b";"
    room = IMPORT_STATEMENT_BYTES - len(head) - len(tail)
    for together in _filled((row.replace(b"'", b"''") for row in rows), room):
        if len(together[0]) > room:
            raise PermanentError(f"{table.name}: a row too long for a statement: {together[0][:80]!r}")
        yield head + b",".join(together) + tail


def import_files(table: Table, frames: Iterable[pl.DataFrame]) -> Iterator[list[bytes]]:
    """Statements for the rows of all frames, file by file; of the frames only one is held at a time."""
    rows = (row for frame in frames for row in hashed_rows(table, frame))
    return _filled(import_statements(table, rows), IMPORT_FILE_BYTES)


class Importer:
    """Imports files into the database at `path` below the account; `tally` counts the requests."""

    def __init__(self, api: CloudflareApi, path: str, wait: Wait, tally: Tally) -> None:
        self._api, self._path, self._wait, self._tally = api, path, wait, tally
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=5, max=60) + wait_random(0, 5),
            sleep=wait.sleep,
            reraise=True,
        )

    def run(self, statements: Sequence[bytes]) -> WriteResult:
        """Import a file, in halves if it is too large; `requests` is left to the tally."""
        _log.warning("%s answers no queries while %d statements are imported", self._path, len(statements))
        try:
            meta = field(self._retrying(self._import, b"\n".join(statements)), "meta")
        except RequestTooLarge:
            if len(statements) == 1:
                raise
            half = len(statements) // 2
            return self.run(statements[:half]) + self.run(statements[half:])
        return WriteResult(meta.get("changes", 0), meta.get("rows_written", 0))

    def _import(self, file: bytes) -> Any:
        """One try, from the beginning: a file that arrived before is not sent again."""
        etag = hashlib.md5(file, usedforsecurity=False).hexdigest()
        state = self._post(action="init", etag=etag)
        if "upload_url" in state:
            if (arrived := self._api.upload(state["upload_url"], file)) != etag:
                raise TransientError(f"{self._path}: the upload arrived as {arrived}, not {etag}")
            state = self._post(action="ingest", filename=field(state, "filename"), etag=etag)
        return self._result(state)

    def _result(self, state: Any) -> Any:
        ends_at = self._wait.clock() + timedelta(seconds=self._wait.timeout_s)
        while state.get("status") != "complete":
            if self._wait.clock() >= ends_at:
                raise TransientError(f"{self._path}: import not complete after {self._wait.timeout_s:.0f} s")
            self._wait.sleep(self._wait.poll_s)
            state = self._post(action="poll", current_bookmark=field(state, "at_bookmark"))
        return field(state, "result")

    def _post(self, **body: str) -> Any:
        """The state of the import. Raises what it says went wrong."""
        state = self._api.call("POST", f"{self._path}/import", body=body, tally=self._tally)
        if state.get("success") is False or state.get("status") == "error":
            said = state.get("error") or "; ".join(map(str, state.get("errors") or ["no reason given"]))
            raise classify(f"{self._path}: import failed: {said}")
        return state


def _filled(items: Iterable[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """Items in order, as many together as fit with a separator each; at least one."""
    together: list[bytes] = []
    size = 0
    for item in items:
        if together and size + len(item) + 1 > most_bytes:
            yield together
            together, size = [], 0
        together.append(item)
        size += len(item) + 1
    if together:
        yield together
