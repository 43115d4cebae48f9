"""What a week changed is fetched, and nothing else: the cost of a weekly run follows change, not size."""

from pathlib import Path

import polars as pl

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets.embedding.plan import CellEmbeddings
from geopin_assets_tests.embedding.cells import Links, OneImage, Week
from geopin_assets_tests.embedding.pictures import encoded, smooth

FETCHED_AT_MOST = 0.012
"""Of all images, when 1 % of the captures changed and every link is another."""


def run(week: Week, folder: Path) -> tuple[int, dict[str, CellEmbeddings]]:
    """(images fetched, the finished cells) of embedding a week. No other link is renewed."""
    fetcher, links = OneImage(encoded(smooth(64, 48))), Links()
    finished = dict(
        embed_cells(week.tasks(folder), embedder=Thumbnail(), fetcher=fetcher, renew=links.renew, many=9**9)
    )
    assert links.renewed == fetcher.fetched
    cells = {cell_id: done for cell_id, done in finished.items() if isinstance(done, CellEmbeddings)}
    assert cells.keys() == week.cells.keys()
    return fetcher.fetched, cells


def vectors(week: Week, folder: Path) -> dict[str, pl.DataFrame]:
    return {task.cell_id: task.vectors.read() for task in week.tasks(folder)}


def test_when_one_capture_in_a_hundred_changed_about_one_image_in_a_hundred_is_fetched(tmp_path: Path) -> None:
    first = Week.first(cells=4, per_cell=300)
    second = first.next(of_each=1)
    assert run(first, tmp_path)[0] == len(first)
    fetched, cells = run(second, tmp_path)
    assert 0 < fetched <= FETCHED_AT_MOST * len(first)
    for cell in cells.values():
        assert (cell.stats.embedded, cell.stats.reused, cell.stats.removed_vectors, cell.stats.failed) == (
            2,
            298,
            1,
            {},
        )


def test_the_vectors_of_what_did_not_change_are_the_same_bytes_as_before(tmp_path: Path) -> None:
    first = Week.first(cells=2, per_cell=60)
    second = first.next(of_each=20)
    run(first, tmp_path)
    before = vectors(first, tmp_path)
    run(second, tmp_path)
    for cell_id, now in vectors(second, tmp_path).items():
        was, found = before[cell_id], second.cells[cell_id]
        assert set(now["capture_id"]) == set(found["capture_id"])
        in_both = now.join(was, on=["vector_id", "image_version"], how="semi")
        assert in_both.equals(was.join(now, on=["vector_id", "image_version"], how="semi"))
        assert len(in_both) == 60 - 2 * 20


def test_a_week_that_only_brought_other_links_fetches_nothing_and_leaves_the_files_alone(tmp_path: Path) -> None:
    first = Week.first(cells=2, per_cell=50)
    run(first, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert run(first.next(of_each=0), tmp_path)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
