"""No benchmark is forgotten by `make bench`."""

import ast
from pathlib import Path

from geopin_assets_tests.benchmarks.__main__ import BENCHMARKS

MODULES = [path for path in Path(__file__).parent.glob("[a-z]*.py") if not path.name.startswith("test_")]


def test_every_benchmark_is_run_by_the_one_command() -> None:
    assert {path.stem for path in MODULES} == set(BENCHMARKS)


def test_every_benchmark_has_a_main_and_says_how_to_run_it_alone() -> None:
    for path in MODULES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        assert "main" in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, path.name
        assert f"python -m geopin_assets_tests.benchmarks.{path.stem}" in (ast.get_docstring(module) or ""), path.name
