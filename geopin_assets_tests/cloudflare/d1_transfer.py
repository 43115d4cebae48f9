"""Whole files in and out of D1: /import with its upload and polling, /export with its download.

Here: the protocol of both, as the official client drives it. Not here: SQL (`d1_database.py`).

    import   init (md5) -> upload address · PUT the file there · ingest -> poll until `status` is `complete`
             init answers with the state of an import at once, without an address, when the file is known
    export   POST until `status` is `complete`, then GET `signed_url`

An import is one transaction; until it ends, queries are refused. Its outcome is told once: from then on a poll only
says that nothing is imported, whether it went well or not. One that nobody polls is canceled.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.d1 import D1, d1_body
from geopin_assets_tests.cloudflare.d1_database import Outcome, Statement
from geopin_assets_tests.cloudflare.d1_sql import statements
from geopin_assets_tests.cloudflare.limits import Lag, Limits
from geopin_assets_tests.cloudflare.routes import FILES, Call
from geopin_assets_tests.cloudflare.wire import Answer, Refused, accepted

_MD5 = re.compile(r"[0-9a-f]{32}")
_DENIED = b"<Error><Code>AccessDenied</Code></Error>"
_SUMS = ("changes", "rows_read", "rows_written", "duration")


@dataclass(slots=True)
class _Import:
    """An import that is on its way."""

    file: str
    bookmark: str
    done_at: float
    polled_at: float


@dataclass(slots=True)
class _File:
    """Something uploaded, or exported and there until `expires_at`."""

    body: bytes
    expires_at: float = field(default=float("inf"))


class Transfer:
    """Imports and exports of all databases. `clock` gives seconds; `origin` starts the addresses of files."""

    def __init__(self, d1: D1, limits: Limits, lag: Lag, clock: Callable[[], float], origin: str) -> None:
        self._d1, self._limits, self._lag, self._clock, self._origin = d1, limits, lag, clock, origin
        self._files: dict[str, _File] = {}
        self._addresses: dict[str, float] = {}
        self._imports: dict[str, _Import] = {}
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._actions: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
            "init": self._init,
            "ingest": self._ingest,
            "poll": self._poll,
        }

    def answer(self, call: Call) -> Answer:
        """Perform a call. Raises Refused."""
        if call.operation == "upload":
            return self._upload(call)
        if call.operation == "download":
            return self._download(call.names["file"])
        id_, body = self._d1.known(call.names["database"]), d1_body(call.request)
        self._advance(id_)
        if call.operation == "export":
            return accepted(self._export(id_, body))
        action = self._actions.get(body.get("action", ""))
        if action is None:
            raise refusals.MALFORMED("Invalid property: action => Expected init, ingest or poll")
        return accepted(action(id_, body))

    def check_free(self, call: Call) -> None:
        """Raise Refused if the call is for a database that is being imported into."""
        id_ = call.names.get("database", "")
        self._advance(id_)
        if id_ in self._imports:
            raise refusals.IMPORTING()

    def _init(self, id_: str, body: Mapping[str, Any]) -> dict[str, Any]:
        etag = body.get("etag")
        if not isinstance(etag, str) or not _MD5.fullmatch(etag):
            raise refusals.MALFORMED("Invalid property: etag => Expected the MD5 of the file")
        file = f"{id_}.{etag}.sql"
        if file in self._files and md5(self._files[file].body, usedforsecurity=False).hexdigest() == etag:
            return self._start(id_, file)
        self._addresses[file] = self._clock() + self._limits.address_s
        return {"filename": file, "upload_url": f"{self._origin}{FILES}/{file}"}

    def _ingest(self, id_: str, body: Mapping[str, Any]) -> dict[str, Any]:
        file, etag = str(body.get("filename")), body.get("etag")
        held = self._files.get(file)
        if held is None or md5(held.body, usedforsecurity=False).hexdigest() != etag:
            return {"success": False, "error": f"Input file {file} missing or invalid"}
        return self._start(id_, file)

    def _start(self, id_: str, file: str) -> dict[str, Any]:
        if id_ in self._imports:
            return {"success": False, "error": "Currently processing a long-running import."}
        now, bookmark = self._clock(), self._d1.database(id_).now
        self._outcomes.pop(id_, None)
        self._imports[id_] = _Import(file, bookmark, now + self._lag.import_s, now)
        self._advance(id_)
        return self._told(id_)

    def _poll(self, id_: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(body.get("current_bookmark"), str):
            raise refusals.MALFORMED("Invalid property: current_bookmark => Required")
        if id_ in self._imports:
            self._imports[id_].polled_at = self._clock()
        return self._told(id_)

    def _told(self, id_: str) -> dict[str, Any]:
        """How far an import is; its outcome only once."""
        if id_ in self._imports:
            return _state("import", "active", self._imports[id_].bookmark, messages=["Processing queries."])
        return self._outcomes.pop(id_, {"success": False, "error": "Not currently importing anything."})

    def _advance(self, id_: str) -> None:
        """Finish or cancel an import whose time has come."""
        running = self._imports.get(id_)
        if running is None:
            return
        now, patience_s = self._clock(), self._limits.import_poll_s
        if running.done_at <= min(now, running.polled_at + patience_s):
            del self._imports[id_]
            self._outcomes[id_] = self._outcome(id_, running)
        elif now > running.polled_at + patience_s:
            del self._imports[id_]
            text = f"Cancelled due to no poll() received in {patience_s * 1000:.0f}ms."
            self._outcomes[id_] = {"success": False, "error": text}

    def _outcome(self, id_: str, running: _Import) -> dict[str, Any]:
        database = self._d1.database(id_)
        try:
            sql = self._files[running.file].body.decode()
            outcomes = database.run([Statement(text) for text in statements(sql)], is_import=True)
        except (Refused, UnicodeDecodeError) as error:
            text = error.message if isinstance(error, Refused) else str(error)
            return _state("import", "error", running.bookmark, errors=[text], error=text)
        result = {"num_queries": len(outcomes), "final_bookmark": database.now, "meta": _total(outcomes)}
        messages = [f"Processed {len(outcomes)} queries."]
        return _state("import", "complete", running.bookmark, messages=messages, result=result)

    def _export(self, id_: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if body.get("output_format") != "polling":
            raise refusals.MALFORMED("Invalid property: output_format => Expected polling")
        bookmark = body.get("current_bookmark")
        if not bookmark:
            return _state("export", "active", self._d1.database(id_).now)
        options = body.get("dump_options") or {}
        lines = self._d1.database(id_).dump(
            with_schema=not options.get("no_schema"), with_data=not options.get("no_data")
        )
        file = f"{id_}.{bookmark}.export.sql"
        self._files[file] = _File("\n".join(lines).encode(), self._clock() + self._limits.address_s)
        result = {"filename": file, "signed_url": f"{self._origin}{FILES}/{file}"}
        return _state("export", "complete", bookmark, result=result)

    def _upload(self, call: Call) -> Answer:
        """As object storage takes it: the answer's ETag is the MD5 of what arrived."""
        body, file = call.request.body, call.names["file"]
        if self._addresses.get(file, 0.0) <= self._clock():
            return Answer(403, _DENIED)
        if "content-length" not in call.request.headers:
            return Answer(411, b"<Error><Code>MissingContentLength</Code></Error>")
        if len(body) > self._limits.import_bytes:
            return Answer(400, b"<Error><Code>EntityTooLarge</Code></Error>")
        self._files[file] = _File(body)
        return Answer(200, b"", {"etag": f'"{md5(body, usedforsecurity=False).hexdigest()}"'})

    def _download(self, file: str) -> Answer:
        held = self._files.get(file)
        if held is None or held.expires_at <= self._clock():
            return Answer(403, _DENIED)
        return Answer(200, held.body, {"content-type": "application/sql"})


def _state(kind: str, status: str, bookmark: str, **more: Any) -> dict[str, Any]:
    return {"success": True, "type": kind, "status": status, "at_bookmark": bookmark, "messages": [], **more}


def _total(outcomes: list[Outcome]) -> dict[str, Any]:
    """The `meta` of many statements."""
    if not outcomes:
        return dict.fromkeys(_SUMS, 0)
    sums = {name: sum(outcome.meta[name] for outcome in outcomes) for name in _SUMS}
    changed = any(outcome.meta["changed_db"] for outcome in outcomes)
    return {**outcomes[-1].meta, **sums, "changed_db": changed}
