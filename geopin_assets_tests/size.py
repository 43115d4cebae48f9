"""Plugin of pytest: modules of the package whose size asks a question, one line at the end of a run.

Size is a smell, not a law: 250 lines may be one idea, and 30 may be one that two others need. Not here: the hard stop
(`test_house.py`).
"""

from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "geopin_assets"
LARGE, SMALL = 300, 40


def sizes() -> dict[str, int]:
    """Lines of each module, but for folders' own."""
    modules = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__"))
    return {m.relative_to(PACKAGE).as_posix(): len(m.read_text(encoding="utf-8").splitlines()) for m in modules}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    odd = [f"{name} {lines}" for name, lines in sizes().items() if not SMALL <= lines <= LARGE]
    terminalreporter.write_line(f"sizes to look at (outside {SMALL} to {LARGE} lines): {', '.join(odd) or 'none'}")
