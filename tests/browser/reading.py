"""How the tests find their way about the status page, and what they put into it that must stay text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.browser.stand_in import StandIn

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Open = Callable[..., "Page"]
Serve = Callable[[dict[str, Any]], StandIn]
HOSTILE = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>&amp;{{nonce}}\u202e"
"""Markup, a place of our own template, and a mark that turns the direction of writing around."""
# All rules that axe knows: WCAG 2.2 up to AA, and what it calls best practice.
_JUDGE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(
  ({id, help, nodes}) => `${id}: ${help}: ${nodes.map((node) => node.html + " " + node.failureSummary).join("; ")}`)"""


def card(page: Page, name: str) -> Locator:
    """Return the part of the page that is about one job."""
    return page.get_by_role("article", name=name, exact=True)


def said(page: Page) -> Locator:
    """Return what a screen reader is told without being asked."""
    return page.get_by_role("status")


def texts(locator: Locator) -> list[str]:
    """Return the texts of all that *locator* finds, each on one line."""
    return [" ".join(text.split()) for text in locator.all_inner_texts()]


def faults(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds wrong with the page as it is now."""
    page.evaluate(axe)
    found: list[str] = page.evaluate(_JUDGE)
    return found
