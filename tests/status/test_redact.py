"""What looks like a secret in a text of a job or an endpoint, and what does not."""

from __future__ import annotations

import time

import pytest

from loopcron.status._redact import shown

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"ConnectError: postgresql://app:{SECRET}@db:5432/app", "ConnectError: postgresql://…@db:5432/app"),
        (f"redis://:{SECRET}...", "redis://…..."),
        (f"refused: Bearer {SECRET}==", "refused: Bearer …"),
        (f"headers {{'Authorization': 'Bearer {SECRET}'}}", "headers {'Authorization': …}"),
        (f"authorization: bearer {SECRET}", "authorization: …"),
        (f"GET /ping?token={SECRET}&b=2", "GET /ping?token=…&b=2"),
        (f'{{"api_key": "{SECRET} x", "b": 1}}', '{"api_key": …, "b": 1}'),
        (f"DB_PASSWORD={SECRET}; next", "DB_PASSWORD=…; next"),
        (f"Set-Cookie: {SECRET}", "Set-Cookie: …"),
        (f"client_secret='{SECRET}", "client_secret=…"),
    ],
)
def test_secrets_are_left_out(text: str, told: str) -> None:
    """A password in a URL, a bearer token, and what follows a telling name are replaced by an ellipsis."""
    assert shown(text) == told
    assert SECRET not in shown(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "endpoint: HTTP 503",
        "ValueError: could not parse 'a=b'",
        "http://web:8000/api/sync?page=2 refused",
        "the token was refused",
        "basic checks failed",
    ],
)
def test_plain_texts_stay(text: str) -> None:
    """What holds no secret is shown as it is."""
    assert shown(text) == text


def test_text_is_one_printable_line_of_bounded_length() -> None:
    """Control characters and marks of direction are escaped, and a long text is cut."""
    assert shown("a\n\x1b[0m\u202e\u2028") == "a\\n\\x1b[0m\\u202e\\u2028"
    assert len(shown("x" * 100_000)) == 300


@pytest.mark.parametrize("text", ["a-" * 50_000, "token " * 20_000, "://" * 30_000, "token" + " " * 100_000])
def test_long_text_takes_no_time(text: str) -> None:
    """A long text, as a path or an error may be, is shown at once, whatever it consists of."""
    began = time.perf_counter()
    assert len(shown(text)) <= 300
    assert time.perf_counter() - began < 1


def test_password_that_reaches_beyond_what_is_read_stays_out() -> None:
    """A URL's password that is longer than all that is looked at is not shown in part."""
    assert SECRET not in shown("redis://:" + SECRET * 100 + "@store")
