"""The status page of a real scheduler, under a real server of each adapter."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.browser.reading import HOSTILE, Open, card, faults, said

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Page, expect

from tests.browser.real import SERVERS, World, running


@pytest.fixture(params=sorted(SERVERS))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Serve a scheduler whose jobs were started, under each server in turn."""
    with running(request.param, World(HOSTILE)) as world:
        yield world


def press(page: Page, button: str) -> None:
    """Press a button with the keyboard alone."""
    page.get_by_role("button", name=button).focus()
    page.keyboard.press("Space")


def test_shows_what_the_scheduler_does_and_makes_it_do_more(open_page: Open, world: World, axe: str) -> None:
    """A failure is shown as the text it is, each action has its effect, and all of it arrives without a reload."""
    page = open_page(world.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("1 of 4 jobs is broken")
    expect(card(page, "good").locator("dd").nth(1)).to_contain_text(re.compile("Succeeded.* · at start"))
    shown = HOSTILE.replace("\u202e", "\\u202e")
    expect(card(page, "bad")).to_contain_text(f"job: RuntimeError: {shown}")
    assert page.evaluate("window.pwned") is None
    expect(card(page, "nightly")).to_contain_text("at 02:30 every day")
    expect(page.locator("#scheduler")).to_contain_text("the only worker seen")

    gated = card(page, "gated")
    press(page, "Run now gated")
    expect(said(page)).to_contain_text("gated: Run now: a run was asked for")
    expect(gated).to_contain_text("of 1 min · by hand")
    world.gate.set()
    expect(gated).to_contain_text("Succeeded")
    expect(gated.get_by_role("progressbar")).to_have_count(0)
    press(page, "Skip next gated")
    expect(gated).to_contain_text("will be skipped, as asked")
    press(page, "Pause gated")
    expect(gated).to_contain_text("not while paused")
    assert world.scheduler.snapshot()["gated"].paused
    press(page, "Resume gated")
    expect(gated.get_by_role("button", name="Pause gated")).to_be_visible()
    assert not world.scheduler.snapshot()["gated"].paused
    gated.get_by_text("History and upcoming").click()
    expect(gated.get_by_role("row").filter(has_text="by hand")).to_contain_text("Succeeded")
    assert faults(page, axe) == []

    world.is_allowed = False
    press(page, "Run now good")
    expect(card(page, "good")).to_contain_text("Run now was refused: authorize did not let this request in")
    expect(page.locator("#notice")).to_contain_text("The server no longer lets you in.")
