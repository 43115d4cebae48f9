"""An answer put together: the same from every backend, in however many shards."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.locate.confidence import Calibration, Weights
from geopin_assets.locate.locator import Locator
from geopin_assets.locate.search import Area
from geopin_assets.locate.witnesses import Match
from geopin_assets_tests.locate.places import DAM, Shown, indexed, look, sharded

NOW = datetime(2026, 11, 29, 8, 1, 2, tzinfo=UTC)
CELLS = {"nh-amsterdam-r090c051": "r09c05", "zh-leiden-r070c041": "r07c04", "ut-utrecht-r080c061": "r08c06"}
UNSURE = Calibration(
    "test", Weights(-3.0, (4.0, 1.0, 0.5, -0.5)), Weights(-3.0, (4.0, 1.0, 0.5, -0.5, 0.3)), (0.0, 1.0), (500.0, 5.0),
    0.7, 0.1, reorders=True, provenance={},
)  # fmt: skip


def town() -> list[Shown]:
    """Thirty places, shown by three sources; some posted twice, some doubted."""
    shown = []
    for place in range(30):
        cell_id, block = list(CELLS.items())[place % 3]
        for number, source in enumerate("abc"):
            looks, taken = look(place, 0.2, 100 * place + number), NOW - timedelta(days=40 * number + place)
            one = Shown(str(place), source, 60.0 * place + 4 * number, looks, f"{source}{place}", taken, cell_id)
            shown.append(replace(one, cell_block=block, trust=0.4 if (place + number) % 7 == 0 else None))
        if place % 5 == 0:
            shown.append(replace(shown[-1], name=f"{place}-again", source="d"))
    return shown


def points(matches: Sequence[Match]) -> dict[str, int]:
    return {match["capture_id"]: sum(match["capture_id"].encode()) % 90 for match in matches}


def rounded(answer: Any) -> Any:
    """As far as scores of fewer bits leave open."""
    if isinstance(answer, dict):
        return {name: rounded(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return list(map(rounded, answer))
    return pytest.approx(answer, rel=0.01, abs=0.005) if isinstance(answer, float) else answer


def told(by: Locator, place: int, **asked: Any) -> dict[str, Any]:
    """Without the order of what is nearly as alike, and the term that has likeness in digits."""
    answer = by.locate(look(place, 0.1, 5)[None], top=4, **asked).to_dict()
    assert [match.pop("rank") for match in answer["matches"]] == [1, 2, 3, 4]
    answer["matches"].sort(key=lambda match: str(match["capture_id"]))
    answer["terms"] = [term for term in answer["terms"] if "likeness" not in term]
    return answer


def test_cloudflare_answers_from_two_shards_as_the_embedded_index_does(tmp_path: Path) -> None:
    """Matches, terms, copies, doubts and alternatives, with and without points, everywhere and nearby."""
    shown, nearby = town(), Area(frozenset(CELLS), (*DAM, 900.0))
    options: list[dict[str, Any]] = [
        {}, {"area": nearby}, {"compare": points, "verify": 4}, {"verify": 4, "area": nearby},
    ]  # fmt: skip
    with sharded(tmp_path, shown, 2) as (index, store):
        assert all(part.info().vector_count for part in index.shards.parts)
        here, there = (Locator(*stores, "test", "v1", UNSURE) for stores in (indexed(tmp_path, shown), (index, store)))
        for place in (0, 7, 12):
            for asked in options:
                answer = told(here, place, **asked)
                assert told(there, place, **asked) == rounded(answer)
                assert answer["matches"] and answer["alternatives"]
        assert any(match["copy_of"] for match in told(here, 0)["matches"])
