"""The query string of the JSON document: its bounds, and what is no number."""

from __future__ import annotations

import pytest

from loopcron.status._query import Query, parsed


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        ("", Query(0, 200, "")),
        ("offset=400&limit=1000&q=Sync", Query(400, 1000, "sync")),
        ("limit=1&limit=2", Query(0, 2, "")),
        ("unknown=1&q=a%26b", Query(0, 200, "a&b")),
        ("q=%ff%00", Query(0, 200, "\ufffd\x00")),
    ],
)
def test_fields_are_read(raw: str, query: Query) -> None:
    """Each field is read, or has its default; of one given twice the last counts, unknown ones do not."""
    assert parsed(raw) == query


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        *[(f"limit={text}", "limit") for text in ("0", "1001", "-1", "x", "1.5", "٣", "9" * 5000, "1_0")],
        *[(f"offset={text}", "offset") for text in ("-1", "x", "1" * 10)],
    ],
    ids=lambda value: value[:20],
)
def test_what_is_out_of_bounds_is_refused(raw: str, field: str) -> None:
    """A number out of bounds, or none at all, is refused, and the message says what would do."""
    with pytest.raises(ValueError, match=rf"^{field} must be a whole number from \d to \d+$"):
        parsed(raw)


def test_too_many_fields_are_refused() -> None:
    """A query of many fields is refused before they are taken apart."""
    with pytest.raises(ValueError, match="fields"):
        parsed("&".join(f"a{number}=1" for number in range(100)))
