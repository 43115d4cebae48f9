"""Whatever is lost, doubled, foreign or old: once reconciled, every store holds what the catalog wants, and no more."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.defs.running.restoring import publish_again
from geopin_assets.embedding.protocol import Model
from geopin_assets.index.publication import told
from geopin_assets.index.publish import publish_vectors
from geopin_assets.index.versions import State
from geopin_assets.platform.index_state import announce_versions, desired_rows, desired_vectors
from geopin_assets.platform.known_stores import known_stores
from geopin_assets.platform.reconcile import Reconciliation, reconcile
from geopin_assets_tests.defs.running.test_takedown import GONE, HERE, STAYS, VIEWS, below_raw, embed
from geopin_assets_tests.defs.running.test_takedown import embedded as embedded
from geopin_assets_tests.defs.running.test_takedown import published as published
from geopin_assets_tests.defs.running.test_takedown import published_once as published_once
from geopin_assets_tests.depth import IS_LONG, some
from geopin_assets_tests.index.frames import NOW, publish_rows
from geopin_assets_tests.platform import Installation, Platform

EVERYTHING = {vector_id(capture_id, view) for capture_id in (GONE, STAYS) for view in range(12)}


def look(place: Installation) -> Reconciliation:
    return reconcile(place.storage, place.search_index, place.embedding.model(), is_dry=True)


def put_right(place: Installation, instance: dg.DagsterInstance, **how: int) -> Reconciliation:
    done = reconcile(place.storage, place.search_index, place.embedding.model(), **how)
    assert not [result for result in publish_again(place.definitions, instance, done) if result.failed]
    unused = [
        store.database for store in known_stores(place.search_index) if store.database and store.state == "unused"
    ]
    announce_versions(place.storage, place.search_index, place.embedding.model(), unused)
    return done


def held(place: Installation) -> tuple[list[str], set[str], set[str]]:
    """Ids of vectors (each as often as it is there), of rows of vectors, and of rows of captures."""
    parts = place.search_index.vectors(place.search_index.publishing(place.embedding.model())).parts
    stores = place.search_index.metadata().parts
    rows = [pl.concat([s.query(f"SELECT {c} AS id FROM {t}").cast(pl.String) for s in stores])["id"] for c, t in ROWS]  # noqa: S608
    return sorted(id_ for part in parts for id_ in part.ids()), set(rows[0]), set(rows[1])


ROWS = (("vector_id", "vectors"), ("capture_id", "captures"))
WHOLE = (sorted(EVERYTHING), EVERYTHING, {GONE, STAYS})


def lose_the_ledger(place: Installation) -> None:
    place.storage.settings().ledger_path.unlink()


def lose_ledger_and_rows(place: Installation) -> None:
    lose_the_ledger(place)
    for path in place.storage.settings().index_dir.glob("metadata*"):
        path.unlink()


def lose_ledger_and_registry(place: Installation) -> None:
    lose_ledger_and_rows(place)
    (place.storage.settings().data_dir / "stores.jsonl").unlink()


def lose_rows(place: Installation) -> None:
    place.rows.delete("captures", [STAYS])
    place.rows.delete("vectors", VIEWS[3:5])


def lose_all_rows(place: Installation) -> None:
    for path in place.storage.settings().index_dir.glob("metadata*"):
        path.unlink()


def lose_vectors(place: Installation) -> None:
    place.index.delete(VIEWS[:7])


def lose_the_index(place: Installation) -> None:
    shutil.rmtree(place.storage.settings().index_dir / "vectors")


def change_a_row(place: Installation) -> None:
    row = place.rows.query("SELECT * FROM captures WHERE capture_id = ?1", [STAYS]).with_columns(
        attribution=pl.lit("nobody"), captured_at=pl.lit(None, pl.String)
    )
    place.rows.upsert("captures", row)


def double_vectors(place: Installation) -> None:
    """As two publishers did that knew nothing of each other."""
    table = place.index._table()  # type: ignore[attr-defined]
    table.add(table.search().where(f"vector_id >= '{VIEWS[6]}'").to_arrow())


def replace_vectors(place: Installation) -> None:
    """No list of ids shows it; what versions there are is told wrong as well."""
    vectors = place.index.get(VIEWS[:2])
    place.index.upsert(vectors.with_columns(embedding=vectors["embedding"].reverse()))
    told_first = place.rows.query("SELECT * FROM publication")
    for name, indexes, since in (("x-v7", '["x-v7"]', "yesterday"), ("x-v8", "no list", None), ("x-v9", "[]", None)):
        wrong = told_first.with_columns(index_name=pl.lit(name), indexes=pl.lit(indexes), version=pl.lit(int(name[-1])))
        wrong = wrong.with_columns(since=pl.lit(since)) if since else wrong
        place.rows.upsert("publication", wrong.with_columns(state=pl.lit("none" if name == "x-v9" else "serving")))


def add_orphans(place: Installation) -> None:
    rows = place.index.get(VIEWS[:3]).with_columns(vector_id="panoramax:unwanted/0" + pl.col("vector_id").str.tail(1))
    place.index.upsert(rows)
    row = place.rows.query("SELECT * FROM captures WHERE capture_id = ?1", [STAYS])
    place.rows.upsert("captures", row.with_columns(capture_id=pl.lit("panoramax:unwanted")))


def leave_a_row_behind(place: Installation) -> None:
    """It is what the ledger says, and not what is wanted any more."""
    rows = desired_rows(place.storage, [HERE]).with_columns(covered_by=pl.lit('["amsterdam","panoramax"]'))
    publish_rows(rows, [HERE], place.rows, place.search_index.ledger())


def divide_the_databases(place: Installation) -> None:
    place.set(GEOPIN_D1_SHARDS="2")


MISHAPS = [
    *(lose_ledger_and_registry, replace_vectors, lose_the_index, change_a_row, add_orphans, divide_the_databases),
    *(lose_the_ledger, lose_rows, lose_vectors, double_vectors),  # these four at once: heap by heap
    *(lose_all_rows, lose_ledger_and_rows, leave_a_row_behind),
]


def test_a_store_that_memory_does_not_hold_is_compared_heap_by_heap(
    published: Installation, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = published
    monkeypatch.setattr("geopin_assets.index.heaps.IDS_PER_HEAP", 4)
    for mishap in (lose_vectors, lose_rows, double_vectors, add_orphans, lose_the_ledger):
        mishap(place)
    put_right(place, instance)
    assert held(place) == WHOLE and look(place).is_in_order


@pytest.mark.parametrize("mishap", some(MISHAPS, 6))
def test_whatever_was_lost_is_there_again(
    published: Installation, instance: dg.DagsterInstance, mishap: Callable[[Installation], None]
) -> None:
    place = published
    assert look(place).is_in_order
    mishap(place)
    assert not look(place).is_in_order
    put_right(place, instance)
    assert held(place) == WHOLE
    assert look(place).is_in_order
    assert [v.state for v in place.search_index.versions().all()] == [State.SERVING]
    for store in place.search_index.metadata().parts:
        assert told(store).select("state", "vectors").rows() == [("serving", 24)]
    if IS_LONG or mishap in (lose_ledger_and_registry, add_orphans, divide_the_databases):
        again = below_raw(place, instance)
        assert [again[asset].totals["upserted"] for asset in ("publish/d1", "publish/vectorize")] == [0, 0]


def test_looking_changes_nothing(published: Installation) -> None:
    place = published
    lose_rows(place)
    double_vectors(place)
    before, ledger = held(place), place.search_index.ledger().published(place.index.store_key)
    found = {part.table: part.found for part in look(place).parts if part.found}
    assert found["captures"].some["lost"] == [STAYS] and sorted(found["vectors"].some["lost"]) == VIEWS[3:5]
    assert found[""].counts["doubled"] == len(found[""].some["doubled"]) == 18
    assert held(place) == before and place.search_index.ledger().published(place.index.store_key).equals(ledger)


def test_a_switch_that_was_killed_before_it_was_announced_is_announced(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place, model = published, published.embedding.model()
    second = place.search_index.rebuild(model)
    (part,) = place.search_index.vectors(second).parts
    publish_vectors(desired_vectors(place.storage, [HERE], model), [HERE], part, place.search_index.ledger(), now=NOW)
    place.search_index.versions().switch(second, NOW.replace(year=2027))
    assert told(place.rows).select("index_name", "state").rows() == [(second.name.replace("v2", "v1"), "serving")]
    put_right(place, instance)
    assert [state for _, state in sorted(told(place.rows).select("index_name", "state").rows())] == [
        "retired",
        "serving",
    ]


def test_an_older_ledger_learns_from_the_databases_which_version_serves(
    published: Installation, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    place, model = published, published.embedding.model()
    path = place.storage.settings().ledger_path
    shutil.copy(path, tmp_path / "yesterday.sqlite")
    place.search_index.rebuild(model)
    below_raw(place, instance)
    states = [(v.name, v.state) for v in place.search_index.versions().all()]
    assert [state for _, state in states] == [State.RETIRED, State.SERVING]
    for leftover in path.parent.glob("ledger.sqlite*"):
        leftover.unlink()
    shutil.copy(tmp_path / "yesterday.sqlite", path)
    put_right(place, instance)
    assert [(v.name, v.state) for v in place.search_index.versions().all()] == states
    assert held(place) == WHOLE and look(place).is_in_order


def test_what_was_taken_down_leaves_versions_that_are_only_kept(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place, older = published, Model("older-model", 16, is_place_recognition=True)
    embed(place, older)
    kept = place.search_index.publishing(older)
    (part,) = place.search_index.vectors(kept).parts
    publish_vectors(desired_vectors(place.storage, [HERE], older), [HERE], part, place.search_index.ledger(), now=NOW)
    place.storage.catalog().takedowns().take_down([GONE], note="", now=NOW)
    put_right(place, instance)
    assert sorted(part.ids()) == [vector_id(STAYS, view) for view in range(12)]
    assert held(place)[2] == {STAYS}


def test_most_of_a_store_is_not_removed_without_being_asked(
    published: Installation, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = published
    monkeypatch.setattr("geopin_assets.index.reconcile.FEW", 3)
    place.storage.catalog().takedowns().take_down([GONE, STAYS], note="", now=NOW)
    refused = put_right(place, instance)
    assert any("--max-removals 24" in part.error for part in refused.parts)
    assert held(place)[0] == sorted(EVERYTHING)
    put_right(place, instance, max_removals=24)
    assert held(place) == ([], set(), set())


def test_another_backend_and_what_it_left_behind(
    build_platform: Callable[[str], Platform], instance: dg.DagsterInstance
) -> None:
    """Published to the account, then to the folder: a takedown and a reconciliation reach both."""
    platform = build_platform("reconciled")
    platform.set(GEOPIN_INDEX="cloudflare")
    platform.run(instance, sources=("panoramax",), reports=False)
    index, rows = platform.index, platform.rows
    platform.set(GEOPIN_INDEX="embedded")
    platform.run(instance, sources=("panoramax",), reports=False)
    gone = platform.storage.catalog().ids()[0]
    platform.storage.catalog().takedowns().take_down([gone], note="", now=NOW)
    found = put_right(platform, instance)
    assert {part.store.key.partition(":")[0] for part in found.parts} == {"lance", "sqlite", "vectorize", "d1"}
    assert index.get([vector_id(gone, 0)]).is_empty() and rows.count("captures") == 11
    assert platform.index.get([vector_id(gone, 0)]).is_empty() and look(platform).is_in_order


def test_where_nothing_is_there_yet_or_can_be_asked_looking_finds_nothing(tmp_path: Path) -> None:
    place = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})
    assert not [part.found for part in look(place).parts if part.found]
