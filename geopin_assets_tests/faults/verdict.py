"""Plugin of pytest: the table at the end of `make test-faults`, what was tried, what it cost, what must be nought.

Here: noting figures (a line each, in the file that GEOPIN_TEST_FAULTS_REPORT names; without it they are
dropped), and the table made of them. Sums, but of what is a peak.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

REPORT = "GEOPIN_TEST_FAULTS_REPORT"
NOUGHT = (
    "captures_lost",
    "removed_served",
    "taken_down_served",
    "forbidden_connections",
    "tokens_found",
    "unclean_ends",
)
"""What no fault may cause."""
PEAKS = ("peak_mb", "more_mb", "recovery_s", "amplification")


def note(fault: str, **figures: float) -> None:
    """Figures of one attempt, or of several."""
    _write({"fault": fault, **figures})


def table(classes: Mapping[str, Sequence[str]], lines: Iterable[str]) -> tuple[str, bool]:
    """Every class with its tests, what was noted, and the verdict. `lines`: of the report.

    It holds if something was tried, no test failed, and everything that must be nought is.
    """
    by_fault: dict[str, Counter[str]] = {}
    outcomes: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    peaks: Counter[str] = Counter()
    for found in map(json.loads, lines):
        if file := found.get("file"):
            outcomes.setdefault(file, Counter())[found["outcome"]] += 1
            continue
        counts = by_fault.setdefault(found.pop("fault"), Counter())
        for name, value in found.items():
            for into in (counts, peaks if name in PEAKS else total):
                into[name] = max(into[name], value) if name in PEAKS else into[name] + value
    rows = [_class_row(name, tests, outcomes) for name, tests in classes.items()]
    rows += ["", *(f"{fault}: {_said(counts)}" for fault, counts in sorted(by_fault.items()))]
    rows += ["", _said({name: total[name] for name in dict.fromkeys(("attempts", "kills", *NOUGHT, *total))})]
    rows += [f"at most: {_said(peaks)}"]
    wrong = [name for name in NOUGHT if total[name]]
    failed = sum(counts["failed"] for counts in outcomes.values())
    held = bool(total["attempts"]) and not wrong and not failed
    why = ", ".join([*wrong, *([f"{failed} tests failed"] if failed else [])]) or "nothing was tried"
    rows.append("every promise held" if held else f"BROKEN: {why}")
    return "\n".join(rows), held


def _class_row(name: str, tests: Sequence[str], outcomes: Mapping[str, Counter[str]]) -> str:
    counts: Counter[str] = Counter()
    for file, of_file in outcomes.items():
        if any(file == test or file.startswith(f"{test}/") for test in tests):
            counts.update(of_file)
    return f"{name:60} {_said(counts) or 'not tried'}"


def _said(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in counts.items() if value or name in NOUGHT)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how every test ended, where a report is written: once, also of a test that a worker of xdist ran."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.when == "call" or report.outcome != "passed":
        file = report.nodeid.split("::")[0].partition("geopin_assets_tests/")[2]
        _write({"file": file, "outcome": report.outcome})


def _write(found: Mapping[str, object]) -> None:
    if path := os.environ.get(REPORT):
        with Path(path).open("a", encoding="utf-8") as file:  # one short write: whole, whoever else appends
            file.write(json.dumps(found) + "\n")
