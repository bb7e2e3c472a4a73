"""What a request, an HttpJob and a token may hold, and what responses and errors mean."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from loopcron import ConfigError, Failed, HttpJob, Policy, Request, Response, Skipped, TransportError, env_token, every
from loopcron._errors import TransportCode
from loopcron._http import bearer, checked_path
from loopcron._jobs import outcome_of, outcome_of_error, retry_after_seconds

SECRET = "hunter2"
QUARTER = every(minutes=15)


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/sync", "/a?b=c&d=%40", "/a%20b", "/~x/;p=1", "/a/b:c", "/a/../b"])
def test_path(path: str) -> None:
    """A path within the origin is sent as it stands."""
    assert Request("POST", path).path == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "api", "http://evil.example/", "https:/evil.example", "http:evil", "?a=1", "*"),
        *("//evil.example", "/a//b", "/\\evil.example", "/a\\b", "/user@evil.example", "/a#b"),
        *(
            "/a b",
            "/a\tb",
            "/a\r\nX-Forged: 1",
            "/a\n",
            "/\0",
            "/\x7f",
            "/\x1b[2K",
            "/\u202e",
            "/b\u00fccher",
            "/\u2028",
        ),
        *(None, 7, b"/api", ["/api"]),
    ],
)
def test_bad_path(path: Any) -> None:
    """What leads, or could be read as leading, out of the origin is refused, and so is what cannot be sent."""
    with pytest.raises(ConfigError) as caught:
        checked_path(path)
    assert caught.value.field == "path"
    with pytest.raises(ConfigError):
        HttpJob("sync", QUARTER, path)


@pytest.mark.parametrize("method", ["post", "", "POST ", "PO ST", "POST\r\n", "G\u00c9T", "A" * 17, None, b"POST"])
def test_bad_method(method: Any) -> None:
    """A method is up to 16 capital letters."""
    with pytest.raises(ConfigError) as caught:
        Request(method, "/")
    assert caught.value.field == "method"


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\n", "\u00e4", "A" * 101, None, b"Host"])
def test_bad_header_name(name: Any) -> None:
    """A header's name is a token as RFC 9110 has it."""
    with pytest.raises(ConfigError) as caught:
        HttpJob("sync", QUARTER, "/", headers={name: "value"})
    assert caught.value.field == "headers"


@pytest.mark.parametrize(
    "value", [f"{SECRET}\r\nX: 1", f"{SECRET}\n", f"{SECRET}\0", SECRET + "\u2028", SECRET * 600, None, 7]
)
def test_bad_header_value(value: Any) -> None:
    """A header's value is one line of latin text, and is not shown where it is not: it may be a secret."""
    with pytest.raises(ConfigError) as caught:
        Request("POST", "/", (("X-Key", value),))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "Content-Length", "Transfer-Encoding", "Connection"]
)
def test_reserved_header(name: str) -> None:
    """Framing is the transport's and a token belongs into token=, so their headers are refused."""
    with pytest.raises(ConfigError, match="set by loopcron") as caught:
        Request("POST", "/", ((name, SECRET),))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("headers", [[("A", "b")], "A: b", 7])
def test_headers_are_a_mapping(headers: Any) -> None:
    """A job's headers are a mapping."""
    with pytest.raises(ConfigError, match="mapping"):
        HttpJob("sync", QUARTER, "/", headers=headers)


@pytest.mark.parametrize("body", ["text", None, bytearray(b"x"), 7])
def test_bad_body(body: Any) -> None:
    """A request's body is bytes."""
    with pytest.raises(ConfigError) as caught:
        Request("POST", "/", body=body)
    assert caught.value.field == "body"


@pytest.mark.parametrize("json", [object(), {1, 2}, float("nan"), float("inf"), {"a": b"x"}, {(1, 2): 3}])
def test_bad_json(json: object) -> None:
    """What JSON cannot say is refused when the job is made."""
    with pytest.raises(ConfigError) as caught:
        HttpJob("sync", QUARTER, "/", json=json)
    assert caught.value.field == "json"


def test_endless_json() -> None:
    """A value that holds itself is refused when the job is made."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ConfigError):
        HttpJob("sync", QUARTER, "/", json=loop)


def test_json_and_body() -> None:
    """A job has one body."""
    with pytest.raises(ConfigError, match="together with json"):
        HttpJob("sync", QUARTER, "/", json={}, body=b"{}")


def test_content_type() -> None:
    """JSON says that it is JSON, unless the job says something more exact."""
    plain = HttpJob("sync", QUARTER, "/", json={"a": 1})
    exact = HttpJob("sync", QUARTER, "/", json={"a": 1}, headers={"content-type": "application/problem+json"})
    assert plain._request.headers == (("Content-Type", "application/json"),)
    assert exact._request.headers == (("content-type", "application/problem+json"),)
    assert plain._request.body == exact._request.body == b'{"a":1}'


def test_further_headers() -> None:
    """Headers added to a request stand behind its own, and are checked like them."""
    request = Request("POST", "/", (("A", "1"),), b"x", str)
    assert request.with_headers([("B", "2")]) == Request("POST", "/", (("A", "1"), ("B", "2")), b"x", str)
    with pytest.raises(ConfigError):
        request.with_headers([("B", "2\r\n")])


@pytest.mark.parametrize("expected", [(), 200, None, {99}, {600}, {True}, {"200"}, {200.0}])
def test_bad_expected(expected: Any) -> None:
    """The statuses that count as success are HTTP statuses, and at least one."""
    with pytest.raises(ConfigError) as caught:
        HttpJob("sync", QUARTER, "/", expected=expected)
    assert caught.value.field == "expected"


def test_job_shows_no_secret() -> None:
    """A job shows its name, schedule, method and path, and keeps what it sends to itself."""
    job = HttpJob("sync", QUARTER, "/api", headers={"X-Key": SECRET}, json={"key": SECRET}, token=lambda: SECRET)
    assert repr(job) == f"<HttpJob sync, {QUARTER}, POST /api>"
    assert job.policy == Policy()


# -- responses ---------------------------------------------------------------------------------------------------------


def test_response() -> None:
    """A response finds its headers in any case, the first of a name, and shows its status only."""
    response = Response(200, (("x-a", "1"), ("x-a", SECRET)), SECRET.encode())
    assert (response.header("X-A"), response.header("X-B")) == ("1", None)
    assert repr(response) == "Response(status=200)"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("0", 0.0), ("120", 120.0), (" 7 ", 7.0), ("999999999", 999_999_999.0)),
        *(("-1", None), ("1.5", None), ("1e3", None), ("9" * 10, None), ("soon", None), ("", None), ("\u0663", None)),
        ("Mon, 23 Nov 2026 08:01:00 GMT", 60.0),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 07:59:59 GMT", None),
        ("Mon, 23 Nov 2026 10:01:00 +0200", 60.0),
        ("Monday, 23-Nov-26 08:01:00 GMT", 60.0),
        ("Mon, 99 Nov 2026 08:01:00 GMT", None),
        ("Mon, 23 Nov 99999999 08:01:00 GMT", None),
        ("Mon, 23 Nov 2026 08:01:00", None),
        ("7, 9", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is whole seconds or a date after the response's own; the past and rubbish are ignored."""
    response = Response(503, (("retry-after", value), ("date", "Mon, 23 Nov 2026 08:00:00 GMT")))
    assert retry_after_seconds(response) == seconds


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_retry_after_without_a_date(date: str | None) -> None:
    """A date to wait for says nothing where the response does not say what time it is."""
    headers = (("retry-after", "Mon, 23 Nov 2026 08:01:00 GMT"), *((("date", date),) if date is not None else ()))
    assert retry_after_seconds(Response(503, headers)) is None


@pytest.mark.parametrize(
    ("status", "seconds"), [(425, 7.0), (429, 7.0), (503, 7.0), (500, None), (301, None), (404, None)]
)
def test_who_may_ask_to_wait(status: int, seconds: float | None) -> None:
    """Only 425, 429 and 503 may ask to wait."""
    outcome = outcome_of(Response(status, (("retry-after", "7"),)), frozenset({200}))
    assert outcome == Failed("endpoint", f"HTTP {status}", status, retry_after_seconds=seconds)


@pytest.mark.parametrize("code", ["refused", "reset", "closed", "protocol", "resolve", "unreachable", "internal"])
@pytest.mark.parametrize("started", [True, False])
def test_transport_errors(code: TransportCode, started: bool) -> None:
    """A transport's error is its failure, and says whether anything may have started."""
    assert outcome_of_error(TransportError(code, started=started)) == Failed("transport", code, started=started)


@pytest.mark.parametrize(("code", "blame"), [("token", "job"), ("path", "job"), ("tls", "transport")])
def test_configuration_errors(code: TransportCode, blame: Any) -> None:
    """What no waiting can mend is told at once, and not tried again."""
    assert outcome_of_error(TransportError(code, started=False)) == Failed(blame, code)


def test_no_address() -> None:
    """Where no address is known the run is skipped."""
    assert outcome_of_error(TransportError("no_address", started=False)) == Skipped("no_address")


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_env_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of the environment is read at each call, and shows its variable's name only."""
    token = env_token("LOOPCRON_TEST_TOKEN")
    monkeypatch.delenv("LOOPCRON_TEST_TOKEN", raising=False)
    assert token() == ""
    monkeypatch.setenv("LOOPCRON_TEST_TOKEN", SECRET)
    assert token() == SECRET
    assert repr(token) == "env_token('LOOPCRON_TEST_TOKEN')"
    assert SECRET.encode() not in pickle.dumps(token.name)


@pytest.mark.parametrize("name", ["", "A=B", "A\0", None, b"A", 7])
def test_bad_env_token(name: Any) -> None:
    """What cannot name an environment variable is refused."""
    with pytest.raises(ConfigError):
        env_token(name)


@pytest.mark.parametrize("token", [SECRET, SECRET.encode(), 7], ids=["text", "bytes", "number"])
def test_token_is_a_callable(token: Any) -> None:
    """A token given by value is refused, and not shown."""
    with pytest.raises(ConfigError) as caught:
        HttpJob("sync", QUARTER, "/", token=token)
    assert caught.value.field == "token"
    assert SECRET not in str(caught.value)


def test_bearer() -> None:
    """The header's value is the token with its scheme, or None without a token."""
    assert bearer(Request("POST", "/")) is None
    assert bearer(Request("POST", "/", token=lambda: SECRET)) == f"Bearer {SECRET}"


@pytest.mark.parametrize("suffix", ["\r\n", " ", "\0", "\u00e9", "x" * 8000])
def test_bad_token(suffix: str) -> None:
    """A token that cannot stand in a header is refused, and no frame of the refusal holds it."""

    def token() -> str:
        return SECRET + suffix

    with pytest.raises(TransportError, match="token") as caught:
        bearer(Request("POST", "/", token=token))
    assert not caught.value.started
    frames = traceback.TracebackException(caught.type, caught.value, caught.tb.tb_next, capture_locals=True)
    assert SECRET not in "".join(frames.format())


def test_token_that_raises() -> None:
    """What a secret store raises is dropped: its text may show the secret."""

    def token() -> str:
        raise LookupError("vault: hunter2")

    with pytest.raises(TransportError, match="token") as caught:
        bearer(Request("POST", "/", token=token))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_host_given_twice() -> None:
    """A second Host header is refused when the request is made, in whatever case, because no server accepts it."""
    with pytest.raises(ConfigError, match="given twice"):
        Request("POST", "/", (("Host", "a"), ("host", "b")))
