"""A copy of a publication in another folder or bucket, brought up to date by the feed. It needs no installation.

Each step is as whole as a publish: the manifest of the copy is written last, so a copy that was interrupted is what it
was before, and repeating goes on from there. Not here: checking what others wrote (`following.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from shutil import copyfile

import polars as pl

from geopin_assets.errors import PayloadError
from geopin_assets.exchange.files import CRAWLS, TAKEDOWNS, CheckedFile, frames_of, write_whole
from geopin_assets.exchange.following import Most, Opened, Step, opened, part_files, steps, takedowns_of, verify
from geopin_assets.exchange.manifest import Entry, Manifest, Part, new_stamp, notice_of, read_manifest
from geopin_assets.exchange.parts import write_part
from geopin_assets.exchange.publish import finish, is_ours, put_manifest
from geopin_assets.exchange.publish import published as taken
from geopin_assets.exchange.snapshot import COLUMNS, Content
from geopin_assets.files.object_store import ObjectStore


def bring_up_to_date(copy: ObjectStore, of: ObjectStore, most: Most) -> Iterator[Manifest]:
    """Take a publication, or the entries of its feed since it was taken; the copy's manifest after each step.

    Raises what `following.steps`, `opened` and `verify` raise, and ConflictError where another process does the same;
    the copy is then as the last step left it.
    """
    with copy.at_work(is_ours):
        version, mine = taken(copy)
        if mine is None:
            mine = _take(copy, of)
            version = put_manifest(copy, mine, version)
            yield mine
        finish(copy, mine)
        for step in steps(of, mine.feed_id, mine.sequence, mine.head):
            mine = _apply(copy, mine, of, step, most)
            version = put_manifest(copy, mine, version)
            yield mine


def _take(copy: ObjectStore, of: ObjectStore) -> Manifest:
    verify(of, manifest := read_manifest(of))
    for file in manifest.files():
        with of.as_file(file.key, most=file.bytes) as found, copy.replacing(file.key) as path:
            copyfile(found, path)
    mine = manifest.model_copy(update={"feed": ()})
    verify(copy, mine)
    return mine


def _apply(copy: ObjectStore, mine: Manifest, of: ObjectStore, step: Step, most: Most) -> Manifest:
    entry, stamp = step.entry, new_stamp(step.entry.sequence)
    with opened(of, entry, most) as news:
        touched = {cell_id.partition("-")[0] for cell_id in news.cells()}
        names = sorted({*mine.parts, *touched} if entry.model != mine.model else touched)
        parts = {**mine.parts, **{name: _part(copy, mine, name, stamp, entry, news) for name in names}}
        listed = pl.concat([takedowns_of(copy, mine), news.takedowns]).unique("capture_id", keep="last")
        manifest = mine.model_copy(
            update={
                "sequence": entry.sequence,
                "feed": (),
                "published_at": entry.published_at,
                "model": entry.model,
                "summary": entry.summary,
                "parts": {name: part for name, part in sorted(parts.items()) if part},
                "takedowns": write_whole(
                    copy,
                    f"takedowns-{stamp}.parquet",
                    listed.filter(~pl.col("is_undone")).sort("capture_id"),
                    frames_of(TAKEDOWNS),
                ),
                "crawls": write_whole(copy, f"crawls-{stamp}.parquet", news.crawls, frames_of(CRAWLS)),
                "notice": entry.notice.model_copy(update={"key": f"NOTICE-{stamp}.txt"}),
                "head": step.head,
            }
        )
        copy.put(manifest.notice.key, notice_of(of, entry))
    if sum(part.counts.get("captures", 0) for part in manifest.parts.values()) != entry.summary.counts.get(
        "captures", 0
    ):
        raise PayloadError(f"{of.address()}: publish {entry.sequence} makes another number of captures than it states")
    return manifest


def _part(copy: ObjectStore, mine: Manifest, name: str, stamp: str, entry: Entry, news: Opened) -> Part | None:
    with ExitStack() as stack:
        old = stack.enter_context(part_files(copy, mine, name)) if name in mine.parts else None
        seen = 0

        def see(content: Content, items: pl.DataFrame) -> None:
            nonlocal seen
            seen += items.height

        contents = (
            _content(cell_id, old, news) for cell_id in sorted({*(old[0].cells if old else ()), *_in(news, name)})
        )
        return write_part(copy, name, stamp, entry.model, contents, see, lambda: seen > 0)


def _in(news: Opened, name: str) -> set[str]:
    return {cell_id for cell_id in news.cells() if cell_id.partition("-")[0] == name}


def _content(cell_id: str, old: tuple[CheckedFile, CheckedFile] | None, news: Opened) -> Content:
    """A cell as it is after the entry."""
    changed = news.captures.all_of(cell_id)
    before = old[0].all_of(cell_id) if old else changed.clear()
    removed = news.removals.filter(pl.col("cell_id") == cell_id)
    kept = before.join(removed, on="capture_id", how="anti").join(changed, on="capture_id", how="anti")
    items = pl.concat([kept, changed]).sort("capture_id")
    stayed = items.join(before, on=["capture_id", "vectors_hash"], how="semi").select("capture_id")

    def vectors() -> Iterator[pl.DataFrame]:
        for rows in old[1].of(cell_id) if old else ():
            yield rows.join(stayed, on="capture_id", how="semi", maintain_order="left")
        for rows in news.vectors.of(cell_id):
            yield rows.join(stayed, on="capture_id", how="anti", maintain_order="left")

    return Content(cell_id, items.select(COLUMNS.names()), vectors)
