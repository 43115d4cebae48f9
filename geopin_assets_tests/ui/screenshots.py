"""Takes docs/images/lineage.png from a demo that ran: `python -m geopin_assets_tests.ui.screenshots FOLDER`.

FOLDER is the DAGSTER_HOME of `geopin demo`, with its data in `.geopin/sandbox`. The picture is taken on a webserver of
its own, in Chromium. Not here: any assertion.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page

from geopin_assets_tests.ui.browser import browser_page
from geopin_assets_tests.ui.live_dagster import CHECKOUT, live_dagster

PICTURE = CHECKOUT / "docs" / "images" / "lineage.png"
SIZE = {"width": 1700, "height": 1330}
COLORS = 128


def take(page: Page, url: str, picture: Path) -> None:
    """The lineage with every group open, as large as the window has room for."""
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    page.goto(f"{url}/asset-groups", wait_until="networkidle")
    page.locator("button:has([aria-label*=panel])").first.click()
    page.keyboard.press("Alt+KeyE")
    page.wait_for_timeout(4_000)
    page.screenshot(path=picture)
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLORS).save(picture, optimize=True)


def main(home: Path, picture: Path = PICTURE) -> None:
    if not (home / "dagster.yaml").exists():
        sys.exit(f"{home} is no DAGSTER_HOME: run `geopin demo` there")
    variables = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(home / ".geopin" / "sandbox")}
    with (
        TemporaryDirectory() as folder,
        live_dagster(home, variables, has_daemon=False) as dagster,
        browser_page(Path(folder)) as page,
    ):
        take(page, dagster.url, picture)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
