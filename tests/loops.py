"""The event loops that async tests run on, as anyio wants to have them named."""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as OwnLoop
else:
    from asyncio import SelectorEventLoop as OwnLoop


class CheckedLoop(OwnLoop):
    """
    asyncio's own loop with the checks of its debug mode, but without the stacks that it notes meanwhile.

    Checked is what debug mode is on for: calls from a wrong thread, callbacks that are none, sockets that block, and
    where a coroutine was made that nobody awaited. The whole stack of each future and callback, noted for the case
    that it goes wrong, made tests take up to nine times as long; and only who asks `get_debug` notes it.
    """

    def get_debug(self) -> bool:
        """Return False: the loop's own checks go by what it was set to, whatever is said here."""
        return False


ASYNCIO: tuple[str, dict[str, Any]] = ("asyncio", {"debug": True, "loop_factory": CheckedLoop})
UVLOOP: tuple[str, dict[str, Any]] = ("asyncio", {"use_uvloop": True})
TRIO: tuple[str, dict[str, Any]] = ("trio", {})
