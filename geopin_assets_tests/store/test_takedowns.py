"""What was taken down is out of the catalog and stays out, whatever is crawled, merged or copied back."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.files.object_store import ObjectStore, open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets.store.takedowns import Takedowns
from geopin_assets_tests.depth import examples
from geopin_assets_tests.factories import DAY_1, DAY_2, DAY_3, capture, crawl
from geopin_assets_tests.store.failed_images import fail

A, B = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"
GONE = "panoramax:1"


@pytest.fixture
def raw(tmp_path: Path) -> RawStore:
    return RawStore(open_store(tmp_path / "raw"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog.duckdb")


def take_down(catalog: Catalog, *capture_ids: str, note: str = "", now: datetime = DAY_2) -> None:
    catalog.takedowns().take_down(capture_ids, note=note, now=now)
    catalog.apply_takedowns()


def history(catalog: Catalog, capture_id: str = GONE) -> dict[str, object]:
    return catalog.query("select * from capture_history where capture_id = ?", [capture_id]).row(0, named=True)


def test_a_capture_taken_down_leaves_the_catalog_at_once_with_a_tombstone(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    catalog.merge([A], raw)
    take_down(catalog, GONE)
    assert catalog.ids().to_list() == ["panoramax:2"]
    assert history(catalog)["removed_at"] is not None
    assert history(catalog, "panoramax:2")["removed_at"] is None


def test_its_embedding_failure_leaves_too_and_no_other(catalog: Catalog) -> None:
    failure = {"source": "panoramax", "image_version": "1", "reason": "not_found", "attempts": 1}
    failures = [failure | {"capture_id": f"panoramax:{n}", "last_tried_at": DAY_1, "next_try_at": DAY_2} for n in "12"]
    catalog.ids()
    fail(catalog, {A: pl.DataFrame(failures)})
    assert catalog.find_captures([GONE]).rows() == [("embedding_failures", GONE, A)]
    take_down(catalog, GONE)
    assert catalog.failures([A])["capture_id"].to_list() == ["panoramax:2"]


def test_a_crawl_that_still_returns_it_does_not_bring_it_back(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    catalog.merge([A], raw)
    take_down(catalog, GONE)
    removed_at = history(catalog)["removed_at"]
    crawl(raw, A, [capture("1"), capture("2")], crawled_at=DAY_3)
    report = catalog.merge([A], raw)
    assert catalog.ids().to_list() == ["panoramax:2"]
    assert report.duplicates == 0
    assert (history(catalog)["last_seen_at"], history(catalog)["removed_at"]) == (DAY_1, removed_at)


def test_a_capture_taken_down_before_it_was_ever_crawled_never_comes_in(raw: RawStore, catalog: Catalog) -> None:
    take_down(catalog, GONE)
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    assert catalog.ids().is_empty()
    assert catalog.query("from capture_history").is_empty()


def test_it_does_not_come_back_in_another_cell_either(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    take_down(catalog, GONE)
    crawl(raw, B, [capture("1", lon=4.9)], crawled_at=DAY_3)
    catalog.merge([A, B], raw)
    assert catalog.ids().is_empty()


@pytest.mark.parametrize("is_merged", [True, False])
def test_old_raw_files_copied_back_do_not_bring_it_back(
    raw: RawStore, catalog: Catalog, tmp_path: Path, is_merged: bool
) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    shutil.copytree(tmp_path / "raw", tmp_path / "backup")
    if is_merged:
        catalog.merge([A], raw)
    take_down(catalog, GONE)
    raw.take_down("panoramax", A, [GONE])
    catalog.merge([A], raw)
    shutil.rmtree(tmp_path / "raw")
    shutil.copytree(tmp_path / "backup", tmp_path / "raw")
    catalog.merge([A], raw)
    assert catalog.ids().to_list() == ["panoramax:2"]


def test_the_list_outlives_the_raw_files(raw: RawStore, catalog: Catalog, tmp_path: Path) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    take_down(catalog, GONE)
    shutil.rmtree(tmp_path / "raw")
    catalog.merge([A], raw)
    assert catalog.takedowns().of("panoramax") == {GONE}


def test_of_two_machines_that_tell_of_their_takedowns_at_once_none_takes_the_other_s_away(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    second = Takedowns(tmp_path / "second.jsonl", lambda: [object_store])
    put, turns = object_store.put, iter([True])

    def overtaken(*given: Any, **condition: Any) -> str:
        if next(turns, False):
            second.take_down(["panoramax:2"], note="asked", now=DAY_2)
            second.sync()
        return put(*given, **condition)

    first = Takedowns(tmp_path / "first.jsonl", lambda: [object_store])
    first.take_down([GONE], note="asked", now=DAY_1)
    object_store.put = overtaken  # type: ignore[method-assign]
    first.sync()
    assert Takedowns(tmp_path / "third.jsonl", lambda: [object_store]).ids() == {GONE, "panoramax:2"}
    assert first.ids() == second.ids() == {GONE, "panoramax:2"}


def test_undo_lets_the_next_crawl_bring_it_back_and_not_the_last_one(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    take_down(catalog, GONE, "panoramax:never seen")
    assert catalog.takedowns().undo([GONE, "panoramax:never listed"], now=DAY_3) == [GONE]
    catalog.merge([A], raw)
    assert catalog.ids().is_empty()
    crawl(raw, A, [capture("1")], crawled_at=DAY_3)
    catalog.merge([A], raw)
    assert catalog.ids().to_list() == [GONE]
    assert (history(catalog)["first_seen_at"], history(catalog)["removed_at"]) == (DAY_1, None)
    assert catalog.takedowns().of("panoramax") == {"panoramax:never seen"}


def test_the_account_of_a_merged_crawl_follows_what_was_taken_out_of_its_file(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    before = catalog.merge([A], raw).cells["data_version"].item()
    take_down(catalog, GONE)
    account = raw.take_down("panoramax", A, [GONE])
    after = catalog.merge([A], raw).cells.row(0, named=True)
    (merged,) = catalog.crawls().iter_rows(named=True)
    assert (merged["captures"], merged["rejected"]) == (1, '{"taken_down":1}')
    assert (merged["crawled_at"], merged["data_version"]) == (DAY_1, account.data_version)
    assert (after["captures"], after["data_version"] != before) == (1, True)


def test_the_list_says_since_when_why_and_when_each_was_last_crawled(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    take_down(catalog, "flickr:7", GONE, note="house owner asked")
    listed = [("flickr:7", DAY_2, "house owner asked"), (GONE, DAY_2, "house owner asked")]
    assert catalog.takedowns().listed().rows() == listed
    assert catalog.last_seen([GONE, "flickr:7"]) == {GONE: DAY_1}


def test_taking_down_again_keeps_the_day_and_a_note_until_there_is_another(catalog: Catalog) -> None:
    takedowns = catalog.takedowns()
    notes = []
    for note, now in (("first", DAY_1), ("", DAY_2), ("second", DAY_3)):
        takedowns.take_down([GONE, GONE], note=note, now=now)
        ((_, since, kept),) = takedowns.listed().rows()
        assert since == DAY_1
        notes.append(kept)
    assert notes == ["first", "first", "second"]


def test_a_source_is_told_its_own_captures_only(catalog: Catalog) -> None:
    take_down(catalog, "mapillary:1", "mapilio:1", "panoramax:mapillary:2")
    assert catalog.takedowns().of("mapillary") == {"mapillary:1"}
    assert catalog.takedowns().of("panoramax") == {"panoramax:mapillary:2"}


def test_looking_at_the_list_makes_no_catalog(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.takedowns().of("panoramax") == frozenset()
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_made_before_there_was_a_list_has_an_empty_one(
    raw: RawStore, catalog: Catalog, tmp_path: Path
) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    with duckdb.connect(str(tmp_path / "catalog.duckdb")) as old:
        old.execute("drop table takedowns")
    assert catalog.takedowns().listed().is_empty()
    take_down(catalog, GONE)
    assert catalog.takedowns().of("panoramax") == {GONE}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("crawl"), st.sampled_from([A, B]), st.sets(st.integers(0, 4)), st.booleans()),
        st.tuples(st.sampled_from(["take down", "undo"]), st.integers(0, 4)),
        st.tuples(st.just("copy back")),
    ),
    max_size=10,
)


@settings(max_examples=examples(4, 300), deadline=None)
@given(steps)
def test_any_sequence_of_crawls_takedowns_and_undoings_ends_without_what_is_on_the_list(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[tuple]
) -> None:
    """Crawls that know of no takedown, complete ones that no longer return a capture, and old files included."""
    folder = tmp_path_factory.mktemp("takedowns")
    raw, catalog = RawStore(open_store(folder / "raw", is_durable=False)), Catalog(folder / "catalog.duckdb")
    (folder / "raw").mkdir()
    files: dict[str, dict[str, int]] = {A: {}, B: {}}  # cell -> capture_id -> which crawl saw it last
    merged: dict[str, dict[str, int]] = {A: {}, B: {}}  # without what was on the list when the file was last merged
    down: set[str] = set()
    is_old = False
    for days, (step, *given_) in enumerate(sequence):
        now = DAY_1 + timedelta(days=days)
        if step == "crawl":
            cell_id, numbers, is_complete = given_
            found = [capture(str(n)) for n in sorted(numbers)]
            crawl(raw, cell_id, found, crawled_at=now, is_complete=is_complete)
            seen = {c.capture_id: days for c in found}
            files[cell_id] = seen if is_complete else files[cell_id] | seen
            merged[cell_id] = {k: nth for k, nth in files[cell_id].items() if k not in down}
        elif step == "copy back":
            shutil.copytree(folder / "backup", folder / "raw", dirs_exist_ok=True) if is_old else None
            shutil.copytree(folder / "raw", folder / "backup", dirs_exist_ok=True)
            is_old = True
        elif step == "undo":
            catalog.takedowns().undo([f"panoramax:{given_[0]}"], now=now)
            down.discard(f"panoramax:{given_[0]}")
        else:
            gone = f"panoramax:{given_[0]}"
            down.add(gone)
            for cell_id, seen in files.items():
                if seen.pop(gone, None) is not None:
                    merged[cell_id] = {k: nth for k, nth in seen.items() if k not in down}
            take_down(catalog, gone, now=now)
            for cell_id, _ in list(raw.find_captures("panoramax", [gone])):
                raw.take_down("panoramax", cell_id, [gone])
            assert not list(raw.find_captures("panoramax", [gone]))
        catalog.merge([A, B], raw)
        held = {k: c for c in (A, B) for k in catalog.captures([c])["capture_id"]}
        assert not down & set(held)
        newest: dict[str, tuple[int, str]] = {}
        for cell_id, seen in merged.items():
            for capture_id, nth in seen.items():
                newest[capture_id] = max(newest.get(capture_id, (-1, "")), (nth, cell_id))
        assert is_old or held == {capture_id: cell_id for capture_id, (_, cell_id) in newest.items()}
