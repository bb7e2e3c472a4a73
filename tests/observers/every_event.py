"""One event of every type, and with every outcome where it holds one, with a text of one's choice in every field."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from loopcron import Event, Outcome, Settled

SLOT = 1_935_000_000_000
KINDS = typing.get_args(Event)


class LoudError(Exception):
    """What a job raised."""


def every_event(text: str, number: int = SLOT) -> Iterator[Event]:
    """Yield the events, with *text* in each field that may hold one, and *number* in each that may hold one."""
    for kind in KINDS:
        hints = typing.get_type_hints(kind, localns=vars(typing))
        for outcome in every_outcome(text, number) if "outcome" in hints else (None,):
            fields = {name: value_of(hint, text, number) for name, hint in hints.items()}
            yield kind(**fields if outcome is None else {**fields, "outcome": outcome})


def every_outcome(text: str, number: int = SLOT) -> Iterator[Outcome]:
    """Yield one outcome of each kind."""
    for kind in typing.get_args(Outcome):
        hints = typing.get_type_hints(kind, localns=vars(typing))
        names = [field.name for field in dataclasses.fields(kind)]
        yield kind(**{name: value_of(hints[name], text, number) for name in names})


def value_of(hint: Any, text: str, number: int) -> Any:
    """Return a value for a field of this type; a text even where only some texts are allowed, as a job might."""
    if typing.get_origin(hint) is tuple:
        return (text,) * 30
    if typing.get_origin(hint) is typing.Literal:
        return text
    options = typing.get_args(hint) or (hint,)
    if BaseException in options:
        return _raised(text)
    if str in options:
        return text
    if bool in options:
        return True
    return number if int in options else 1.5


def _raised(text: str) -> BaseException:
    try:
        raise LoudError(text)
    except LoudError as error:
        return error


def ids(event: object) -> str:
    """Name a test's case by its event."""
    return (
        f"{type(event).__name__}-{type(event.outcome).__name__}" if isinstance(event, Settled) else type(event).__name__
    )
