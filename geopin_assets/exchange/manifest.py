"""What a publication and an entry of its feed say of themselves: JSON that is put in its place last.

    manifest.json                         the publication as it is now; whatever it does not name is not part of it
    captures/nh-000012-1a2b3c4d.parquet   STAC items of a province, named for the publish that last changed them
    vectors/nh-000012-1a2b3c4d.parquet    their vectors
    crawls-000012-….parquet, takedowns-…  when each source was last seen in each cell, what was taken down, the notice
    feed/000012-1a2b3c4d/entry.json       what publish 12 changed, in files beside it

No two publishes write a file of the same name, also where several machines make the next one at once: which of them
comes first is decided when the manifest is put in its place, and by nothing else. Each entry names the one before by a
hash, so that a copy knows a gap, and another feed, from the next step. Here: the fields, their limits (whoever wrote
them may be a stranger), reading and writing. Not here: what is in the files (`items.py`, `files.py`), making them
(`publish.py`) or applying them (`copies.py`).
"""

import hashlib
import json
from collections import Counter
from functools import partial
from secrets import token_hex
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from geopin_assets.capture import MAX_DIM
from geopin_assets.errors import PayloadError
from geopin_assets.files.object_store import ObjectStore

MANIFEST, ENTRY = "manifest.json", "entry.json"
_LONGEST, _LONGEST_NOTICE = 16 * 1024 * 1024, 256 * 1024 * 1024
_MOST = 2**53
_STAMP = r"(\d{6,})-[0-9a-f]{8}"
KEY = (
    rf"(?:(?:captures|vectors)/[a-z]{{2,3}}-{_STAMP}\.parquet|(?:crawls|takedowns)-{_STAMP}\.parquet|NOTICE-{_STAMP}\.txt"
    rf"|feed/{_STAMP}/(?:\w+\.parquet|NOTICE\.txt|entry\.json))"
)
"""What a file may be called, and the number of the publish that wrote it."""
ENTRY_FOLDER = f"feed/{_STAMP}"
Stamp = Annotated[str, Field(pattern=f"^{_STAMP}$", max_length=40)]
"""A publish: its number, and what no other has."""
Count = Annotated[int, Field(ge=0, lt=_MOST)]
Name = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Text = Annotated[str, Field(max_length=500)]
Counts = dict[Annotated[str, Field(max_length=64)], Count]


def _refuse_twice(what: str, pairs: list[tuple[str, object]]) -> None:
    """Raise PayloadError for an object that says one thing twice: others may read it otherwise than we do."""
    if len(pairs) > len(dict(pairs)):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise PayloadError(f"{what} is none of ours: {name:.100} stands in it twice")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), hide_input_in_errors=True)


class FileEntry(_Strict):
    """One file: where it is below the folder, and how to know it."""

    key: Annotated[str, Field(pattern=f"^{KEY}$", max_length=200)]
    """None that a stranger chooses: a copy has it under the same name."""
    bytes: Count
    sha256: Hash
    rows: Count


class Part(_Strict):
    """What there is of a province (or `be`, `de`, `sea`)."""

    captures: FileEntry
    vectors: FileEntry
    counts: Counts


class ModelFacts(_Strict):
    """Which model made the vectors: those of two models say nothing of each other."""

    model_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    label: Text


class LicenseFacts(_Strict):
    """A license of captures in it."""

    url: Text
    asks: Text
    captures: Count


class Summary(_Strict):
    """What there is in a publication."""

    region: Text
    cells: Count
    software: Text
    licenses: dict[Text, LicenseFacts]
    counts: Counts
    withheld: Counts
    """Captures that the installation has and does not pass on, by reason."""


class _Document(_Strict):
    format: Literal["geopin-exchange"] = "geopin-exchange"
    version: Literal[2] = 2
    feed_id: Id
    """Made up with the first publish into a folder: the feed goes on for as long as the folder is there."""
    sequence: Count
    published_at: AwareDatetime
    model: ModelFacts
    summary: Summary
    crawls: FileEntry
    notice: FileEntry

    def content(self) -> bytes:
        """As it is stored."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def parse(cls, content: bytes, what: str) -> Self:
        """Raises PayloadError, naming `what`, for anything else."""
        if len(content) > _LONGEST:
            raise PayloadError(f"{what}: larger than any of ours")
        try:
            found = cls.model_validate_json(content)
            json.loads(content, object_pairs_hook=partial(_refuse_twice, what))  # of one name the last would count
            return found
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if any(one["loc"] == ("version",) for one in error.errors(include_url=False, include_input=False)):
                raise PayloadError(
                    f"{what} is of another version of the format than this software reads: it must be exported anew, to"
                    " an empty folder, or read with a newer version"
                ) from None
            where = ".".join(map(str, first["loc"])) or "it"
            raise PayloadError(f"{what} is none of ours: {where:.100}: {first['msg']}") from None


class Manifest(_Document):
    """A publication as it is now."""

    installation_id: Annotated[str, Field(max_length=64)]
    parts: dict[Name, Part]
    takedowns: FileEntry
    """All that are down now."""
    head: Hash
    """Of the newest entry; a hash of `feed_id` where there is none yet."""
    feed: Annotated[tuple[Stamp, ...], Field(max_length=10_000)]
    """The entries that are still there, oldest first: without a gap to this publish, or none."""

    def files(self) -> list[FileEntry]:
        """All of it but the feed."""
        of_parts = [file for part in self.parts.values() for file in (part.captures, part.vectors)]
        return [*of_parts, self.crawls, self.takedowns, self.notice]

    @property
    def oldest(self) -> int:
        """The first entry that is still there; one more than `sequence` where none is."""
        return self.sequence + 1 - len(self.feed)

    @model_validator(mode="after")
    def _has_no_gap(self) -> Self:
        if [number_of(stamp) for stamp in self.feed] != [*range(self.oldest, self.sequence + 1)]:
            raise ValueError("entries are missing from the feed")
        return self


class Entry(_Document):
    """What one publish changed."""

    previous: Hash
    """The `head` that it goes on from."""
    apply_takedowns_by: AwareDatetime
    """Whoever has a copy removes what was taken down until then."""
    captures: FileEntry
    vectors: FileEntry
    removals: FileEntry
    takedowns: FileEntry
    """Those that came on the list since, and those that left it."""
    counts: Counts
    """How many captures were added, changed, or removed, by reason."""

    def files(self) -> list[FileEntry]:
        """All of it."""
        return [self.captures, self.vectors, self.removals, self.takedowns, self.crawls, self.notice]


def hash_of(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()


def first_head(feed_id: str) -> str:
    """What the first entry of a feed goes on from."""
    return hash_of(feed_id.encode())


def new_stamp(sequence: int) -> str:
    """Of a publish that begins now."""
    return f"{sequence:06d}-{token_hex(4)}"


def number_of(stamp: str) -> int:
    """Which publish it is."""
    return int(stamp.partition("-")[0])


def entry_folder(stamp: str) -> str:
    """Where an entry is."""
    return f"feed/{stamp}"


def read_manifest(store: ObjectStore) -> Manifest:
    """Raises NoSuchObjectError where nothing was published, PayloadError for what is no manifest."""
    return Manifest.parse(_bounded(store, MANIFEST), store.address(MANIFEST))


def read_entry(store: ObjectStore, stamp: str) -> tuple[Entry, str]:
    """An entry, and its hash. Raises NoSuchObjectError and PayloadError."""
    content = _bounded(store, key := f"{entry_folder(stamp)}/{ENTRY}")
    return Entry.parse(content, store.address(key)), hash_of(content)


def _bounded(store: ObjectStore, key: str) -> bytes:
    found = store.find(key)
    if found and found.bytes > _LONGEST:
        raise PayloadError(f"{store.address(key)}: larger than any of ours")
    return store.get(key, most=_LONGEST)


def notice_of(store: ObjectStore, document: _Document) -> bytes:
    """The text that goes with it. Raises PayloadError where it is another than stated."""
    stated, what = document.notice, store.address(document.notice.key)
    if stated.bytes > _LONGEST_NOTICE:
        raise PayloadError(f"{what}: larger than any of ours")
    if hash_of(content := store.get(stated.key, most=stated.bytes)) != stated.sha256:
        raise PayloadError(f"{what}: its hash is not that of the manifest")
    return content
