"""Which jobs are asked for: the query string of the JSON document."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_MOST: Final = 1000


class Query(NamedTuple):
    """A page of the jobs whose names hold a text."""

    offset: int = 0
    limit: int = 200
    text: str = ""
    """In small letters; empty: all jobs."""


def parsed(raw: str) -> Query:
    """
    Return what the query string *raw* asks for; of a field given twice the last one counts, unknown ones do not.

    Raises:
        ValueError: A field is out of bounds; the message says which, and what would do.
    """
    given = dict(parse_qsl(raw, max_num_fields=20))
    return Query(
        offset=_number(given.get("offset"), "offset", 0, 0, 999_999_999),
        limit=_number(given.get("limit"), "limit", 200, 1, _MOST),
        text=given.get("q", "").lower(),
    )


def _number(text: str | None, name: str, default: int, least: int, most: int) -> int:
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return int(text)
