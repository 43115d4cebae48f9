"""An installation that took a publication and follows its feed holds what the other one does; no image is read."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from geopin_assets.defs.declare import asset_key
from geopin_assets.defs.graph import EXCHANGE
from geopin_assets.defs.running.adopting import Adoption
from geopin_assets.defs.running.local_run import LayerResult, run_below_raw
from geopin_assets.errors import ConfigurationError, EvidenceError, PayloadError, StaleCatalogError
from geopin_assets.exchange.following import Most, crawls_of
from geopin_assets.exchange.manifest import Manifest, entry_folder, hash_of, read_manifest
from geopin_assets.exchange.publish import Published, publish
from geopin_assets.exchange.snapshot import searched_model, snapshot
from geopin_assets.files.folder_store import FolderStore
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.exchange.worlds import content_of, entry_of
from geopin_assets_tests.platform import CELLS, Platform, Ran

Change = Callable[[pl.DataFrame], pl.DataFrame]


def export(platform: Platform, store: FolderStore, cell_ids: Sequence[str] = CELLS) -> Published:
    model = searched_model(platform.embedding, platform.search_index)
    with snapshot(platform.storage, model, cell_ids, "amsterdam") as there:
        return publish(there, store, now=datetime.now(UTC), takedown_days=7)


def exported(platform: Platform, folder: Path, cell_ids: Sequence[str] = CELLS) -> FolderStore:
    export(platform, store := FolderStore(folder), cell_ids)
    return store


def adoption(platform: Platform, store: FolderStore, most: Most = lambda captures: 10**6) -> Adoption:
    return Adoption(platform.storage, platform.search_index, platform.embedding.model(), store, most, 10**6)


def totals(results: Iterator[LayerResult]) -> Counter[str]:
    summed = Counter[str]()
    for result in results:
        assert not result.failed_count, result.failed
        summed += result.totals
    return summed


def crawl_again(platform: Platform, instance: dg.DagsterInstance, change: Change, cell_id: str = CELLS[0]) -> None:
    """A complete crawl of Panoramax in a cell that finds what is there, changed so."""
    raw = platform.storage.raw()
    found = change(raw.read("panoramax", cell_id)[1].drop("cell_id", "seen_in", "seen_at"))
    counts = {"requests": 1, "splits": 0, "duplicates": 0, "duration_s": 0.1}
    now = datetime.now(UTC)
    raw.write(found, source="panoramax", cell_id=cell_id, crawled_at=now, is_complete=True, rejected={}, **counts)
    totals(run_below_raw(platform.definitions.resolve_implicit_global_asset_job_def(), instance, CELLS))


def assert_same(one: FolderStore, other: FolderStore) -> None:
    left, right = content_of(one), content_of(other)
    for name in ("captures", "vectors", "summary"):
        assert left[name].equals(right[name]), name
    assert set(left["takedowns"]["capture_id"]) == set(right["takedowns"]["capture_id"])
    crawls = [crawls_of(store, read_manifest(store)) for store in (one, other)]
    assert crawls[0].equals(crawls[1])


def test_a_catalog_that_was_lost_empties_no_publication_and_tells_nobody(ran: Ran, tmp_path: Path) -> None:
    feed, platform = FolderStore(tmp_path / "feed"), ran.platform
    before = export(platform, feed).manifest
    platform.storage.settings().catalog_path.unlink()
    with pytest.raises(StaleCatalogError, match="geopin merge"):
        export(platform, feed)
    assert read_manifest(feed) == before
    job = platform.definitions.resolve_implicit_global_asset_job_def()
    told = job.get_subset(asset_selection={asset_key("quality/notices")}).execute_in_process(
        instance=ran.instance, raise_on_error=False
    )
    assert not told.success


@pytest.mark.parametrize(
    "thin_m", ["0", pytest.param("30", marks=pytest.mark.skipif(not IS_LONG, reason="the same with less vectors"))]
)
def test_an_import_and_three_weeks_of_feed_equal_a_fresh_export(
    ran: Ran, build_platform: Callable[[str], Platform], tmp_path: Path, thin_m: str
) -> None:
    there, here, instance = ran.platform, build_platform("here"), ran.instance
    if thin_m != "0":
        for place in (there, here):
            place.set(GEOPIN_THIN_M=thin_m)
        there.run(instance, reports=False)
    feed = FolderStore(tmp_path / "feed")
    assert export(there, feed).manifest.summary.counts["captures"] == sum(there.captures().values()) > 0
    assert export(there, feed).changes is None
    with pytest.raises(ConfigurationError, match="geopin import"):
        totals(adoption(here, feed).follow(here.definitions, instance))
    ended = adoption(here, feed).take(here.definitions, instance)
    next(ended)
    ended.close()
    done = totals(adoption(here, feed).take(here.definitions, instance))
    assert done["embedded"] == 0 < done["reused"] == there.storage.catalog().size(are_wanted=True)[0]

    export(here, first := FolderStore(tmp_path / "first"))
    assert_same(first, feed)

    names = there.storage.raw().read("panoramax", CELLS[0])[1]["capture_id"].sort()
    lost, changed, down = names[0], names[1], names[2]
    back = there.storage.raw().read("panoramax", CELLS[0])[1].filter(capture_id=lost)

    def week_1(rows: pl.DataFrame) -> pl.DataFrame:
        said = pl.when(pl.col("capture_id") == changed).then(pl.lit("By another")).otherwise("attribution")
        return rows.filter(pl.col("capture_id") != lost).with_columns(attribution=said)

    crawl_again(there, instance, week_1)
    export(there, feed)
    done = totals(adoption(here, feed).follow(here.definitions, instance))
    assert (done["removed"], done["updated"], done["embedded"]) == (1, 1, 0)

    there.storage.takedowns().take_down([down], note="asked", now=datetime.now(UTC))
    there.storage.catalog().apply_takedowns()
    crawl_again(there, instance, lambda rows: rows.filter(pl.col("capture_id") != down), CELLS[0])
    export(there, feed)
    crawl_again(there, instance, lambda rows: pl.concat([rows, back.select(rows.columns)]))
    export(there, feed)
    following = adoption(here, feed)
    done = totals(following.follow(here.definitions, instance))
    assert (done["embedded"], following.counts["entries"], following.counts["taken_down"]) == (0, 2, 1)
    assert down in here.storage.takedowns().ids()

    export(here, mine := FolderStore(tmp_path / "mine"))
    export(there, fresh := FolderStore(tmp_path / "fresh"))
    assert_same(mine, fresh)
    assert totals(adoption(here, feed).follow(here.definitions, instance)) == Counter()

    job = there.definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(EXCHANGE.split("/"))]).success
    published = content_of(there.storage.exports())
    assert all(published[name].equals(content_of(fresh)[name]) for name in ("captures", "vectors"))

    crawl_again(there, instance, lambda rows: rows.filter(pl.col("capture_id").is_in(names.head(6).to_list()).not_()))
    state_more_captures(feed, export(there, feed).manifest)
    careful = adoption(here, feed, lambda captures: captures // 1000)
    with pytest.raises(EvidenceError, match="captures, 0 are let go unasked"):
        totals(careful.follow(here.definitions, instance))


def state_more_captures(feed: FolderStore, manifest: Manifest) -> None:
    """As somebody does who wants many to be removed: a share of all of them may be."""
    entry = entry_of(feed, manifest.sequence)
    more = entry.summary.model_copy(update={"counts": {"captures": 10**12}})
    content = entry.model_copy(update={"summary": more}).content()
    feed.put(f"{entry_folder(manifest.feed[-1])}/entry.json", content)
    feed.put("manifest.json", manifest.model_copy(update={"head": hash_of(content)}).content())


def test_a_region_of_it_is_what_the_whole_holds_there(ran: Ran, tmp_path: Path) -> None:
    whole, part = (
        content_of(exported(ran.platform, tmp_path / "a")),
        content_of(exported(ran.platform, tmp_path / "b", CELLS[:1])),
    )
    for name in ("captures", "vectors"):
        assert part[name].height and part[name].equals(whole[name].filter(cell_id=CELLS[0]))


def test_a_stranger_is_refused_before_anything_is_changed(
    ran: Ran, build_platform: Callable[[str], Platform], tmp_path: Path
) -> None:
    here, feed = build_platform("here"), FolderStore(tmp_path / "feed")
    manifest = export(ran.platform, feed).manifest
    path = feed.path(manifest.parts["nh"].vectors.key)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(PayloadError, match="its hash is not that of the manifest"):
        totals(adoption(here, feed).take(here.definitions, ran.instance))
    assert here.storage.raw().crawls().is_empty()
    assert not here.storage.takedowns().ids()
