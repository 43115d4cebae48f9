"""The pages people read are kept true: links lead somewhere, the functions named on the ways exist."""

import importlib
import re
from pathlib import Path

import pytest

from geopin_assets_tests.docs import benchmarks

CHECKOUT = Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
PAGES += sorted((CHECKOUT / ".github").glob("*.md"))
ARCHITECTURE = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
WAYS = ARCHITECTURE.partition("## The way of a capture")[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    broken = []
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set(), [CHECKOUT / "README.md"]
    while left:
        page = left.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            left += [(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(page.read_text("utf-8"))]
    assert set(map(name, PAGES)) <= set(map(name, reached))


def test_every_decision_is_listed() -> None:
    folder = CHECKOUT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.name for page in folder.glob("2*.md"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", WAYS))))
def test_every_function_on_the_ways_of_a_capture_and_a_vector_exists(path: str) -> None:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["geopin_assets", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        assert callable(found)
        return
    pytest.fail(f"no module of {path}")


def test_the_ways_are_as_long_as_they_are_told() -> None:
    capture, vector = WAYS.split("## The way of a vector")
    for way in (capture, vector):
        numbers = [int(n) for n in re.findall(r"^(\d+)\. `", way, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 15


def test_the_readme_is_an_entrance_and_no_manual() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 160
    first = re.search(r"## Read these six files first\n\n(.*?)\n\n", readme, re.DOTALL)
    assert first and len(LINK.findall(first[1])) == 6


def test_the_table_of_benchmarks_is_that_of_the_figures_that_are_kept() -> None:
    again = "python -m geopin_assets_tests.docs.benchmarks"
    assert benchmarks.PAGE.read_text(encoding="utf-8") == benchmarks.page(), f"write it again: {again}"
