"""What a source is: facts plus one generator. No HTTP, no storage, no Dagster here.

A source module holds one `Source` subclass (facts and `captures`, which asks) and pure
`parse_*` functions (which understand). Its docstring has the heads API, License and Quirks and
becomes the asset's description. Box splitting lives in `splitting.py`, protocols shared by two
sources in modules of their own.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import ClassVar

from geopin_assets.capture import Capture, Rejected
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient, Quota, Tally
from geopin_assets.settings import Settings

EXAMPLES_KEPT = 5
AS_IT_IS = ("$", "")
"""A `Source.thumbnail`: the image itself is small enough."""


class Missed(str):
    """What people read about captures that are missing in a box: where, and why if it does not just hold too much."""

    box: Bbox

    def __new__(cls, box: Bbox, why: str = "") -> "Missed":
        missed = super().__new__(cls, f"{box} ({why})" if why else str(box))
        missed.box = box
        return missed


@dataclass(slots=True)
class CrawlReport:
    """What crawling one cell took and left out. Filled while a source yields; shown on the partition."""

    known: Callable[[Bbox], AbstractSet[str]] = lambda box: frozenset()
    """Ids (source_capture_id) that earlier crawls found in the cells of a box: none is taken for gone on the word of a
    grid of counts, or of a list that may have shifted (`paging.py`)."""
    requests: int = 0
    splits: int = 0
    duplicates: int = 0
    """Records the source returned again for the same cell (overlapping boxes, pages, instances)."""
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_examples: dict[str, list[str]] = field(default_factory=dict)
    """The first few records left out, by reason: ids or file names, so that their owner can look."""
    incomplete: list[str] = field(default_factory=list)
    """Where captures are missing: boxes (`Missed`), or words about the whole cell. Empty = proven complete."""
    reading: int = 0
    """How often that list was read before."""
    is_doubtful: bool = False
    """Most of the few records could not be read: what is missing here may still exist, so nothing is removed."""

    @property
    def is_complete(self) -> bool:
        """Whether what this crawl does not show is really gone."""
        return not self.incomplete and not self.is_doubtful

    def miss(self, box: Bbox, why: str = "") -> None:
        """Note once that captures are missing in a box: by default because it holds too much to be asked for."""
        if (missed := Missed(box, why)) not in self.incomplete:
            self.incomplete.append(missed)

    def reject(self, reason: str, record: str) -> None:
        """Count a record that was left out."""
        self.rejected[str(reason)] += 1
        examples = self.rejected_examples.setdefault(str(reason), [])
        if record and len(examples) < EXAMPLES_KEPT:
            examples.append(record[:200])


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a source needs: the variable that holds it, and where people get one."""

    variable: str
    where: str

    def missing(self, settings: Settings) -> str | None:
        """What to do when there is none, else None; the sandbox needs none."""
        if settings.is_sandbox or settings.is_set(self.variable):
            return None
        return f"set {self.variable}; get a key at {self.where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCost:
    """What a crawl costs in one kind of request: so many for the cells, and so many more for the captures in them."""

    kind: str = ""
    cells_per_request: float = 1.0
    """Cells that one request covers where there is nothing; infinite for requests that only captures cause."""
    captures_per_request: float = inf


class Source(ABC):
    """A provider of imagery. Subclasses state facts as class attributes; the registry and assets derive the rest."""

    name: ClassVar[str]
    """Registry key, asset name, pool and capture prefix: lower case, [a-z_]."""
    title: ClassVar[str]
    homepage: ClassVar[str]
    contribute_url: ClassVar[str]
    """Where people add imagery to this platform."""
    takes_photos: ClassVar[bool] = True
    """Whether anybody may add photos there."""
    endpoint: ClassVar[str] = ""
    """Default base address of the API, without trailing slash; empty for a source without one."""
    asks_a_server: ClassVar[bool] = True
    """Whether records come from a server, whose format may change for all of them at once; no folder does that."""
    license: ClassVar[str | None] = None
    """License id when all captures share it; None when each record states its own."""
    attribution: ClassVar[str]
    """The text that must be shown, as the platform asks; `{…}` where captures differ."""
    key: ClassVar[Key | None] = None
    requests_per_second: ClassVar[float] = 1.0
    quotas: ClassVar[Mapping[str, Quota]] = {}
    """Kinds of requests with a rate or a daily budget of their own."""
    expected_captures: ClassVar[int] = 0
    """Captures in the Netherlands, in order of magnitude: what a crawl is planned with before there was one."""
    costs: ClassVar[tuple[RequestCost, ...]] = (RequestCost(),)
    deadline_s: ClassVar[float] = 60.0
    """Longest time for one request, from connect to last byte."""
    max_bytes: ClassVar[int] = 64 * 1024 * 1024
    concurrency: ClassVar[int] = 4
    """Cells crawled at once within a run; the rate limit is shared by them."""
    thumbnail: ClassVar[tuple[str, str] | None] = None
    """Makes the address that any page may show an image from out of `image_url`: an expression, and what takes its
    place. None where addresses expire, hold a key, or are not public."""
    image_hosts: ClassVar[Mapping[str, int]] = {}
    """Most images fetched at once from a host, where its owner asks for less than usual."""

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        """Why this source cannot run with these settings (names the variable to set), or None."""
        return settings.wrong_for(cls.name) or (cls.key.missing(settings) if cls.key else None)

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Source":
        """Build the source for a profile; in the sandbox its endpoint is `{sandbox_url}/{name}`."""

    @abstractmethod
    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        """Ask for everything in one cell, each capture once.

        Counts requests, splits and duplicates on the report. Raises TransientError or PermanentError
        when the cell could not be crawled; what was yielded before then must not be stored.
        """

    @classmethod
    def is_link_expired(cls, image_url: str, now: datetime) -> bool:
        """Whether a stored image address must be renewed before fetching (`image_urls`). Most never expire."""
        return False

    def image_urls(self, ids: Sequence[str], tally: Tally) -> dict[str, str]:
        """Fresh image addresses by source_capture_id; ids that the source no longer has are left out.

        Only for sources whose links expire. Raises TransientError or PermanentError.
        """
        return {}
