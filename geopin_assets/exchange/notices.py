"""Telling people of their areas: a webhook where they gave one, and an Atom feed for each.

    notices/{area}.json    what the last look saw, and what is still to be told
    {reports}/notices/{area}.xml   the feed: the newest notices

What is to be told is written down with the look that found it, in one file replaced whole: it is told once, however
often a look is repeated or killed, and until the webhook takes it, for 30 days. One that was taken by a webhook just
before a kill comes again under the same id (`Idempotency-Key`). Webhooks are addresses that strangers name: guarded,
followed nowhere, and secret. Not here: what there is to tell (`areas.py`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import orjson

from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.exchange.areas import Area, Kind, Look, Notice, look, news
from geopin_assets.files.atomic import write_bytes
from geopin_assets.files.notes import read_note
from geopin_assets.files.object_store import open_store
from geopin_assets.http_client import HttpClient, hide_path
from geopin_assets.store.catalog import Catalog

if TYPE_CHECKING:
    from geopin_assets.http_client.transport import Transport

_ATOM = "http://www.w3.org/2005/Atom"
_SHOWN, _KEPT_FOR = 50, timedelta(days=30)
_DEADLINE_S, _IN_ALL_S, _SHORTEST_SECRET = 10.0, 600.0, 8
_BACK_OFF = (timedelta(0), timedelta(hours=1), timedelta(hours=6), timedelta(days=1))


@dataclass(frozen=True, slots=True)
class State:
    """What is known of an area."""

    look: Look | None = None
    waiting: tuple[Notice, ...] = ()
    """Not told yet."""
    shown: tuple[Notice, ...] = ()
    """In the feed, newest first."""
    failed: int = 0
    """How often in a row the webhook did not take something."""
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Teller:
    """State in `folder`, feeds in `feeds`. `transport` is guarded: webhooks are addresses that strangers name."""

    folder: Path
    feeds: Path
    feeds_url: str
    contact: str
    transport: "Transport"
    clock: Callable[[], float] = time.monotonic
    told: Counter[str] = field(default_factory=Counter)
    """Notices found, told, and waiting."""

    def tell(self, catalog: Catalog, areas: Sequence[Area], now: datetime) -> dict[str, str]:
        """Look at every area, and tell what is new or still waits; why not, by area. One fails for itself."""
        failures: dict[str, str] = {}
        ends_at = self.clock() + _IN_ALL_S
        for area in areas:
            try:
                self._tell(catalog, area, now, ends_at)
            except GeoPinError as error:
                failures[area.id] = f"{type(error).__name__}: {error}"
        return failures

    def _tell(self, catalog: Catalog, area: Area, now: datetime, ends_at: float) -> None:
        before = self._read(area.id)
        after = look(catalog, area, before.look.seen_until if before.look else None, now)
        found = news(area, before.look, after, now)
        self.told["found"] += len(found)
        waiting = tuple(one for one in (*before.waiting, *found) if now - one.at < _KEPT_FOR)
        if not area.webhook.get_secret_value():
            waiting = ()
        state = replace(before, look=after, waiting=waiting, shown=(*reversed(found), *before.shown)[:_SHOWN])
        self._write(area.id, state)
        write_bytes(self.feeds / f"{area.id}.xml", self._feed(area, state.shown, now))
        if state.waiting and not _is_backing_off(state, now):
            self._post(area, state, now, ends_at)

    def _post(self, area: Area, state: State, now: datetime, ends_at: float) -> None:
        """What there is no time for waits for the next report: receivers may be slow."""
        with self._client(area) as client:
            for notice in state.waiting:
                if self.clock() >= ends_at:
                    self.told["waiting"] += len(state.waiting)
                    return
                try:
                    client.send(
                        "POST",
                        area.webhook.get_secret_value(),
                        json=_message(area, notice),
                        headers={"Idempotency-Key": notice.id},
                        label="webhook",
                        ok=(200, 201, 202, 204),
                        only_status=True,
                    )
                except GeoPinError:
                    failed = state.failed + 1
                    wait = _BACK_OFF[min(failed, len(_BACK_OFF) - 1)]
                    self._write(area.id, replace(state, failed=failed, not_before=now + wait))
                    self.told["waiting"] += len(state.waiting)
                    raise
                self.told["told"] += 1
                state = replace(state, waiting=state.waiting[1:], failed=0, not_before=None)
                self._write(area.id, state)

    @contextmanager
    def _client(self, area: Area) -> Iterator[HttpClient]:
        url = area.webhook.get_secret_value()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigurationError("its webhook is no address: http(s)://host/…")
        hide_path(parts.path)
        secrets = [url, parts.path, parts.query, *parts.path.split("/"), *parts.query.split("&")]
        with HttpClient(
            "notices",
            contact=self.contact,
            attempts=1,
            deadline_s=_DEADLINE_S,
            max_wait_s=_DEADLINE_S,
            max_bytes=1 << 20,
            transport=self.transport,
            secrets=[secret for secret in secrets if len(secret) >= _SHORTEST_SECRET],
        ) as client:
            yield client

    def _feed(self, area: Area, notices: Sequence[Notice], now: datetime) -> bytes:
        feed = ElementTree.Element("feed", xmlns=_ATOM)
        url = f"{self.feeds_url}/{area.id}.xml"
        _add(feed, "title", area.title or area.id)
        _add(feed, "id", url)
        _add(feed, "updated", (notices[0].at if notices else now).isoformat())
        _add(_add(feed, "author"), "name", "GeoPin")
        ElementTree.SubElement(feed, "link", rel="self", href=url)
        for notice in notices:
            entry = _add(feed, "entry")
            _add(entry, "title", notice.text)
            _add(entry, "id", f"urn:geopin:notice:{notice.id}")
            _add(entry, "updated", notice.at.isoformat())
            ElementTree.SubElement(entry, "category", term=notice.kind)
        return ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)

    def _read(self, area_id: str) -> State:
        return read_note(open_store(self.folder), f"{area_id}.json", _state) or State()

    def _write(self, area_id: str, state: State) -> None:
        write_bytes(self.folder / f"{area_id}.json", orjson.dumps(asdict(state)))


def _is_backing_off(state: State, now: datetime) -> bool:
    """A time that is further ahead than anyone waits was written by a clock that was wrong."""
    return state.not_before is not None and now < state.not_before <= now + _BACK_OFF[-1]


def _message(area: Area, notice: Notice) -> dict[str, Any]:
    """`text` alone is what chats show."""
    return {
        "text": f"{area.title or area.id}: {notice.text}",
        "notice_id": notice.id,
        "area": area.id,
        "kind": notice.kind.value,
        "at": notice.at.isoformat(),
    }


def _add(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = "".join(c for c in text if c.isprintable())
    return child


def _state(held: dict[str, Any]) -> State:
    about = held["look"] and Look(**held["look"] | _times(held["look"], "newest_at", "seen_until"))
    notices: dict[str, Any] = {name: tuple(map(_notice, held[name])) for name in ("waiting", "shown")}
    return State(about, **notices, failed=int(held["failed"]), **_times(held, "not_before"))


def _notice(held: dict[str, Any]) -> Notice:
    return Notice(**held | {"kind": Kind(held["kind"]), **_times(held, "at")})


def _times(held: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: datetime.fromisoformat(held[name]) if held[name] else None for name in names}
