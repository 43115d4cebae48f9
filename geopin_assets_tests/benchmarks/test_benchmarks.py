"""No benchmark is forgotten by `make bench`, and none rots: each runs here at a tiny size."""

import ast
import logging
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from geopin_assets_tests.benchmarks.__main__ import BENCHMARKS

MODULES = [path for path in Path(__file__).parent.glob("[a-z]*.py") if not path.name.startswith("test_")]
TINY: dict[str, Sequence[str]] = {
    "definitions_import": ["--rounds=1"],
    "cell_overhead": ["--cells=3", "--rounds=1"],
    "splitting": ["--records=1500"],
    "workload": ["--captures=40", "--cells=3"],
    "national_crawl": ["--cells=3", "--captures=40000"],
    "merge": ["--captures=60", "--cells=3", "--sizes", "0.0001", "--each=50"],
    "growth": ["--sizes", "0.0004", "--touched", "1", "3"],
    "recall": ["--thumbnail"],
    "real_photos": ["--thumbnail"],
    "publish": ["--count=400", "--rounds=1", "--rounds-in-earnest=1"],
    "index_upkeep": ["--captures", "2000", "4000"],
    "export": ["--captures=60", "--each=20", "--dim=8"],
    "index_memory": ["--captures", "1000"],
    "locate_search": ["--count=300", "--queries=3"],
    "locate_answer": ["--streets=2", "--answers=1"],
    "locate_sandbox": ["--streets=8", "--verify=1"],
    "quarter": ["--weeks=1", "--cells=6", "--sources", "europeana", "panoramax"],
    "pages": ["--weeks=1", "--cells=20", "--pages=1", "--times=1"],
    "http_clients": ["--images=20", "--rounds=1"],
    "embed_fetch": ["--images=30", "--rounds=1", "--alone"],
    "embed_pipeline": ["--images=2", "--batch=2", "--rounds=1"],
    "embed_gpu": ["--device=cpu", "--backbone=ResNet18", "--precisions=fp32", "--images=2", "--batches=2", "--eager"],
    "embed_refresh": ["--cells=2", "--captures=20"],
    "embed_memory": ["--one-of=1000"],
}


@pytest.fixture
def logs() -> Iterator[None]:
    """As they were: some benchmarks silence them."""
    yield
    logging.disable(logging.NOTSET)
    logging.getLogger("geopin_assets").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import_module(f"geopin_assets_tests.benchmarks.{name}").main(TINY[name])
    assert capsys.readouterr().out.strip()


def test_every_benchmark_is_run_by_the_one_command() -> None:
    assert {path.stem for path in MODULES} == set(BENCHMARKS)


def test_every_benchmark_has_a_main_and_says_how_to_run_it_alone() -> None:
    for path in MODULES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        assert "main" in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, path.name
        assert f"python -m geopin_assets_tests.benchmarks.{path.stem}" in (ast.get_docstring(module) or ""), path.name
