"""
One Chromium for the tests of a module, a fresh context for each test, and what must hold of every page.

Not one for the session: while Playwright's synchronous API is alive its event loop counts as running in this thread,
and the async tests of other folders could not start theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import ARGUMENTS, path
from tests.browser.documents import AT
from tests.browser.reading import Open, Serve
from tests.browser.stand_in import serving
from tests.conftest import require_or_skip

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 10_000
"""How long a condition may take to hold; only a failure takes so long."""
# A page that is refused something says so where nobody looks.
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
  `${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    require_or_skip("playwright", "playwright is not installed")
    require_or_skip(path() is not None, "there is no chromium on the PATH; Debian's package of that name has it")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """
    Open pages, each in a context of its own, by URL; with ``clock=True`` time stands still until the test
    moves it, and the browser's clock is 3 h slow.

    When the test ends: nothing the page did was against its own policy, nothing raised, nothing was logged as an error.
    """
    faults: list[str] = []
    pages: list[Page] = []

    def note(message: ConsoleMessage) -> None:
        # A server that answers 503 is what some tests are about; the page itself says so too.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            faults.append(message.text)

    with ExitStack() as stack:

        def open_one(url: str, *, clock: bool = False, **look: Any) -> Page:
            context = browser.new_context(**look)
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            context.add_init_script(NOTE_VIOLATIONS)
            page = context.new_page()
            page.on("console", note)
            page.on("pageerror", lambda error: faults.append(str(error)))
            if clock:
                wrong = AT - timedelta(hours=3)
                page.clock.install(time=wrong - timedelta(seconds=1))
                page.clock.pause_at(wrong)
            page.goto(url)
            pages.append(page)
            return page

        yield open_one
        for page in pages:
            faults += page.evaluate("window.violations")
    assert faults == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a document beside the page."""
    with ExitStack() as stack:
        yield lambda document: stack.enter_context(serving(document))


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core, which judges how accessible a page is."""
    require_or_skip(AXE.is_file(), f"there is no axe-core at {AXE}; `make test` installs it where npm is found")
    return AXE.read_text("utf-8")
