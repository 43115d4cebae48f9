"""Ids in any number, in heaps that memory holds."""

from pathlib import Path

import polars as pl
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.index import heaps
from geopin_assets.index.heaps import Heaps, heaps_for

SCHEMA = {"id": pl.String(), "cell_id": pl.String()}


def dealt(number: int, pages: int) -> list[pl.DataFrame]:
    """Twelve views each of ten captures a page."""
    with Heaps(number, SCHEMA) as found:
        for page in range(pages):
            ids = [vector_id(f"panoramax:{page}/{n}", view) for n in range(10) for view in range(12)]
            found.add(pl.DataFrame({"cell_id": f"cell-{page}", "id": ids, "more": 1}))
        return list(found)


@pytest.mark.parametrize("number", [1, 2, 7])
@pytest.mark.parametrize("pages", [0, 1, 20])
def test_every_row_is_in_one_heap_and_views_of_a_capture_are_together(
    number: int, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaps, "IDS_PER_HEAP", 250)
    found = dealt(number, pages)
    assert len(found) == number and all(heap.schema == SCHEMA for heap in found)
    assert pl.concat(found)["id"].n_unique() == pl.concat(found).height == 120 * pages
    owners = [set(heap["id"].str.head(-3)) for heap in found]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 10 * pages


def test_a_heap_holds_its_share_and_nothing_is_left_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(heaps, "IDS_PER_HEAP", 300)
    found = dealt(heaps_for(120 * 50), 50)
    assert len(found) == 21 and max(heap.height for heap in found) < 2.5 * 300
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), Heaps(3, SCHEMA) as full:
        full.add(pl.DataFrame({"id": [str(n) for n in range(1000)], "cell_id": ""}))
        assert any(tmp_path.rglob("*-0"))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
