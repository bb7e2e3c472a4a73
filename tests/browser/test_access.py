"""Whether the status page can be used by everybody: with a keyboard, a screen reader, a phone, in the dark."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.browser.documents import document, job, many_states
from tests.browser.reading import Open, Serve, faults

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import ViewportSize, expect

WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 320, "height": 640}


def test_axe_finds_nothing(open_page: Open, serve: Serve, axe: str) -> None:
    """In the light, in the dark and on a phone axe-core has no complaint, with all open that can be and all told."""
    server = serve(many_states())
    page = open_page(server.url, clock=True)
    for name in ("nightly-report", "groomer"):
        page.get_by_role("article", name=name).get_by_text("History and upcoming").click()
    page.get_by_role("button", name="Run now sync").click()
    expect(page.get_by_role("article", name="sync")).to_contain_text("Run now: asked for")
    server.refusal = (409, "no")
    page.get_by_role("button", name="Run now groomer").click()
    expect(page.get_by_role("article", name="groomer")).to_contain_text("was refused")
    server.status = 503
    page.clock.run_for(2000)
    expect(page.locator("#notice")).to_be_visible()
    page.clock.resume()  # axe waits by timers of its own
    looks: tuple[tuple[Literal["light", "dark"], ViewportSize], ...] = (
        ("light", WIDE),
        ("dark", WIDE),
        ("dark", PHONE),
    )
    for scheme, viewport in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(viewport)
        assert faults(page, axe) == [], (scheme, viewport)


def test_nothing_is_cut_off_on_the_narrowest_phone(open_page: Open, serve: Serve) -> None:
    """At 320 px, with long words everywhere, one scrolls up and down only; wide tables scroll by themselves."""
    long = "x" * 64
    told = many_states()
    told["jobs"].append(job(long, why=long, schedule={"text": long * 4, "words": long * 4, "zone": "UTC"}))
    told["scheduler"] |= {"worker": long * 3, "workers": [long * 3, long]}
    page = open_page(serve(told).url, viewport=PHONE)
    expect(page.get_by_role("article", name=long)).to_be_visible()
    page.get_by_role("article", name="nightly-report").get_by_text("History and upcoming").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(open_page: Open, serve: Serve) -> None:
    """Tab goes from the jump link over the filter to each job's buttons, and each shows its focus."""
    page = open_page(serve(document(job("alpha"), job("beta"))).url, clock=True)
    expect(page.get_by_role("article", name="beta")).to_be_visible()
    path: list[str] = []
    while not path or path[-1] != "metrics":
        page.keyboard.press("Tab")
        path.append(page.evaluate("(document.activeElement.textContent || document.activeElement.id).trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", path[-1]
        if path[-1] == "History and upcoming of alpha":
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "History of alpha"
    assert path == [
        *("Jump to the jobs", "Pause updates", "filter"),
        *("Run now alpha", "Pause alpha", "Skip next alpha", "History and upcoming of alpha"),
        *("Run now beta", "Pause beta", "Skip next beta", "History and upcoming of beta"),
        *("status.json", "metrics"),
    ]
    page.keyboard.press("Shift+Tab")
    page.get_by_role("link", name="Jump to the jobs").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Jobs", exact=True)).to_be_focused()


def test_has_landmarks_and_headings_to_jump_between(open_page: Open, serve: Serve) -> None:
    """A screen reader finds each landmark once, and a heading for each part and each job; nothing is animated."""
    page = open_page(serve(document(job("sync"))).url)
    expect(page.get_by_role("article", name="sync")).to_be_visible()
    for role in ("banner", "main", "search", "contentinfo"):
        expect(page.get_by_role(role)).to_have_count(1)
    headings = page.locator("h1, h2, h3").all_inner_texts()
    assert page.evaluate("document.getAnimations().length") == 0
    assert headings == ["Nothing is broken", "Scheduler", "Last and next 24 hours", "Jobs", "sync"]
