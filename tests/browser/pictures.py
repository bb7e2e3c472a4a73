"""
Take the pictures of the status page that the documentation shows, and those that a change of its design is judged by.

    python -m tests.browser.pictures FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.chromium import ARGUMENTS, path
from tests.browser.documents import many_states
from tests.browser.stand_in import serving

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 1180}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 1180}},
    "phone": {"color_scheme": "dark", "viewport": {"width": 360, "height": 780}, "device_scale_factor": 2},
}


def main(folder: Path) -> None:
    """Write for each look what a screen shows, and the whole page with a job's details open."""
    folder.mkdir(parents=True, exist_ok=True)
    with serving(many_states()) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=list(ARGUMENTS))
        for name, look in LOOKS.items():
            context = browser.new_context(**look)  # type: ignore[arg-type] # one look's fields, not a typed record
            page = context.new_page()
            page.goto(server.url)
            page.get_by_role("heading", name="groomer").wait_for()
            page.screenshot(path=folder / f"{name}.png")
            page.get_by_text("History and upcoming of nightly-report").click()
            page.screenshot(path=folder / f"{name}-whole.png", full_page=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
