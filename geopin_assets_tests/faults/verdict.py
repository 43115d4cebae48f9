"""The table at the end of `make test-faults`: what was tried, what it cost, and what must be nought.

Here: noting figures (a line each, in the file that GEOPIN_TEST_FAULTS_REPORT names; without it they are
dropped), and the table made of them. Sums, but of what is a peak.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

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
PEAKS = ("peak_mb", "recovery_s", "amplification")


def note(fault: str, **figures: float) -> None:
    """Figures of one attempt, or of several."""
    if path := os.environ.get(REPORT):
        with Path(path).open("a", encoding="utf-8") as file:  # one short write: whole, whoever else appends
            file.write(json.dumps({"fault": fault, **figures}) + "\n")


def table(lines: Iterable[str]) -> tuple[str, bool]:
    """What was noted, and whether everything that must be nought is."""
    by_fault: dict[str, Counter[str]] = {}
    peaks: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for found in map(json.loads, lines):
        counts = by_fault.setdefault(found.pop("fault"), Counter())
        for name, value in found.items():
            if name in PEAKS:
                peaks[name] = max(peaks[name], value)
                counts[name] = max(counts[name], value)
            else:
                counts[name] += value
                total[name] += value
    width = max(map(len, by_fault), default=0)
    rows = [
        f"{fault:{width}}  " + "  ".join(f"{name} {value:g}" for name, value in sorted(counts.items()) if value)
        for fault, counts in sorted(by_fault.items())
    ]
    sums = [f"{name} {total[name]:g}" for name in dict.fromkeys(("attempts", "kills", "seeds", *NOUGHT, *total))]
    rows += ["", "  ".join(sums), "  ".join(f"{name} at most {value:g}" for name, value in peaks.items())]
    wrong = [name for name in NOUGHT if total[name]]
    held = bool(total["attempts"]) and not wrong
    rows.append("every promise held" if held else f"BROKEN: {', '.join(wrong) or 'nothing was tried'}")
    return "\n".join(rows), held


if __name__ == "__main__":
    text, is_held = table(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
    print(text)
    sys.exit(not is_held)
