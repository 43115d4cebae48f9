"""Headless Chromium on the UI of Dagster. It asks nothing but this machine; without Chromium tests are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium in PATH: apt-get install chromium")
PATIENCE_MS = 240_000
"""A busy machine may take minutes to show what another shows at once."""
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """An empty page, 1500 x 1000. What it showed when something failed is `failed.png` in the folder."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.route("**/*", _only_here)
        try:
            yield page
        except BaseException:
            page.screenshot(path=folder / "failed.png")
            raise
        finally:
            browser.close()


def _only_here(route: Route) -> None:
    address = urlsplit(route.request.url)
    if address.hostname == "127.0.0.1" or address.scheme in ("data", "blob"):
        route.continue_()
    else:
        route.abort()
