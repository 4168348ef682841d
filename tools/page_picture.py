"""Takes the picture of the web service's page for docs/web.md, with Debian's Chromium."""

from __future__ import annotations

import shutil
import sys
from base64 import b64encode
from pathlib import Path

from playwright.sync_api import sync_playwright

from lab.process import workspace
from lab.web import WebService

PICTURE = Path(__file__).parents[1] / "docs/web-page.png"


def main() -> int:
    """Write the picture: the page as a phone shows it, before and after the button."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium here; tools/setup installs it", file=sys.stderr)
        return 1
    with workspace() as folder, WebService(folder) as web, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 700})
        page.goto(f"http://localhost:{web.port}/u/{web.token()}")
        before = page.screenshot()
        page.get_by_role("button", name="Unsubscribe", exact=True).click()
        after = page.screenshot()
        page.set_viewport_size({"width": 760, "height": 720})
        page.set_content(_side_by_side(before, after))
        page.screenshot(path=PICTURE)
        browser.close()
    print(f"wrote {PICTURE}")
    return 0


def _side_by_side(*pictures: bytes) -> str:
    shown = "".join(f'<img src="data:image/png;base64,{b64encode(one).decode()}">' for one in pictures)
    return f'<body style="margin: 10px; display: flex; gap: 20px; background: #888">{shown}'


if __name__ == "__main__":
    sys.exit(main())
