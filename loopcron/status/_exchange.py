"""What is asked and what is answered, as records of no framework, and the headers that every answer has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

GUARDS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""On every answer: kept by nobody, taken for nothing else, shown in no frame, and told to no other site."""
BARE: Final = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
"""Of an answer that is no page, should a browser show it as one after all."""


@final
@dataclass(frozen=True, slots=True)
class StatusRequest:
    """
    A request for the status page or something beside it.

    Args:
        method: In capitals.
        path: What follows the path of the page, decoded: empty for the page's path itself, else from its ``/`` on.
        query: What follows the ``?``, as it was sent.
        headers: Names in any case, and values.
        native: The framework's own request, for ``authorize`` and nobody else.
    """

    method: str
    path: str
    query: str = ""
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    native: object = field(default=None, repr=False)

    def values(self, name: str) -> list[str]:
        """Return all values of the header of this *name*, which is given in small letters."""
        return [value for key, value in self.headers if key.lower() == name]


@final
@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """
    An answer, for an adapter to translate; of one to ``HEAD`` the body is sent as no more than its length.

    Args:
        status: The HTTP status.
        headers: ``Content-Type`` and all others but ``Content-Length``.
        body: Empty or UTF-8.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer(status: int, kind: str, body: bytes, *more: tuple[str, str]) -> StatusAnswer:
    """Return an answer of this content type that is no page."""
    return StatusAnswer(status, (("Content-Type", kind), *GUARDS, BARE, *more), body)


def json_answer(status: int, content: Mapping[str, Any], *more: tuple[str, str]) -> StatusAnswer:
    """Return *content* as JSON."""
    return answer(status, "application/json", json_text(content).encode("ascii"), *more)


def json_text(content: object) -> str:
    """Return *content* as JSON in ASCII, in which nothing can be taken for a tag."""
    # "<" only ever stands inside a string there. A number that JSON cannot tell is refused rather than misspelt.
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
