"""The browser that the tests drive: Debian's own Chromium, never one that a package downloads."""

from __future__ import annotations

import shutil

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def path() -> str | None:
    """Return where Chromium is, or None."""
    return shutil.which("chromium")
