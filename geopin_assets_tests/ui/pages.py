"""What an operator clicks in the UI of Dagster 1.13, by the words on the screen."""

import re

from playwright.sync_api import Page, expect

from geopin_assets_tests.ui.browser import PATIENCE_MS
from geopin_assets_tests.ui.live_dagster import LiveDagster


def backfill_by_search(page: Page, dagster: LiveDagster, asset: str, words: str) -> tuple[str, str]:
    """Materialize the partitions whose key holds `words`: the text of "Select all", and the backfill's id."""
    page.goto(f"{dagster.url}/assets/{asset}")
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition").first.click()
    page.keyboard.type(words)
    all_of_them = page.get_by_text(re.compile(r"Select all \(\d+\)"))
    text = all_of_them.inner_text()
    all_of_them.click()
    page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Launch backfill").click()
    created = page.get_by_text(re.compile("Created backfill"))
    return text, created.inner_text().partition("Created backfill")[2].split()[0]


def reexecute_from_failure(page: Page, dagster: LiveDagster, backfill_id: str) -> str:
    """The menu of a backfill that failed; the id of the new one."""
    before = set(dagster.backfills())
    page.goto(f"{dagster.url}/runs/b/{backfill_id}")
    expect(page.get_by_text("Failed").first).to_be_visible()
    page.locator("button:has([aria-label=expand_more]), button:not(:has-text(''))").last.click()
    page.get_by_role("menuitem", name="Re-execute from failure").click()
    for _ in range(PATIENCE_MS // 500):
        if new := set(dagster.backfills()) - before:
            break
        page.wait_for_timeout(500)
    (only,) = new
    return only


def materialize(page: Page, dagster: LiveDagster, asset: str) -> None:
    """An asset without partitions; returns when its run was launched."""
    page.goto(f"{dagster.url}/assets/{asset}")
    page.get_by_role("button", name="Materialize").first.click()
    expect(page.get_by_text(re.compile("Launched run"))).to_be_visible()


def verdict(page: Page, dagster: LiveDagster, asset: str, check: str) -> str:
    """What the list of checks says below the check's name."""
    page.goto(f"{dagster.url}/assets/{asset}?view=checks&checkDetail={check}")
    row = page.get_by_text("Evaluation result").locator("xpath=..")
    return row.inner_text().split("\n")[-1]


def shown_map(page: Page, dagster: LiveDagster) -> bytes:
    """A picture of the map as the UI shows it; fails if it is no picture."""
    page.goto(f"{dagster.url}/assets/quality/coverage")
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.get_by_role("img", name="coverage map")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 500
    return picture.screenshot()
