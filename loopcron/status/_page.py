"""The page itself: its three files, put together so that nothing but what we wrote can run in it."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""The ``Content-Security-Policy`` of the page; the one image is its icon, which the script draws by state."""
_KINDS: Final = ("html", "css", "js")


def page_html(nonce: str) -> str:
    """
    Return the page, which holds no data: it fetches ``status.json`` beside it, and shows what is in there.

    Args:
        nonce: New for each answer; names the one script and the one style sheet that may have an effect.
    """
    return _page().replace("{{nonce}}", escape(nonce))


@cache
def _page() -> str:
    html, style, script = (files("loopcron.status").joinpath(f"page.{kind}").read_text("utf-8") for kind in _KINDS)
    return html.replace("{{style}}", f"\n{style}").replace("{{script}}", f"\n{script}")
