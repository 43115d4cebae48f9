"""Publishing: what changed since the last time goes into the feed, then the publication is what it is now.

The files of a province that did not change stay; the others get new names, and nobody knows of them before the
manifest, which is written last, in place of the one that was there at the beginning: whatever ends a publish, what was
published before is whole, and the next one begins where that ended. Of machines that publish to one place at once, one
comes first; the others have changed nothing, and are told. Here: what is passed on, the difference, and the order of
writing. Not here: where it is from (`snapshot.py`), or the files themselves (`parts.py`, `files.py`).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from uuid import uuid4

import polars as pl

from geopin_assets.errors import ConfigurationError
from geopin_assets.exchange.changes import COUNTED, Changes, Tally
from geopin_assets.exchange.files import (
    CAPTURES,
    CRAWLS,
    REMOVALS,
    TAKEDOWNS,
    checked,
    columns_of,
    frames_of,
    new_file,
    vectors_of,
    write_whole,
)
from geopin_assets.exchange.items import shareable_address, vector_file_schema, withheld
from geopin_assets.exchange.manifest import (
    ENTRY,
    ENTRY_FOLDER,
    KEY,
    MANIFEST,
    Entry,
    FileEntry,
    Manifest,
    Part,
    Summary,
    entry_folder,
    first_head,
    hash_of,
    new_stamp,
    read_entry,
    read_manifest,
)
from geopin_assets.exchange.parts import write_part
from geopin_assets.exchange.snapshot import Content, Snapshot
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore

KEPT_ENTRIES = 120
"""Two years of weekly publishes: a copy that is older takes the publication anew."""
Stated = tuple[str | None, Manifest | None]
"""A publication's version as an object, and its manifest."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is published now. `changes`: what this publish put into the feed; None: nothing had changed."""

    manifest: Manifest
    changes: Mapping[str, int] | None


class _Unchanged(Exception):
    """Leaves what is being written unwritten."""


def publish(
    now_there: Snapshot,
    store: ObjectStore,
    *,
    now: datetime,
    takedown_days: int,
    without: Collection[str] = (),
    after: Stated | None = None,
) -> Published:
    """Make the publication in `store` what the snapshot is, and append to its feed what that changed.

    `after`: what the snapshot was made of; by default it knows nothing of the publication. Raises ConfigurationError
    for a folder that another installation publishes to, ConflictError where another publish comes first.
    """
    version, before = after or published(store)
    if before and before.installation_id != now_there.installation_id:
        raise ConfigurationError(
            f"{store.address()} is published by installation {before.installation_id}, this is another"
        )
    with store.at_work(is_ours):
        return _Publish(now_there, store, now, takedown_days, frozenset(without), version, before).run()


def published(store: ObjectStore) -> Stated:
    """What is there, and its version as an object, of this moment or older; None before the first publish."""
    stored = store.find(MANIFEST)
    try:
        return (stored.version, read_manifest(store)) if stored else (None, None)
    except NoSuchObjectError:
        return None, None


@dataclass(frozen=True)
class _Publish:
    there: Snapshot
    store: ObjectStore
    now: datetime
    takedown_days: int
    without: frozenset[str]
    version: str | None
    before: Manifest | None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.tally.withheld.update(self.there.withheld)

    @property
    def sequence(self) -> int:
        return self.before.sequence + 1 if self.before else 0

    @cached_property
    def stamp(self) -> str:
        return new_stamp(self.sequence)

    @cached_property
    def taken_down(self) -> frozenset[str]:
        return frozenset(self.there.takedowns["capture_id"])

    def run(self) -> Published:
        if self.before is None:
            parts, feed_id = self._parts(None), uuid4().hex
            return Published(self._manifest(parts, feed_id, head=first_head(feed_id), feed=()), {})
        try:
            parts, entry = self._entry(self.before)
        except _Unchanged:
            self.store.prune(entry_folder(self.stamp))
            finish(self.store, self.before)
            return Published(self.before, None)
        self.store.put(f"{entry_folder(self.stamp)}/{ENTRY}", content := entry.content())
        feed = (*self._kept(self.before), self.stamp)[-KEPT_ENTRIES:]
        manifest = self._manifest(parts, entry.feed_id, head=hash_of(content), feed=feed)
        return Published(manifest, entry.counts)

    def _entry(self, before: Manifest) -> tuple[dict[str, Part], Entry]:
        """Raises _Unchanged, having written nothing, where there is nothing to say."""
        folder, dim = entry_folder(self.stamp), self.there.model.dim
        takedowns = self._changed_takedowns(before)
        with ExitStack() as stack:
            captures = stack.enter_context(new_file(self.store, f"{folder}/captures.parquet", CAPTURES))
            vectors = stack.enter_context(new_file(self.store, f"{folder}/vectors.parquet", vectors_of(dim)))
            changes = Changes(captures.writer, vectors.writer, vector_file_schema(dim))
            parts = self._parts(changes)
            if not (changes.rows or takedowns.height or self._says_more(before)):
                raise _Unchanged
            removals = changes.removals(self.taken_down)
            counts = changes.counts + Counter(vectors=vectors.writer.rows, takedowns=takedowns.height)
            entry = Entry(
                feed_id=before.feed_id,
                sequence=self.sequence,
                previous=before.head,
                published_at=self.now,
                apply_takedowns_by=self.now + timedelta(days=self.takedown_days),
                model=self.there.model,
                summary=self._summary(),
                captures=captures.finish(),
                vectors=vectors.finish(),
                removals=write_whole(self.store, f"{folder}/removals.parquet", removals, frames_of(REMOVALS)),
                takedowns=write_whole(self.store, f"{folder}/takedowns.parquet", takedowns, frames_of(TAKEDOWNS)),
                crawls=write_whole(self.store, f"{folder}/crawls.parquet", self.there.crawls, frames_of(CRAWLS)),
                notice=self._notice(f"{folder}/NOTICE.txt"),
                counts=dict(counts),
            )
        return parts, entry

    def _summary(self) -> Summary:
        return Summary(
            region=self.there.region,
            cells=self.there.cells,
            software=f"geopin-assets {version('geopin-assets')}",
            licenses=self.tally.licenses(),
            counts=dict(self.tally.counts),
            withheld=dict(self.tally.withheld),
        )

    def _notice(self, key: str) -> FileEntry:
        self.store.put(key, content := self.tally.notice(self.now))
        return FileEntry(key=key, bytes=len(content), sha256=hash_of(content), rows=content.count(b"\n"))

    def _kept(self, before: Manifest) -> tuple[str, ...]:
        """The entries that may stay: none that has something which was taken down since, nor those before it."""
        down = pl.Series(list(self.taken_down), dtype=pl.String)
        for at in range(len(before.feed), 0, -1):
            entry, _ = read_entry(self.store, before.feed[at - 1])
            with checked(self.store, entry.captures, CAPTURES) as file:
                if any(rows["capture_id"].is_in(down.implode()).any() for cell in file.cells for rows in file.of(cell)):
                    return before.feed[at:]
        return before.feed

    def _says_more(self, before: Manifest) -> bool:
        """Whether no capture is another, but sources were looked at anew, the model is another, or what is withheld."""
        with checked(self.store, before.crawls, frames_of(CRAWLS)) as file:
            if not file.all().equals(self.there.crawls):
                return True
        return before.model != self.there.model or before.summary.withheld != self.tally.withheld

    def _changed_takedowns(self, before: Manifest) -> pl.DataFrame:
        """TAKEDOWNS since then: new ones, and those that were undone."""
        with checked(self.store, before.takedowns, frames_of(TAKEDOWNS)) as file:
            known = file.all()
        new = self.there.takedowns.join(known, on="capture_id", how="anti")
        undone = known.join(self.there.takedowns, on="capture_id", how="anti").with_columns(is_undone=pl.lit(True))
        return pl.concat([new, undone])

    def _parts(self, changes: Changes | None) -> dict[str, Part]:
        before = self.before.parts if self.before else {}
        stay = {name: self._as_it_was(before[name]) for name in self.there.stays}
        names = {*self.there.parts, *before}.difference(stay)
        parts = stay | {name: self._part(name, before.get(name), changes) for name in names}
        parts = dict(sorted(parts.items()))
        return {name: part for name, part in parts.items() if part}

    def _part(self, name: str, before: Part | None, changes: Changes | None) -> Part | None:
        """None for one without captures."""
        captures, rows = self.tally.counts["captures"], changes.rows if changes else 0
        contents = self.there.parts.get(name, lambda: iter(()))
        with ExitStack() as stack:
            was = stack.enter_context(checked(self.store, before.captures, CAPTURES)) if before else None
            gone = set(was.cells) if was else set()

            def see(content: Content, items: pl.DataFrame) -> None:
                self.tally.add(content, items)
                gone.discard(content.cell_id)
                if changes:
                    changes.add(content, items, was.all_of(content.cell_id) if was else items.clear())

            def is_new() -> bool:
                if changes and was:
                    for cell_id in sorted(gone):
                        changes.add(Content.empty(cell_id), was.all_of(cell_id).clear(), was.all_of(cell_id))
                has_captures = self.tally.counts["captures"] > captures
                return has_captures and not (self._is_same_model(before) and changes and changes.rows == rows)

            allowed = map(self._allowed, contents())
            part = write_part(self.store, name, self.stamp, self.there.model, allowed, see, is_new)
        return part or (before if self.tally.counts["captures"] > captures else None)

    def _as_it_was(self, part: Part) -> Part:
        """Its files stay; counted is whose captures they hold."""
        for items in columns_of(self.store, part.captures, COUNTED):
            self.tally.count(items)
        return part

    def _is_same_model(self, before: Part | None) -> bool:
        return before is not None and self.before is not None and self.before.model == self.there.model

    def _allowed(self, content: Content) -> Content:
        """What of a cell may be passed on."""
        captures = content.captures.with_columns(shareable_address())
        reasons = withheld(captures, self.taken_down, self.without)
        not_allowed = captures.select("capture_id", reason=reasons).drop_nulls("reason")
        return replace(content, captures=captures.filter(reasons.is_null()), withheld=not_allowed)

    def _manifest(self, parts: dict[str, Part], feed_id: str, *, head: str, feed: tuple[str, ...]) -> Manifest:
        """What is there now, from the moment that this is written; what it does not name is removed."""
        there, stamp = self.there, self.stamp
        manifest = Manifest(
            feed_id=feed_id,
            sequence=self.sequence,
            published_at=self.now,
            model=there.model,
            installation_id=there.installation_id,
            summary=self._summary(),
            parts=parts,
            crawls=write_whole(self.store, f"crawls-{stamp}.parquet", there.crawls, frames_of(CRAWLS)),
            takedowns=write_whole(self.store, f"takedowns-{stamp}.parquet", there.takedowns, frames_of(TAKEDOWNS)),
            notice=self._notice(f"NOTICE-{stamp}.txt"),
            head=head,
            feed=feed,
        )
        put_manifest(self.store, manifest, self.version)
        return manifest


def put_manifest(store: ObjectStore, manifest: Manifest, version: str | None) -> str:
    """Make this the publication in place of the one of that version, and remove what is none of it. Its version.
    Raises ConflictError, changing nothing, where another one is there by now.
    """
    now = store.put(MANIFEST, manifest.content(), if_absent=version is None, if_version=version)
    finish(store, manifest)
    return now


def finish(store: ObjectStore, manifest: Manifest) -> None:
    """Remove what is none of a publication: of those before, and of killed processes and such as came too late. What
    another process writes right now is of the next one, or comes too late.
    """
    store.delete(rest(store, manifest))
    kept = {entry_folder(stamp) for stamp in manifest.feed}
    for folder in store.look("feed")[0]:
        found = re.fullmatch(ENTRY_FOLDER, folder)
        if found and folder not in kept and int(found[1]) <= manifest.sequence:
            store.prune(folder)


def rest(store: ObjectStore, manifest: Manifest | None) -> list[str]:
    """Files of this publish and of those before that are none of it. The folder is somebody's: what is called otherwise
    stays.
    """
    if manifest is None:
        return []
    kept = {file.key for file in manifest.files()}
    folders = {entry_folder(stamp) for stamp in manifest.feed}
    ours = {key: int(found[found.lastindex or 0]) for key, found in _ours(store)}
    before = [key for key, number in ours.items() if number <= manifest.sequence]
    return [key for key in before if key not in kept and key.rpartition("/")[0] not in folders]


def is_ours(key: str) -> bool:
    """Whether publishes call a file that."""
    return key == MANIFEST or re.fullmatch(KEY, key) is not None


def _ours(store: ObjectStore) -> Iterator[tuple[str, re.Match[str]]]:
    for stored in store.walk():
        if found := re.fullmatch(KEY, stored.key):
            yield stored.key, found
