"""Another installation's publication becomes part of this one, which goes on from there.

Each of its crawls counts as a crawl of ours at that time: captures become raw files, and whoever looked later is
right. Vectors become parts of the cells, as a run that was killed leaves them: embedding finds that nothing is left to
do. So merging, embedding and publishing need to know nothing of this, and a crawl that follows merges as ever. How far
a feed was applied is noted when all that has ended: whatever ends it before, repeating is safe.

Here: raw files, vectors, what comes on the list of takedowns, and that note. Not here: taking down, and the layers
below raw (`defs/running/adopting.py`), or checking what others wrote (`following.py`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.embedding.protocol import Model, embedding_schema
from geopin_assets.errors import DamagedFileError
from geopin_assets.exchange.files import CheckedFile
from geopin_assets.exchange.following import Opened, crawls_of, part_files
from geopin_assets.exchange.items import ITEM_SCHEMA
from geopin_assets.exchange.manifest import Manifest, ModelFacts
from geopin_assets.files.atomic import write_bytes
from geopin_assets.files.damage import set_aside
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.platform.parts import Storage
from geopin_assets.sources import SOURCES
from geopin_assets.store.accounts import CrawlAccount
from geopin_assets.store.schema import CAPTURE_SCHEMA

_KNOWN = frozenset(source.name for source in SOURCES)
_NONE = pl.DataFrame(schema={"capture_id": pl.String()})


@dataclass(frozen=True, slots=True)
class Followed:
    """How far a feed was applied here."""

    feed_id: str
    sequence: int
    head: str

    @classmethod
    def of(cls, document: Manifest) -> "Followed":
        return cls(document.feed_id, document.sequence, document.head)


def followed(storage: Storage, feed_id: str) -> Followed | None:
    """None for a feed that nothing was taken of. Raises DamagedFileError."""
    path = storage.settings().data_dir / "followed" / f"{feed_id}.json"
    if not path.exists():
        return None
    try:
        return Followed(**orjson.loads(path.read_bytes()))
    except (orjson.JSONDecodeError, TypeError) as error:
        set_aside(path)
        raise DamagedFileError(f"{path} could not be read and was set aside: import the publication again") from error


def note_followed(storage: Storage, done: Followed) -> None:
    """Remember it."""
    path = storage.settings().data_dir / "followed" / f"{done.feed_id}.json"
    write_bytes(path, orjson.dumps({"feed_id": done.feed_id, "sequence": done.sequence, "head": done.head}))


def undo_takedowns(storage: Storage, acts: pl.DataFrame, feed_id: str) -> list[str]:
    """Take off our list what only this feed had put there and takes back; what of TAKEDOWNS is to come on it."""
    listed = storage.takedowns()
    ours = dict(listed.listed().select("capture_id", "note").iter_rows())
    undone = acts.filter("is_undone")["capture_id"]
    if back := [capture_id for capture_id in undone if ours.get(capture_id) == note_of(feed_id)]:
        listed.undo(back, now=datetime.now(UTC))
    return [one for one in acts.filter(~pl.col("is_undone"))["capture_id"] if one not in ours]


def note_of(feed_id: str) -> str:
    """What stands beside a takedown on our list that came with a feed."""
    return f"feed {feed_id}"


@dataclass(frozen=True, slots=True)
class Sight:
    """What an installation says of one source in one cell at one time."""

    source: str
    cell_id: str
    seen_at: datetime
    is_complete: bool
    items: pl.DataFrame
    """All that was there; or, with `removed`, what changed."""
    removed: pl.DataFrame | None = None
    """Captures that are not there any more; None: `items` are all."""


@dataclass(slots=True)
class Adopting:
    """One import, or one entry of a feed, on its way into this installation."""

    storage: Storage
    model: Model
    facts: ModelFacts
    """Of the vectors that come: only those of the model that is used here are taken."""
    published_at: datetime
    now: datetime
    """Nobody has seen anything later."""
    counts: Counter[str] = field(default_factory=Counter)
    """Captures taken, left out by reason, and vectors."""
    cells: set[str] = field(default_factory=set)
    """Where captures or vectors are to be merged and embedded."""
    _down: pl.Series = field(init=False)

    def __post_init__(self) -> None:
        """What is on our list now is not taken, whoever passes it on."""
        self._down = pl.Series(list(self.storage.takedowns().ids()), dtype=pl.String)

    def publication(self, of: ObjectStore, manifest: Manifest) -> Iterator[CrawlAccount]:
        """All of a publication; what became of each raw file that changed."""
        crawls = crawls_of(of, manifest)
        waiting = {(source, cell_id): row for source, cell_id, *row in crawls.iter_rows()}
        for name in manifest.parts:
            with part_files(of, manifest, name) as (captures, vectors):
                for cell_id in captures.cells:
                    items = captures.all_of(cell_id)
                    for (source,), some in items.partition_by("source", as_dict=True).items():
                        seen_at, is_complete = waiting.pop((str(source), cell_id), (None, False))
                        sight = Sight(str(source), cell_id, self._when(seen_at), is_complete, some)
                        yield from self._see(sight, vectors)
        for (source, cell_id), (seen_at, is_complete) in waiting.items():
            sight = Sight(source, cell_id, self._when(seen_at), is_complete, ITEM_SCHEMA.to_frame())
            yield from self._see(sight, None)

    def entry(self, news: Opened) -> Iterator[CrawlAccount]:
        """What an entry changed."""
        crawls = {(source, cell_id): row for source, cell_id, *row in news.crawls.iter_rows()}
        removed_from = news.removals.with_columns(source=pl.col("capture_id").str.split(":").list.first())
        gone = {(s, c): rows for (c, s), rows in removed_from.partition_by("cell_id", "source", as_dict=True).items()}
        for cell_id in sorted({*news.captures.cells, *(cell for _, cell in (*gone, *crawls))}):
            items = news.captures.all_of(cell_id)
            by_source = {str(source): rows for (source,), rows in items.partition_by("source", as_dict=True).items()}
            sources = {*by_source, *(s for s in _KNOWN if (s, cell_id) in gone or (s, cell_id) in crawls)}
            for source in sorted(sources):
                seen_at, is_complete = crawls.get((source, cell_id), (None, False))
                some = by_source.get(source, items.clear())
                removed = gone.get((source, cell_id), _NONE).select("capture_id")
                sight = Sight(source, cell_id, self._when(seen_at), is_complete, some, removed)
                yield from self._see(sight, news.vectors)

    def _when(self, seen_at: datetime | None) -> datetime:
        return min(seen_at or self.published_at, self.now)

    def _see(self, sight: Sight, vectors: CheckedFile | None) -> Iterator[CrawlAccount]:
        """One source in one cell: nothing where this installation looked later, or has it already."""
        if sight.source not in _KNOWN:
            self.counts["unknown_source"] += sight.items.height
            return
        with self.storage.leases().held(f"raw/{sight.source}", [sight.cell_id], what="import"):
            taken, account = self._store(sight)
        if account:
            self.cells.add(sight.cell_id)
            yield account
        if vectors and taken.height:
            self._take_vectors(sight.cell_id, taken, vectors)

    def _store(self, sight: Sight) -> tuple[pl.DataFrame, CrawlAccount | None]:
        """What of a sight counts here (capture_id), and the account of its file if that changed."""
        raw = self.storage.raw()
        items = sight.items.filter(~pl.col("capture_id").is_in(self._down.implode()))
        self.counts["taken_down_here"] += sight.items.height - items.height
        try:
            account, local = raw.read(sight.source, sight.cell_id)
        except DamagedFileError:
            account, local = None, None
        if account and account.complete_at and account.complete_at > sight.seen_at:
            self.counts["newer_here"] += items.height
            return _NONE, None
        held = local.select("seen_at", *CAPTURE_SCHEMA) if local is not None else None
        found = _with_local(items, held, sight)
        self.counts["captures"] += items.height
        if account and held is not None and _says_nothing_new(account, held, found, sight):
            return items.select("capture_id"), None
        is_newest = account is None or account.crawled_at is None or account.crawled_at <= sight.seen_at
        written = raw.write(
            found,
            source=sight.source,
            cell_id=sight.cell_id,
            crawled_at=sight.seen_at,
            requests=0,
            splits=0,
            duplicates=0,
            rejected={},
            is_complete=sight.is_complete and is_newest,
            duration_s=0.0,
        )
        raw.forget_failure(sight.source, sight.cell_id)
        return items.select(
            "capture_id"
        ), written if account is None or written.data_version != account.data_version else None

    def _take_vectors(self, cell_id: str, taken: pl.DataFrame, vectors: CheckedFile) -> None:
        if self.facts.model_id != self.model.model_id or self.facts.dim != self.model.dim:
            self.counts["vectors_of_another_model"] += taken.height
            return
        cell = self.storage.vectors(self.model).cell(cell_id)
        with self.storage.leases().held("index/embeddings", [cell_id], what="import"):
            for rows in _owned(vectors.of(cell_id), taken):
                cell.append(_stored(rows, self.model))
                self.counts["vectors"] += rows.height
                self.cells.add(cell_id)


def _stored(rows: pl.DataFrame, model: Model) -> pl.DataFrame:
    """As this installation stores vectors; how good the pixels were nobody says."""
    ids = map(vector_id, rows["capture_id"], rows["view"])
    known = rows.with_columns(
        vector_id=pl.Series(list(ids), dtype=pl.String),
        source=pl.col("capture_id").str.split(":").list.first(),
        model_id=pl.lit(model.model_id),
    )
    schema = embedding_schema(model.dim)
    unknown = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in known.columns]
    return known.with_columns(unknown).select(schema.names())


def _owned(rows: Iterable[pl.DataFrame], taken: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for some in rows:
        kept = some.join(taken, on="capture_id", how="semi", maintain_order="left")
        if kept.height:
            yield kept


def _with_local(items: pl.DataFrame, held: pl.DataFrame | None, sight: Sight) -> pl.DataFrame:
    """CAPTURE_SCHEMA: what a crawl then would have stored, beside what this installation knows better."""
    found = items.with_columns(payload=pl.lit("{}")).select(CAPTURE_SCHEMA.names())
    if held is None:
        return found
    later = held.filter(pl.col("seen_at") > sight.seen_at)
    stays = held.select(found.columns) if sight.removed is not None else later.select(found.columns)
    if sight.removed is not None:
        gone = sight.removed.join(later, on="capture_id", how="anti")
        stays = stays.join(gone, on="capture_id", how="anti")
    found = found.join(later, on="capture_id", how="anti").join(
        held.select("capture_id", "image_version", known="image_url"), on=["capture_id", "image_version"], how="left"
    )
    known = pl.when(pl.col("image_url") == "").then(pl.col("known").fill_null("")).otherwise("image_url")
    found = found.with_columns(image_url=known).drop("known")
    return pl.concat([stays.join(found, on="capture_id", how="anti"), found]).sort("capture_id")


def _says_nothing_new(account: CrawlAccount, held: pl.DataFrame, found: pl.DataFrame, sight: Sight) -> bool:
    names = [name for name in CAPTURE_SCHEMA if name != "payload"]
    was_complete = account.complete_at == sight.seen_at or not sight.is_complete
    return was_complete and account.crawled_at == sight.seen_at and held.select(names).equals(found.select(names))
