"""Whatever is lost, older or another's, nothing is deleted for it, and what was taken down stays away."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.embedding.plan import FAILURE_SCHEMA, CellTask, OpenCell
from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.vectors import HELD_SCHEMA, vector_rows
from geopin_assets.errors import DamagedFileError, EvidenceError, StaleCatalogError, StaleLedgerError
from geopin_assets.index.ledger import REMEMBERED
from geopin_assets.index.publish import publish_each, publish_vectors
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.index_state import desired_rows, desired_vectors, desired_views
from geopin_assets_tests.depth import some
from geopin_assets_tests.factories import DAY_2, DAY_3, capture, crawl
from geopin_assets_tests.index.frames import NOW
from geopin_assets_tests.platform import CELLS, Installation

HERE, THERE = CELLS
NUMBERS = [str(n) for n in range(6)]
GONE = "panoramax:0"


def embed(place: Installation, cell_id: str, numbers: list[str]) -> None:
    """Vectors without images: what `index/embeddings` leaves for flat captures."""
    model = place.embedding.model()
    images = [CaptureImage(cell_id, f"panoramax:{n}", "panoramax", n, "", "1", False, 90.0) for n in numbers]
    vectors = np.random.default_rng(1).normal(size=(len(images), model.dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cell = place.vectors(cell_id)
    cell.append(vector_rows(images, [0] * len(images), vectors.astype(np.float16), model.model_id))
    held = [(image.capture_id, "1", 1, 90.0, 0) for image in images]
    cell.commit(pl.DataFrame(held, schema=HELD_SCHEMA, orient="row"), cell.held())


def embed_again(place: Installation, cell_id: str) -> int:
    """As `index/embeddings` does where no image can be had; how many images the cell holds then."""
    evidence = Evidence(place.storage)
    evidence.check()
    cell, captures = place.vectors(cell_id), place.storage.catalog().wanted([cell_id])
    OpenCell.of(CellTask(cell_id, captures, FAILURE_SCHEMA.to_frame(), cell, evidence.gone), NOW).finish(NOW, {})
    return cell.held().height


def publish(place: Installation, *cells: str, max_removals: int | None = None) -> None:
    """As the publish assets do."""
    stores, ledger = place.search_index.metadata(), place.search_index.ledger()
    evidence = Evidence(place.storage, stores.parts, max_removals=max_removals)
    evidence.check()
    cells = cells or CELLS
    evidence.foresee(cells, ledger)
    model = place.embedding.model()
    desired = desired_vectors(place.storage, cells, model)
    publish_vectors(desired, cells, place.index, ledger, now=NOW, evidence=evidence)
    tables = {"captures": desired_rows(place.storage, cells), "vectors": desired_views(place.storage, cells, [model])}
    parts = [(RowTarget(place.rows, TABLES[name]), rows) for name, rows in tables.items()]
    publish_each(parts, cells, ledger, now=NOW, evidence=evidence)


def held(place: Installation) -> set[str]:
    """Captures with a vector, or a row, in the stores themselves."""
    place.index.create()
    rows = place.rows.query("SELECT capture_id FROM captures")["capture_id"].to_list()
    return {id_.rpartition("/")[0] for id_ in place.index.ids()} | set(rows)


def merge(place: Installation, *cells: str) -> None:
    place.storage.catalog().merge(cells or CELLS, place.storage.raw())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two cells of three captures, crawled, merged, embedded and published."""
    place = Installation(tmp_path_factory.mktemp("made"), {"GEOPIN_PROFILE": "sandbox", "GEOPIN_REMOVAL_FLOOR": "0"})
    for cell_id, numbers in ((HERE, NUMBERS[:3]), (THERE, NUMBERS[3:])):
        crawl(place.storage.raw(), cell_id, [capture(n) for n in numbers])
        embed(place, cell_id, numbers)
    merge(place)
    publish(place)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS}
    return place


@pytest.fixture
def place(made: Installation, tmp_path: Path) -> Installation:
    return made.copy(tmp_path)


def catalog_path(place: Installation) -> Path:
    return place.storage.settings().catalog_path


def delete_catalog(place: Installation, tmp_path: Path) -> None:
    catalog_path(place).unlink()


def delete_catalog_and_look(place: Installation, tmp_path: Path) -> None:
    """Whoever looks into it makes an empty one."""
    catalog_path(place).unlink()
    assert place.storage.catalog().ids().is_empty()


def delete_catalog_and_merge_a_cell(place: Installation, tmp_path: Path) -> None:
    catalog_path(place).unlink()
    for _ in range(5):
        merge(place, THERE)


def put_back_an_older_one(place: Installation, tmp_path: Path) -> None:
    shutil.copy(catalog_path(place), tmp_path / "older")
    crawl(place.storage.raw(), HERE, [capture(n) for n in (*NUMBERS[:3], "new")], crawled_at=DAY_2)
    embed(place, HERE, [*NUMBERS[:3], "new"])
    merge(place, HERE)
    publish(place)
    shutil.copy(tmp_path / "older", catalog_path(place))


def put_back_an_older_one_and_merge_on(place: Installation, tmp_path: Path) -> None:
    put_back_an_older_one(place, tmp_path)
    for _ in range(5):
        merge(place, THERE)


WAYS = [
    *(delete_catalog_and_look, delete_catalog_and_merge_a_cell, put_back_an_older_one_and_merge_on),
    *(delete_catalog, put_back_an_older_one),  # the beginning of those
]


@pytest.mark.parametrize("lose", some(WAYS, 3))
def test_a_lost_or_older_catalog_stops_embedding_and_publishing_until_all_raw_files_are_merged(
    place: Installation, tmp_path: Path, lose: Callable[[Installation, Path], None]
) -> None:
    lose(place, tmp_path)
    before = held(place)
    for cells in (CELLS, (HERE,), (THERE,)):
        with pytest.raises(StaleCatalogError, match="geopin merge"):
            publish(place, *cells)
    with pytest.raises(StaleCatalogError, match="geopin merge"):
        embed_again(place, HERE)
    assert held(place) == before
    assert place.vectors(HERE).held().height >= 3
    merge(place)
    publish(place)
    assert held(place) == before
    assert embed_again(place, HERE) == len(place.storage.catalog().wanted([HERE]))


def test_a_catalog_of_another_installation_is_neither_published_nor_merged_into(
    place: Installation, tmp_path: Path
) -> None:
    other = Installation(tmp_path / "other", {"GEOPIN_PROFILE": "sandbox"})
    crawl(other.storage.raw(), HERE, [])
    merge(other)
    Evidence(other.storage).check()
    shutil.copy(catalog_path(other), catalog_path(place))
    before = held(place)
    with pytest.raises(StaleCatalogError, match="is of installation"):
        publish(place)
    with pytest.raises(StaleCatalogError, match="another installation's"):
        merge(place)
    assert held(place) == before


def test_a_lost_or_older_ledger_stops_publishing_until_the_stores_were_asked(
    place: Installation, tmp_path: Path
) -> None:
    ledger = place.storage.settings().ledger_path
    shutil.copy(ledger, tmp_path / "older")
    merge(place)
    publish(place)
    for lose in (lambda: ledger.unlink(), lambda: shutil.copy(tmp_path / "older", ledger)):
        lose()
        with pytest.raises(StaleLedgerError, match="geopin reconcile"):
            publish(place)
    Evidence(place.storage, place.search_index.metadata().parts).settle()
    publish(place)


def test_a_cell_that_nobody_crawled_again_keeps_what_is_published_of_it(place: Installation) -> None:
    """Catalog and a raw file are gone: the rest is complete, and says nothing about that cell."""
    catalog_path(place).unlink()
    place.storage.raw().objects.delete([place.storage.raw().key("panoramax", HERE)])
    merge(place)
    publish(place)
    assert embed_again(place, HERE) == 3
    crawl(place.storage.raw(), HERE, [capture("0")], crawled_at=DAY_2, is_complete=False)
    merge(place)
    publish(place)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS}, "an incomplete crawl shows nothing of the rest"
    assert embed_again(place, HERE) == 3
    crawl(place.storage.raw(), HERE, [capture("0"), capture("1")], crawled_at=DAY_3)
    merge(place)
    publish(place, max_removals=1)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS if n != "2"}
    assert embed_again(place, HERE) == 2


def test_vectors_stay_in_the_index_when_their_files_are_lost(place: Installation) -> None:
    place.storage.embeddings().delete([place.vectors(HERE).key])
    publish(place, max_removals=100)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS}
    assert len(list(place.index.ids())) == place.rows.count("vectors") == 6


def test_more_than_a_share_is_deleted_only_when_somebody_asks(place: Installation) -> None:
    crawl(place.storage.raw(), HERE, [], crawled_at=DAY_2)
    merge(place)
    with pytest.raises(EvidenceError, match=r"3 of 6 would be deleted, and at most 1 .*--max-removals 3"):
        publish(place)
    with pytest.raises(EvidenceError, match="at most 2"):
        publish(place, max_removals=2)
    assert len(held(place)) == 6
    publish(place, max_removals=3)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS[3:]}


def test_many_small_runs_do_not_delete_what_one_must_not(place: Installation) -> None:
    place.set(GEOPIN_REMOVAL_FLOOR="0", GEOPIN_MAX_REMOVAL_SHARE="0.4")
    for day, left in enumerate(("12", "2"), start=1):
        crawl(place.storage.raw(), HERE, [capture(n) for n in left], crawled_at=DAY_2 + timedelta(days=day))
        merge(place)
        publish(place, HERE)
    crawl(place.storage.raw(), HERE, [], crawled_at=DAY_3 + timedelta(days=day))
    merge(place)
    with pytest.raises(EvidenceError, match="1 of 4 would be deleted, 2 were within a week, and at most 1 "):
        publish(place, HERE)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS[2:]}
    publish(place, HERE, max_removals=1)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS[3:]}
    ledger, key = place.search_index.ledger(), RowTarget(place.rows, TABLES["captures"]).key
    assert ledger.removals(key, NOW) == 2, "what was asked for does not count"
    assert ledger.removals(key, NOW + REMEMBERED + timedelta(seconds=1)) == 0
    assert ledger.removals(key, NOW - timedelta(seconds=1)) == 0, "a clock that was ahead holds nobody up"


def test_a_floor_lets_small_installations_change(place: Installation) -> None:
    place.set(GEOPIN_REMOVAL_FLOOR="6")
    crawl(place.storage.raw(), HERE, [], crawled_at=DAY_2)
    crawl(place.storage.raw(), THERE, [], crawled_at=DAY_2)
    merge(place)
    publish(place)
    assert held(place) == set()


def copies(place: Installation) -> dict[str, Path]:
    settings = place.storage.settings()
    return {
        "file": settings.takedowns_path,
        "raw": settings.data_dir / "raw" / "takedowns.jsonl",
        "index": settings.index_dir / "takedowns.jsonl",
        "rows": settings.index_dir / "metadata.sqlite",
        "catalog": settings.catalog_path,
    }


@pytest.mark.parametrize("survivor", some(["rows", "catalog", "raw", "index", "file"], 3))
def test_a_lost_list_is_restored_from_any_copy_and_nothing_comes_back(place: Installation, survivor: str) -> None:
    place.storage.takedowns().take_down([GONE], note="asked", now=NOW)
    publish(place)
    assert GONE not in held(place)
    for name, path in copies(place).items():
        if name == survivor:
            continue
        if name == "rows":
            place.rows.delete("takedowns", place.rows.query("SELECT entry_id FROM takedowns")["entry_id"].to_list())
        else:
            path.unlink()
    crawl(place.storage.raw(), HERE, [capture(n) for n in NUMBERS[:3]], crawled_at=DAY_2)
    for _ in range(2):
        merge(place)
        publish(place)
        assert GONE not in held(place)
    assert place.storage.takedowns().listed()["note"].to_list() == ["asked"]
    assert all(GONE.encode() in copies(place)[name].read_bytes() for name in ("file", "raw", "index"))
    assert place.rows.query("SELECT capture_id FROM takedowns")["capture_id"].to_list() == [GONE]


@pytest.mark.parametrize("name", some(["file", "index", "raw"], 2))
def test_a_damaged_list_stops_everything_and_is_mended_from_its_copies(place: Installation, name: str) -> None:
    takedowns = place.storage.takedowns()
    takedowns.take_down([GONE], note="asked", now=NOW)
    publish(place)
    takedowns.take_down(["panoramax:1"], note="too", now=NOW)
    takedowns.sync()
    path = copies(place)[name]
    path.write_bytes(path.read_bytes().replace(b"panoramax:0", b"panoramax:9"))
    for attempt in (publish, merge):
        with pytest.raises(DamagedFileError, match="takedown --mend"):
            attempt(place)
    with pytest.raises(DamagedFileError, match="takedown --mend"):
        takedowns.of("panoramax")
    mended = takedowns.mend()
    assert mended and mended.bad_lines == 1 and len(mended.set_aside) == 1
    assert takedowns.ids() == {GONE, "panoramax:1"}
    publish(place)
    assert held(place) == {f"panoramax:{n}" for n in NUMBERS[2:]}
    assert takedowns.mend() is None


def test_what_is_thinned_stays_in_the_index_until_what_stands_for_it_is_there(place: Installation) -> None:
    """Where the file of vectors was lost meanwhile, one of them stands for the others until then."""
    place.set(GEOPIN_THIN_M="10")
    newer = capture("newer", captured_at=NOW)
    crawl(place.storage.raw(), HERE, [*(capture(n) for n in NUMBERS[:3]), newer], crawled_at=DAY_2)
    merge(place, HERE)
    assert place.storage.catalog().wanted([HERE])["capture_id"].to_list() == [newer.capture_id]

    def published(*numbers: str) -> bool:
        publish(place, HERE)
        return {id_.rpartition("/")[0] for id_ in place.index.ids()} == {f"panoramax:{n}" for n in numbers}

    assert published(*NUMBERS)
    place.vectors(HERE).objects.delete([place.vectors(HERE).key])
    assert published(NUMBERS[0], *NUMBERS[3:])
    embed(place, HERE, ["newer"])
    assert published("newer", *NUMBERS[3:])


def test_what_was_read_before_a_takedown_is_not_published_after_it(place: Installation) -> None:
    """Another process has read what it wants to publish; then the capture is taken down."""
    evidence, model = Evidence(place.storage), place.embedding.model()
    desired = desired_vectors(place.storage, [HERE], model)
    rows = desired_rows(place.storage, [HERE])
    place.storage.takedowns().take_down([GONE], note="", now=NOW)
    ledger = place.search_index.ledger()
    publish_vectors(desired, [HERE], place.index, ledger, now=NOW, evidence=evidence)
    publish_each([(RowTarget(place.rows, TABLES["captures"]), rows)], [HERE], ledger, now=NOW, evidence=evidence)
    assert GONE not in held(place)
    assert place.index.get([vector_id(GONE, 0)]).is_empty()


def test_a_day_old_copy_of_everything_local_does_not_bring_back_what_was_taken_down(
    place: Installation, tmp_path: Path
) -> None:
    """All but the rows store, which is elsewhere as D1 is."""
    settings = place.storage.settings()
    shutil.copytree(settings.data_dir, tmp_path / "day old")
    place.storage.takedowns().take_down([GONE], note="", now=NOW)
    merge(place)
    publish(place)
    rows = (settings.index_dir / "metadata.sqlite").read_bytes()
    shutil.rmtree(settings.data_dir)
    shutil.copytree(tmp_path / "day old", settings.data_dir)
    for suffix in ("-wal", "-shm"):
        (settings.index_dir / f"metadata.sqlite{suffix}").unlink(missing_ok=True)
    (settings.index_dir / "metadata.sqlite").write_bytes(rows)
    with pytest.raises((StaleCatalogError, StaleLedgerError)):
        publish(place)
    assert place.storage.takedowns().ids() == {GONE}
