"""Takes docs/images/lineage.png from a demo that ran: `python -m geopin_assets_tests.ui.screenshots FOLDER`.

All groups are open; the README's picture is cut below `operations`. FOLDER is the DAGSTER_HOME of `geopin demo`, with
its data in `.geopin/sandbox`. The picture is taken on a webserver of its own, in Chromium. Not here: any assertion.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page

from geopin_assets_tests.ui.browser import browser_page
from geopin_assets_tests.ui.live_dagster import CHECKOUT, live_dagster

PICTURE = CHECKOUT / "docs" / "images" / "lineage.png"
SIZE = {"width": 1700, "height": 2640}
"""So high that all of the graph is in the window, which draws nothing that is not."""
EDGE_PX, COLORS = 16, 128
_TO_THE_CORNER = """edge => {
    const graph = document.querySelector('[style*="matrix"]'), scale = new DOMMatrix(graph.style.transform).a;
    graph.style.transform = `matrix(${scale}, 0, 0, ${scale}, ${edge}, ${edge})`;
    const frame = graph.parentElement.getBoundingClientRect(), drawing = graph.querySelector('svg');
    const [width, height] = ['width', 'height'].map(side => drawing.getAttribute(side) * scale + 2 * edge);
    return {x: frame.x, y: frame.y, width: Math.min(width, frame.width), height: Math.min(height, frame.height)};
}"""


def take(page: Page, url: str, picture: Path) -> None:
    """The lineage with every group open, and nothing beside it."""
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    page.goto(f"{url}/asset-groups", wait_until="networkidle")
    page.locator("button:has([aria-label=panel_show_right])").first.click()  # the keyboard is the page's from now on
    while not page.get_by_text("captures", exact=True).count():
        page.keyboard.press("Alt+KeyE")  # opens all groups, once the page listens
        page.wait_for_timeout(3_000)
    page.wait_for_timeout(3_000)
    clip = page.evaluate(_TO_THE_CORNER, EDGE_PX)
    page.wait_for_timeout(500)
    page.screenshot(path=picture, clip=clip)
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
