"""What the commands of the command line share: how they report and print, and how they find a scheduler."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, NoReturn

from loopcron import LoopcronError, Scheduler
from loopcron._outcomes import error_text


class UsageError(LoopcronError):
    """The command line cannot be carried out; the message is the line to show."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; argparse would print the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise UsageError(f"{message} (--help shows how to call it)")


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - what add_subparsers returns has no public name


def find_scheduler(place: str) -> Scheduler:
    """
    Return the scheduler at *place*, such as ``app.jobs:scheduler``.

    Raises:
        UsageError: There is none.
    """
    module_name, colon, name = place.partition(":")
    if not (module_name and colon and name):
        raise UsageError(f"{place!r} is no place of a scheduler; write MODULE:SCHEDULER, such as app.jobs:scheduler")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may do anything while it is imported
        raise UsageError(f"cannot import {module_name!r}: {error_text(error)}") from None
    try:
        found: object = attrgetter(name)(module)
    except AttributeError:
        raise UsageError(f"module {module_name!r} has no {name!r}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - and so may its properties
        raise UsageError(f"cannot get {name!r} of module {module_name!r}: {error_text(error)}") from None
    if not isinstance(found, Scheduler):
        raise UsageError(f"{place!r} is no Scheduler, but of type {type(found).__name__}")
    return found


def instant(option: str, text: str | None) -> datetime:
    """
    Return the instant that *text* names in ISO 8601, or now if there is none.

    Raises:
        UsageError: It names none, or has no offset.
    """
    if text is None:
        from loopcron._clock import SystemClock

        return SystemClock().now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no instant; write one such as 2026-03-28T00:00:00Z") from None
    if found.utcoffset() is None:
        raise UsageError(f"{option}: {text!r} has no timezone; write an offset or Z, such as {found.isoformat()}Z")
    return found


def show(lines: Iterable[str]) -> None:
    """Print *lines*; when nobody reads them any more, as after ``| head -1``, that is the end and no error."""
    try:
        for line in lines:
            print(line)
        print(end="", flush=True)
    except BrokenPipeError:
        # What is buffered still has to go somewhere, or the interpreter complains of it when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a type for argparse: a whole number from *least* to *most*."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most:,}")
        return int(text)

    return read
