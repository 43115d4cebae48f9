"""Files are replaced, SQLite is opened and locks are taken in `files/` only."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "geopin_assets"
OTHERS = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "files" and "data" not in path.parts]


@pytest.mark.parametrize(
    "way",
    [r"sqlite3\.connect", r"\bfcntl\b|FileLock", r"os\.replace|os\.rename|\.partial\b|mkstemp|NamedTemporaryFile"],
)
def test_no_room_has_a_way_of_its_own(way: str) -> None:
    assert [path.name for path in OTHERS if re.search(way, path.read_text(encoding="utf-8"))] == []


def test_nothing_is_written_in_place() -> None:
    assert [
        path.name for path in OTHERS if re.search(r"\.write_(text|bytes)\(", path.read_text(encoding="utf-8"))
    ] == []
