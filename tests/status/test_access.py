"""Who is let in to the status page, and which requests of tricked browsers are refused: every combination."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from loopcron import ConfigError
from loopcron.status._access import Access, forgery
from loopcron.status._exchange import StatusRequest


class Refusal(Exception):
    """Stand for a framework's own way of denying."""


def asking(authorize: Any) -> Access:
    """Return the access that *authorize* rules."""
    return Access(authorize, lambda error: isinstance(error, Refusal))


async def later(verdict: object) -> object:
    """Return *verdict* as an async function does."""
    return verdict


# --- authorize


@pytest.mark.parametrize(
    ("verdict", "actor"),
    [
        (True, ""),
        ("ann", "ann"),
        ("ann\n\x1b[31mforged", "ann\\n\\x1b[31mforged"),
        ("a" * 500, "a" * 100),
        (False, None),
        (None, None),
        ("", None),
        (0, None),
        (1, None),
        ({"user": "ann"}, None),
    ],
    ids=repr,
)
async def test_only_true_and_names_let_in(verdict: object, actor: str | None) -> None:
    """True and a name let in, printable and capped; all else denies, whether it is true of itself or not."""
    request = StatusRequest("GET", "/")
    assert await asking(lambda _: verdict).actor(request) == actor
    assert await asking(lambda _: later(verdict)).actor(request) == actor


async def test_authorize_is_given_the_request_of_the_framework() -> None:
    """It sees the framework's own request, and nothing else of it is used."""
    seen: list[object] = []
    native = object()
    await asking(seen.append).actor(StatusRequest("GET", "/", native=native))
    assert seen == [native]


def raising(error: BaseException) -> Callable[[object], bool]:
    """Return an authorize that raises."""

    def authorize(request: object) -> bool:
        raise error

    return authorize


async def test_an_authorize_that_raises_denies(caplog: pytest.LogCaptureFixture) -> None:
    """It lets nobody in, and of what it raised no more than the type is logged."""
    secret = ValueError("the password hunter2 is wrong")
    assert await asking(raising(secret)).actor(StatusRequest("GET", "/")) is None
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].exc_info is None


async def test_what_is_neither_true_nor_a_name_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A response, which somebody may have meant as a refusal, lets nobody in, and the log says what came."""
    assert await asking(lambda _: {"status": 401, "token": "hunter2"}).actor(StatusRequest("GET", "/")) is None
    assert "returned a dict" in caplog.text
    assert "hunter2" not in caplog.text
    caplog.clear()
    assert await asking(lambda _: False).actor(StatusRequest("GET", "/")) is None
    assert caplog.text == ""


async def test_the_frameworks_own_denial_is_let_through() -> None:
    """What the framework has for denying, such as a redirect to a login, comes out as it is."""
    with pytest.raises(Refusal):
        await asking(raising(Refusal())).actor(StatusRequest("GET", "/"))


@pytest.mark.parametrize("authorize", [None, True, "ann"], ids=repr)
def test_authorize_is_required(authorize: Any) -> None:
    """Without a function to ask there is no page, and the message says what would do."""
    with pytest.raises(ConfigError, match=r"^authorize=.* is required.* give a function.* returns True") as caught:
        asking(authorize)
    assert caught.value.field == "authorize"


# --- other sites

MARKS = ((), ("1",), ("0",), ("1", "1"))
SITES = ((), ("same-origin",), ("same-site",), ("cross-site",), ("none",), ("same-origin", "cross-site"))
ORIGINS = (
    (),
    ("https://ops.example",),
    ("https://OPS.example:443",),
    ("http://ops.example",),
    ("https://ops.example:8443",),
    ("https://evil.example",),
    ("https://ops.example.evil.example",),
    ("null",),
    ("file://",),
    ("https://ops.example:x",),
    ("https://ops.example", "https://evil.example"),
)
OURS = {"https://ops.example", "https://OPS.example:443", "http://ops.example"}
"""What is this host if that is ``ops.example``: over plain HTTP no browser says more than this."""


def test_every_combination_of_headers() -> None:
    """A request is taken with the mark once, and of this very origin, as far as the browser says where it is from."""
    let_in = set()
    for mark, site, origin in itertools.product(MARKS, SITES, ORIGINS):
        headers = [("Loopcron-Action", value) for value in mark]
        headers += [("Sec-Fetch-Site", value) for value in site]
        headers += [("Origin", value) for value in origin]
        headers.append(("Host", "ops.example"))
        if not forgery(StatusRequest("POST", "/jobs/a/run", headers=headers)):
            let_in.add((mark, site, origin))
    said = {(("1",), ("same-origin",), origin) for origin in ORIGINS}
    unsaid = {(("1",), (), (origin,)) for origin in OURS} | {(("1",), (), ())}
    assert let_in == said | unsaid


@pytest.mark.parametrize(
    ("origin", "hosts", "taken"),
    [
        ("http://127.0.0.1:8000", ["127.0.0.1:8000"], True),
        ("http://127.0.0.1:8000", ["127.0.0.1:8001"], False),
        ("http://[::1]:8000", ["[::1]:8000"], True),
        ("http://[::1:8000", ["[::1]:8000"], False),
        ("http://ops.example:80", ["ops.example"], True),
        ("http://ops.example", ["ops.example:80"], True),
        ("https://ops.example", ["ops.example:80"], False),
        ("http://ops.example", [], False),
        ("http://ops.example", ["ops.example", "evil.example"], False),
        ("http://ops.example", [""], False),
        ("ftp://ops.example", ["ops.example"], False),
    ],
)
def test_origin_against_host(origin: str, hosts: list[str], taken: bool) -> None:
    """An origin is this host if name and port are, the scheme's own port being the same as none."""
    headers = [("loopcron-action", "1"), ("origin", origin), *(("host", host) for host in hosts)]
    assert (forgery(StatusRequest("POST", "/", headers=headers)) == "") == taken


def test_a_refusal_says_which_header() -> None:
    """Who meant well is told which header was missing or wrong."""
    assert "Loopcron-Action: 1" in forgery(StatusRequest("POST", "/"))
    mark = ("Loopcron-Action", "1")
    assert "Sec-Fetch-Site" in forgery(StatusRequest("POST", "/", headers=[mark, ("Sec-Fetch-Site", "none")]))
    assert "Origin" in forgery(StatusRequest("POST", "/", headers=[mark, ("Origin", "null"), ("Host", "a")]))
