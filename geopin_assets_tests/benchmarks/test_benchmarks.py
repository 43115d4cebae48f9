"""No benchmark is forgotten by `make bench`, and none rots: each runs here at a tiny size."""

import ast
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from math import isfinite
from pathlib import Path

import numpy as np
import pytest

from geopin_assets_tests.benchmarks import index_memory
from geopin_assets_tests.benchmarks.__main__ import BENCHMARKS
from geopin_assets_tests.benchmarks.__main__ import main as run_all
from geopin_assets_tests.benchmarks.tools.figures import Figure, keep, read, records_of, show
from geopin_assets_tests.depth import IS_LONG

MODULES = [path for path in Path(__file__).parent.glob("[a-z]*.py") if not path.name.startswith("test_")]
TINY: dict[str, Sequence[str]] = {
    "definitions_import": ["--rounds=1"],
    "cell_overhead": ["--cells=3", "--rounds=1"],
    "layers": ["--captures=300"],
    "thinning": ["--streets=0", "--no-walk"],
    "commands": ["--rounds=1", "--listings", "sources", "--no-demo"],
    "scale": ["--captures", "1200", "2400", "--cells=6", "--here"],
    "splitting": ["--records=1500"],
    "workload": ["--captures=40", "--cells=3"],
    "national_crawl": ["--cells=3", "--captures=40000"],
    "merge": ["--captures=60", "--cells=3", "--sizes", "0.0001", "--each=50"],
    "growth": ["--sizes", "0.0004", "--touched", "1", "3", "--grid=4"],
    "recall": ["--thumbnail"],
    "real_photos": ["--thumbnail"],
    "publish": ["--count=400", "--rounds=1", "--rounds-in-earnest=1"],
    "index_upkeep": ["--captures", "2000", "4000"],
    "export": ["--captures=60", "--each=20", "--dim=8"],
    "index_memory": ["--captures", "1000"],
    "locate_search": ["--count=300", "--queries=3"],
    "locate_answer": ["--streets=2", "--answers=1"],
    "locate_sandbox": ["--streets=8", "--strangers=3", "--verify=1"],
    "quarter": ["--weeks=1", "--cells=6", "--sources", "europeana", "panoramax"],
    "pages": ["--weeks=1", "--cells=20", "--pages=1", "--times=1"],
    "http_clients": ["--images=20", "--rounds=1"],
    "embed_fetch": ["--images=30", "--rounds=1", "--alone"],
    "embed_pipeline": ["--images=2", "--batch=2", "--rounds=1"],
    "embed_gpu": ["--device=cpu", "--backbone=ResNet18", "--precisions=fp32", "--images=2", "--batches=2", "--eager"],
    "embed_refresh": ["--cells=2", "--captures=20"],
    "embed_memory": ["--one-of=1000"],
}


SLOW = (
    *("locate_sandbox", "locate_answer", "real_photos", "index_memory"),
    *("embed_memory", "embed_pipeline", "embed_gpu", "pages"),
    *("growth", "export", "merge", "national_crawl", "quarter", "definitions_import"),
)
"""Models, a browser, or an interpreter for each figure, which take seconds at any size: `make test` sees that these
load and take their arguments."""
MAY_MEASURE_NOTHING = ("recall", "pages")
"""Where the photos, or Chromium, are not there."""


@pytest.fixture
def logs() -> Iterator[None]:
    """As they were: some benchmarks silence them."""
    yield
    logging.disable(logging.NOTSET)
    logging.getLogger("geopin_assets").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = import_module(f"geopin_assets_tests.benchmarks.{name}").main
    if name in SLOW and not IS_LONG:
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["--help"])
        assert "usage:" in capsys.readouterr().out
        return
    figures = main(TINY[name])
    assert capsys.readouterr().out.strip()
    if figures is not None:  # those that are only read
        assert all(isfinite(figure.value) for figure in figures)
        assert len({figure.what for figure in figures}) == len(figures)
        assert figures or name in MAY_MEASURE_NOTHING


def test_every_benchmark_is_run_by_the_one_command() -> None:
    assert {path.stem for path in MODULES} == set(BENCHMARKS)


def test_every_benchmark_has_a_main_and_says_how_to_run_it_alone() -> None:
    for path in MODULES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        assert "main" in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, path.name
        assert f"python -m geopin_assets_tests.benchmarks.{path.stem}" in (ast.get_docstring(module) or ""), path.name


def test_figures_are_kept_by_benchmark_and_compared_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    older = [
        Figure("speed", 2.0, beside="bare", at_least=1),
        Figure("memory", 1.0, "GB", at_most=1.2),
        Figure("gone", 1),
    ]
    keep(file, "merge", records_of("merge", older))
    keep(file, "publish", records_of("publish", [Figure("speed", 9.0)]))
    old = read(file)
    newer = [
        Figure("speed", 1.5, beside="bare", at_least=1),
        Figure("memory", 1.3, "GB", at_most=1.2),
        Figure("more", 1),
    ]
    keep(file, "merge", records_of("merge", newer))
    assert [(record["benchmark"], record["what"], record["value"], record["holds"]) for record in read(file)] == [
        ("publish", "speed", 9.0, True),
        ("merge", "speed", 1.5, True),
        ("merge", "memory", 1.3, False),
        ("merge", "more", 1, True),
    ]
    assert {"at", "machine", "commit", "versions"} < read(file)[0].keys()
    show(read(file), old)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        "publish speed 9 × 9 as before",
        "merge speed 1.5 × bare ≥ 1 2 WORSE",
        "merge memory 1.3 GB ≤ 1.2 MISSED 1 WORSE",
        "merge more 1 × new",
    ]


def test_numbers_of_numpy_are_kept_as_any_other(tmp_path: Path) -> None:
    keep(tmp_path / "bench.json", "recall", records_of("recall", [Figure("gain", np.float64(0.5), at_least=0.1)]))
    ((value, holds),) = [(record["value"], record["holds"]) for record in read(tmp_path / "bench.json")]
    assert (value, holds) == (0.5, True)


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two figures of one name"):
        keep(tmp_path / "bench.json", "merge", records_of("merge", [Figure("memory", 1, "MB"), Figure("memory", 1.1)]))


def test_what_memory_grew_to_has_another_name_than_what_it_is() -> None:
    rows = [("export", captures, {"peak MB": float(captures)}) for captures in (10, 20)]
    of_memory = [*index_memory.figures_of(rows)]
    assert [(figure.unit, figure.value) for figure in of_memory] == [("MB", 20.0), ("", 2.0)]
    assert len({figure.what for figure in of_memory}) == len(of_memory)


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_all(["mergers"])
    assert "no such benchmark: mergers" in capsys.readouterr().err


def test_several_benchmarks_have_a_process_each_and_make_one_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "geopin_assets_tests.benchmarks", "splitting", "splitting"]
    out = tmp_path / "bench.json"
    ran = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\n== splitting") == 2
    _, table = ran.stdout.split("all figures, kept in")
    assert all(record["what"] in table for record in read(out))


def test_a_benchmark_that_breaks_off_keeps_nobody_from_running(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "no such folder" / "is a file"
    out.parent.write_text("")
    with pytest.raises(SystemExit, match="broke off, see above: splitting, splitting"):
        run_all(["splitting", "splitting", "--out", str(out)])
    assert capfd.readouterr().out.count("== splitting") == 2
