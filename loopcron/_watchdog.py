"""
A thread that sees the scheduler's loop stop ticking, and logs it.

A loop that is blocked or dead cannot say so itself, and a health endpoint on the same event loop cannot be read then.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, final

FRAMES: Final = 8
"""How many of the innermost calls of the loop's thread are told."""


@final
class Watchdog:
    """
    Logs an error once when the loop has not ticked for too long, and a warning once when it ticks again.

    Not told to observers: they belong to the loop, which stands still.

    Args:
        limit: How long that is, in seconds of real time.
        silence: Tells for how long it has not ticked, in seconds; called on the watchdog's thread.
        logger: The logger ``loopcron`` if left out.
    """

    def __init__(self, limit: float, silence: Callable[[], float], logger: logging.Logger | None = None) -> None:
        self._limit = limit
        self._silence = silence
        self._logger = logging.getLogger("loopcron") if logger is None else logger
        self._watched = threading.current_thread()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loopcron watchdog", daemon=True)

    def __enter__(self) -> None:
        """Begin to watch the loop of the calling thread."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Stop watching; does not wait for the thread, which may be held up by a logger's lock."""
        self._over.set()

    def _watch(self) -> None:
        worst = 0.0
        # Looked at four times per limit, so that a loop that stops is told of at most a quarter too late.
        while not self._over.wait(self._limit / 4):
            with suppress(Exception):  # a user's clock or logger; the next look may fare better
                silence = self._silence()
                if silence > self._limit:
                    if not worst:
                        self._bark(silence)
                    worst = silence
                elif worst:
                    worst, seconds = 0.0, worst
                    text = "the scheduler's loop ticks again, after %.1f s"
                    self._logger.warning(text, seconds, extra={"loopcron_event": "LoopTicksAgain"})

    def _bark(self, silence: float) -> None:
        where = _standing(self._watched)
        text = "the scheduler's loop has not ticked for %.1f s; its thread stands at %s"
        extra = {"loopcron_event": "LoopSilent", "loopcron_seconds": silence, "loopcron_where": where}
        self._logger.error(text, silence, where, extra=extra)


def _standing(thread: threading.Thread) -> str:
    """Return the innermost calls of *thread*: files, lines and names only, because locals may hold secrets."""
    frames = sys._current_frames()  # noqa: SLF001 - the one way to see another thread, and documented
    # A thread that has ended has left its number to whoever came next, such as the watchdog.
    frame = frames.get(thread.ident or 0) if thread.is_alive() else None
    calls: list[str] = []
    while frame is not None and len(calls) < FRAMES:
        code = frame.f_code
        calls.append(f"{code.co_filename}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(calls) or "nothing: it has ended"
