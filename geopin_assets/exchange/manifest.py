"""What a publication and an entry of its feed say of themselves: JSON that is put in its place last.

    manifest.json                         the publication as it is now; whatever it does not name is not part of it
    captures/nh-000012.parquet            STAC items of a province, named for the publish that last changed them
    vectors/nh-000012.parquet             their vectors
    crawls-000012.parquet, takedowns-…    when each source was last seen in each cell, what was taken down, the notice
    feed/000012/entry.json                what publish 12 changed, in files beside it

Each entry names the one before by a hash, so that a copy knows a gap, and another feed, from the next step. Here: the
fields, their limits (whoever wrote them may be a stranger), reading and writing. Not here: what is in the files
(`items.py`, `files.py`), making them (`publish.py`) or applying them (`copies.py`).
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from geopin_assets.capture import MAX_DIM
from geopin_assets.errors import PayloadError
from geopin_assets.files.object_store import ObjectStore

MANIFEST, ENTRY = "manifest.json", "entry.json"
_LONGEST, _LONGEST_NOTICE = 16 * 1024 * 1024, 256 * 1024 * 1024
_MOST = 2**53
KEY = (
    r"(?:(?:captures|vectors)/[a-z]{2,3}-(\d{6,})\.parquet|(?:crawls|takedowns)-(\d{6,})\.parquet|NOTICE-(\d{6,})\.txt"
    r"|feed/(\d{6,})/(?:\w+\.parquet|NOTICE\.txt|entry\.json))"
)
"""What a file may be called, and the publish that wrote it."""
Count = Annotated[int, Field(ge=0, lt=_MOST)]
Name = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Text = Annotated[str, Field(max_length=500)]
Counts = dict[Annotated[str, Field(max_length=64)], Count]


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
    version: Literal[1] = 1
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
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if any(one["loc"] == ("version",) for one in error.errors(include_url=False, include_input=False)):
                raise PayloadError(f"{what} is of another version of the format than this software reads") from None
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
    oldest: Count
    """The first entry that is still there; one more than `sequence` where none is."""

    def files(self) -> list[FileEntry]:
        """All of it but the feed."""
        of_parts = [file for part in self.parts.values() for file in (part.captures, part.vectors)]
        return [*of_parts, self.crawls, self.takedowns, self.notice]


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


def entry_folder(sequence: int) -> str:
    """Where an entry is."""
    return f"feed/{sequence:06d}"


def read_manifest(store: ObjectStore) -> Manifest:
    """Raises NoSuchObjectError where nothing was published, PayloadError for what is no manifest."""
    return Manifest.parse(_bounded(store, MANIFEST), store.address(MANIFEST))


def read_entry(store: ObjectStore, sequence: int) -> tuple[Entry, str]:
    """An entry, and its hash. Raises NoSuchObjectError and PayloadError."""
    content = _bounded(store, key := f"{entry_folder(sequence)}/{ENTRY}")
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
