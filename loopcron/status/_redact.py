"""Texts of jobs, endpoints and schedules as a page may show them: one printable line without what looks secret."""

from __future__ import annotations

import re
from typing import Final

from loopcron._outcomes import printable

_SECRETS: Final = (
    # A URL's user and password; also of one that was cut before its host.
    (re.compile(r"://[^\s/@]*(@|\.\.\.$)"), r"://…\1"),
    (
        re.compile(
            # Whatever precedes the telling word is left alone: to look for where it begins takes quadratic time.
            r"(?i)((?:password|passwd|secret|token|api[_-]?key|authorization|cookie))(['\"]?\s*[:=]\s*)"
            r"(?:\"[^\"]*\"?|'[^']*'?|(?:bearer\s+|basic\s+)?[^\s,;&)}\]]+)"
        ),
        r"\1\2…",
    ),
    # Long enough to be none of the words that follow "basic" in a sentence.
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{16,}"), r"\1 …"),
)

_READ: Final = 1_000
"""So much of a text is looked at: more than is ever shown, even where an ellipsis has shortened it."""


def shown(text: str) -> str:
    """
    Return *text* on one printable line of at most 300 characters, with an ellipsis where it looks like a secret.

    A second line of defence only: a job that raises a secret in a message of its own wording shows and logs it.
    """
    if len(text) > _READ:
        text = f"{text[:_READ]}..."  # as what ends so may have been a password that was cut
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return printable(text)
