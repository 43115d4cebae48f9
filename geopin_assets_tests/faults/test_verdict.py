"""The table itself: what it is made of exists, and it does not say that all is well when it is not."""

import json
from pathlib import Path

import pytest

from geopin_assets_tests.faults.__main__ import CLASSES, files
from geopin_assets_tests.faults.verdict import NOUGHT, table

FINE = json.dumps({"fault": "killed", "attempts": 3, "kills": 9, "peak_mb": 700})


def test_every_class_of_faults_has_tests_that_exist() -> None:
    assert all(Path(name).exists() for name in files())
    assert all(CLASSES.values())


def test_sums_and_peaks_are_told_and_the_last_line_is_the_verdict() -> None:
    text, is_held = table(CLASSES, [FINE, json.dumps({"fault": "killed", "attempts": 1, "peak_mb": 600})])
    assert "killed: attempts 4, kills 9, peak_mb 700" in text
    assert is_held and text.endswith("every promise held")


@pytest.mark.parametrize("name", NOUGHT)
def test_one_thing_that_must_be_nought_breaks_it(name: str) -> None:
    text, is_held = table(CLASSES, [FINE, json.dumps({"fault": "x", name: 1})])
    assert not is_held and text.endswith(f"BROKEN: {name}")


def test_so_does_a_test_that_failed_or_that_nothing_was_tried() -> None:
    failed = json.dumps({"file": "faults/test_killed.py", "outcome": "failed"})
    assert table(CLASSES, [FINE, failed])[0].endswith("BROKEN: 1 tests failed")
    assert table(CLASSES, [])[0].endswith("BROKEN: nothing was tried")
