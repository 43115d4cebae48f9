"""Image links that expire, renewed through their sources just before the images are fetched.

Here: whose links have expired, asking their sources in batches, and what became of each. Not here: when a link of a
source expires (`Source.is_link_expired`), or what is fetched.

A source that cannot be asked costs its own captures a later try, and nobody else anything.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, Source

BATCH = 500
"""Captures asked for at once: what a source gave before it failed stays."""


class LinkLoss(StrEnum):
    """Why a capture has no link that can be fetched."""

    EXPIRED = "link_expired"
    """The stored one has expired and its source gave no other."""
    GONE = "gone"
    """The source was asked and does not have the capture any more."""


@dataclass(frozen=True, slots=True)
class LinkedCapture:
    """What renewing the link of a capture takes."""

    capture_id: str
    source: str
    source_capture_id: str
    image_url: str
    """Empty where nobody told it: of captures that another installation passed on."""


@dataclass(slots=True)
class Renewal:
    """What became of the links that had expired, by capture_id; captures with a good link are in neither."""

    fresh: dict[str, str] = field(default_factory=dict)
    lost: dict[str, LinkLoss] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """Source -> why not all of its links could be renewed."""
    requests: int = 0
    """Requests sent for it."""


class Links:
    """Renews links, opening each source once, when it is first needed. Use it as a context manager.

    `open_source` and `source_named` by a source's name; both may raise ConfigurationError.
    """

    def __init__(
        self,
        open_source: Callable[[str], AbstractContextManager[Source]],
        source_named: Callable[[str], type[Source]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._open_source, self._source_named, self._now = open_source, source_named, now
        self._opened: dict[str, Source] = {}
        self._closing = ExitStack()

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def renew(self, captures: Iterable[LinkedCapture]) -> Renewal:
        """Fresh links for those captures whose link has expired. Raises nothing that a source raises."""
        by_source: dict[str, list[LinkedCapture]] = defaultdict(list)
        for capture in captures:
            by_source[capture.source].append(capture)
        renewal, tally = Renewal(), CrawlReport()
        for name, of_source in by_source.items():
            try:
                self._renew(name, of_source, tally, renewal)
            except GeoPinError as error:
                renewal.errors[name] = f"{type(error).__name__}: {error}"
            except Exception as error:  # noqa: BLE001 a mistake in one source must not cost the images of the others
                renewal.errors[name] = f"{type(error).__name__} in {name}"
        renewal.requests = tally.requests
        return renewal

    def _renew(self, name: str, captures: Sequence[LinkedCapture], tally: CrawlReport, renewal: Renewal) -> None:
        expired = self._expired(name, captures)
        renewal.lost |= {capture.capture_id: LinkLoss.EXPIRED for capture in expired}
        for start in range(0, len(expired), BATCH):
            self._note(self._source(name), expired[start : start + BATCH], tally, renewal)

    def _expired(self, name: str, captures: Sequence[LinkedCapture]) -> list[LinkedCapture]:
        try:
            source = self._source_named(name)
        except ConfigurationError:
            return []  # not registered any more: its links are as good as they look
        now = self._now()
        return [one for one in captures if not one.image_url or source.is_link_expired(one.image_url, now)]

    def _note(self, source: Source, batch: Sequence[LinkedCapture], tally: CrawlReport, renewal: Renewal) -> None:
        """Ask for one batch; a link is taken only if it is one, and good."""
        found, now = source.image_urls([capture.source_capture_id for capture in batch], tally), self._now()
        for capture in batch:
            link = found.get(capture.source_capture_id)
            if link is None:
                renewal.lost[capture.capture_id] = LinkLoss.GONE
            elif fields.web_url(link) is None:
                renewal.errors[source.name] = f"the new link of {capture.source_capture_id} is no address"
            elif not source.is_link_expired(link, now):
                del renewal.lost[capture.capture_id]
                renewal.fresh[capture.capture_id] = link

    def _source(self, name: str) -> Source:
        if name not in self._opened:
            self._opened[name] = self._closing.enter_context(self._open_source(name))
        return self._opened[name]
