"""The jobs that come with loopcron, what they refuse, and what a response means."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcron._errors import ConfigError, ScheduleError, TransportCode, TransportError
from loopcron._every import every
from loopcron._http import Request, Response, env_token
from loopcron._jobs import (
    FunctionJob,
    HttpJob,
    PolicyFields,
    checked_name,
    make_policy,
    outcome_of,
    outcome_of_error,
    retry_after_seconds,
)
from loopcron._outcomes import Busy, Failed, Outcome, Run, Skipped, Succeeded
from loopcron._policies import Policy, Retry
from loopcron._tables import Overlap

MINUTELY = every(minutes=1)
OK = frozenset(range(200, 300))
DATE = "Mon, 23 Nov 2026 08:00:00 GMT"


class Stage:
    """Stands in for the scheduler behind a run."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[Request] = []

    async def send(self, run: Run, request: Request, /) -> Response:
        self.requests.append(request)
        return Response(self.status)

    async def sleep(self, run: Run, seconds: float, /) -> None:
        raise AssertionError("nobody sleeps here")

    async def call(self, run: Run, function: Callable[[Run], object], /) -> object:
        return ("on a thread", function(run))


def result_of(job: FunctionJob | HttpJob, stage: Stage) -> Any:
    """Run a job that waits for nothing, with no event loop."""
    coroutine: Coroutine[Any, Any, Any] = job.run(Run(job.name, 0, 1, 1, "schedule", 0, None, None, stage))
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def nothing(run: Run) -> None:
    """Do nothing."""


# --- names and policies


@pytest.mark.parametrize("name", ["a", "7", "sync", "pr-fix_sweep.v2", "x" * 64])
def test_names_are_plain(name: str) -> None:
    """Letters, digits, dot, underscore and hyphen make a name of at most 64, led by a letter or digit."""
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "a b", "a/b", "a\n", "ä", "٣", "x" * 65, "a\x00", None, 5, b"a", ["a"]]
)
def test_bad_names_are_refused(name: object) -> None:
    """A name that could not be a key in a ledger, a header or a log is refused with what may stand in it."""
    with pytest.raises(ConfigError, match=r"must be 1 to 64 of A-Z a-z 0-9 \. _ - and begin with") as caught:
        checked_name(name)
    assert caught.value.field == "name"


def test_policy_fields_are_those_of_policy() -> None:
    """The keywords that jobs take are the fields of Policy, all of them."""
    assert set(PolicyFields.__annotations__) == {field.name for field in dataclasses.fields(Policy) if field.init}


def test_unknown_policy_field_is_named() -> None:
    """A keyword that no policy has is refused with the known ones, so a typo shows."""
    with pytest.raises(ConfigError, match=r"^timeuot=5: is no field of a job's policy; there are catch_up, .*timeout"):
        make_policy({"timeuot": 5})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(ConfigError, match="is no field"):
        FunctionJob("a", MINUTELY, nothing, misfire=5)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="is no field"):
        HttpJob("a", MINUTELY, "/", misfire=5)  # type: ignore[call-arg]


def test_policy_keywords_make_the_policy() -> None:
    """A job's keywords become its policy."""
    job = FunctionJob("a", MINUTELY, nothing, overlap="allow", retry=Retry(), timeout=None)
    assert job.policy == Policy(overlap=Overlap.ALLOW, retry=Retry(), timeout=None)
    assert FunctionJob("a", MINUTELY, nothing).policy == Policy()


@pytest.mark.parametrize(
    "make", [lambda s: FunctionJob("a", s, nothing), lambda s: HttpJob("a", s, "/")], ids=["f", "h"]
)
def test_jobs_check_their_schedule(make: Callable[[Any], object]) -> None:
    """A job refuses what is no schedule when it is made."""
    with pytest.raises(ScheduleError, match="every"):
        make(timedelta(minutes=1))


# --- functions


class Callable_:
    """An object with an async call."""

    async def __call__(self, run: Run) -> str:
        return "called"


async def asynchronous(run: Run) -> Outcome:
    return Busy()


@pytest.mark.parametrize(
    ("function", "is_async", "result"),
    [
        (asynchronous, True, Busy()),
        (functools.partial(asynchronous), True, Busy()),
        (Callable_(), True, "called"),
        (nothing, False, ("on a thread", None)),
        (lambda run, other=1: run.job, False, ("on a thread", "a")),
        (str, False, ("on a thread", "<Run a@1970-01-01T00:00:00.000Z attempt 1, schedule>")),
    ],
    ids=["function", "partial", "object", "sync", "lambda", "class"],
)
def test_functions_are_awaited_or_called_on_a_thread(function: Any, is_async: bool, result: object) -> None:
    """An async function is awaited on the loop, any other one is called on a thread, and its value is handed on."""
    job = FunctionJob("a", MINUTELY, function)
    assert job.is_async == is_async
    assert result_of(job, Stage()) == result


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (None, "must be a function"),
        ("sync", "must be a function"),
        (lambda: None, "must take one positional argument"),
        (lambda a, b: None, "must take one positional argument"),
        (lambda *, run: None, "must take one positional argument"),
        (7, "must be a function"),
    ],
    ids=["none", "text", "no argument", "two arguments", "keyword", "number"],
)
def test_functions_that_cannot_take_the_run_are_refused(function: Any, remedy: str) -> None:
    """What cannot be called with the run is refused when the job is made, not when it first fires."""
    with pytest.raises(ConfigError, match=remedy) as caught:
        FunctionJob("a", MINUTELY, function)
    assert caught.value.field == "function"


def shapes() -> list[Any]:
    """Return functions of many shapes: of each kind of parameter none, one, one with a default, or two."""
    texts = [
        f"{kind} f({', '.join(filter(None, (first, rest, keyword)))}): pass"
        for kind in ("def", "async def")
        for first in (
            "",
            "a, /",
            "a=1, /",
            "a",
            "a=1",
            "a, b",
            "a, b=1",
            "a=1, b=2",
            "a, /, b",
            "a, b=1, c=2",
            "a, b, c=1",
        )
        for rest in ("", "*rest", "*")
        for keyword in ("", "k", "k=1", "k=1, l", "**rest")
    ]
    functions: list[Any] = []
    for text in texts:
        with contextlib.suppress(SyntaxError):
            space: dict[str, Any] = {}
            exec(text, space)
            functions.append(space["f"])
    return functions


def odd_functions() -> list[Any]:
    """Return callables that say of themselves what they take, or are no plain functions."""
    given: Any = None

    @functools.wraps(nothing)
    def wrapped(*args: Any, **kwargs: Any) -> None: ...

    @functools.wraps(lambda: None)
    def wraps_nobody(run: Run) -> None: ...

    def signed(*args: Any) -> None: ...

    signed.__signature__ = inspect.Signature()  # type: ignore[attr-defined]

    async def generates(run: Run) -> Any:
        yield run

    partials = [
        functools.partial(asynchronous, given),
        functools.partial(wrapped, 1),
        functools.partial(lambda a, b: a, 1),
    ]
    methods = [Callable_().__call__, Callable_.__call__, Stage().sleep, Stage.sleep, [].append, dict.get]
    return [wrapped, wraps_nobody, signed, generates, *partials, *methods, Callable_, Callable_(), Stage, len, print]


@pytest.mark.parametrize("function", [*shapes(), *odd_functions()], ids=str)
def test_functions_are_seen_as_inspect_sees_them(function: Any) -> None:
    """Whether a function takes the run, and is awaited, is what ``inspect`` says of it, though it is seldom asked."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        with pytest.raises(ConfigError, match="must take one positional argument"):
            FunctionJob("a", MINUTELY, function)
        return
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    assert FunctionJob("a", MINUTELY, function).is_async is is_async


def test_builtin_without_signature_is_accepted() -> None:
    """A builtin that does not tell its arguments is accepted: only calling it will tell."""
    ask_dict: Any = dict.fromkeys
    ask_iter: Any = iter
    assert FunctionJob("a", MINUTELY, ask_dict).is_async is False
    assert FunctionJob("a", MINUTELY, ask_iter).is_async is False


def test_jobs_show_themselves() -> None:
    """A job's text names it, its schedule, and of a request what is no secret."""
    assert repr(FunctionJob("a", MINUTELY, nothing)) == "<FunctionJob a, every 0:01:00>"
    job = HttpJob("a", MINUTELY, "/api", headers={"X-Key": "hush"}, token=env_token("HUSH"))
    assert repr(job) == "<HttpJob a, every 0:01:00, POST /api>"


# --- requests


def test_http_job_sends_its_request() -> None:
    """The request is written once, with a JSON body and its type, and its status decides."""
    stage = Stage(201)
    job = HttpJob("a", MINUTELY, "/api?x=1", method="PUT", json={"issues": True}, headers={"X-Kind": "sync"})
    assert result_of(job, stage) == Succeeded(201)
    assert stage.requests == [
        Request("PUT", "/api?x=1", (("X-Kind", "sync"), ("Content-Type", "application/json")), b'{"issues":true}')
    ]


def test_http_job_keeps_a_content_type_that_is_given() -> None:
    """A Content-Type in any case is left as it is, and a body of bytes gets none."""
    stage = Stage()
    result_of(HttpJob("a", MINUTELY, "/", json=[], headers={"content-type": "application/x+json"}), stage)
    result_of(HttpJob("a", MINUTELY, "/", body=b"raw"), stage)
    result_of(HttpJob("a", MINUTELY, "/"), stage)
    assert [(request.headers, request.body) for request in stage.requests] == [
        ((("content-type", "application/x+json"),), b"[]"),
        ((), b"raw"),
        ((), b""),
    ]


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("keywords", "field"),
    [
        ({"path": "api"}, "path"),
        ({"path": "//evil.example"}, "path"),
        ({"path": None}, "path"),
        ({"method": "post"}, "method"),
        ({"method": None}, "method"),
        ({"json": {1, 2}}, "json"),
        ({"json": math.nan}, "json"),
        ({"json": b"x"}, "json"),
        ({"json": CIRCLE}, "json"),
        ({"json": {}, "body": b"x"}, "body"),
        ({"body": "text"}, "body"),
        ({"headers": [("a", "b")]}, "headers"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers"),
        ({"headers": {"a": 5}}, "headers"),
        ({"headers": {"Authorization": "Bearer x"}}, "headers"),
        ({"token": "secret"}, "token"),
        ({"expected": ()}, "expected"),
        ({"expected": 200}, "expected"),
        ({"expected": "200"}, "expected"),
        ({"expected": {99}}, "expected"),
        ({"expected": {600}}, "expected"),
        ({"expected": {True}}, "expected"),
        ({"expected": {200.0}}, "expected"),
        ({"expected": [[200]]}, "expected"),
    ],
)
def test_http_job_refuses_bad_input(keywords: dict[str, Any], field: str) -> None:
    """A request that could not be sent as it stands is refused when the job is made, and no secret is shown."""
    with pytest.raises(ConfigError) as caught:
        HttpJob("a", MINUTELY, **{"path": "/", **keywords})
    assert caught.value.field == field
    assert "secret" not in str(caught.value)
    assert "Bearer" not in str(caught.value)


def test_expected_shows_what_was_given() -> None:
    """A lone status instead of a set is shown as it was given."""
    with pytest.raises(ConfigError, match=r"^expected=200: must be a set of HTTP statuses"):
        HttpJob("a", MINUTELY, "/", expected=200)  # type: ignore[arg-type]


# --- what a response means


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Succeeded(200)),
        (299, Succeeded(299)),
        (199, Failed("endpoint", "HTTP 199", 199)),
        (302, Failed("endpoint", "HTTP 302", 302)),
        (401, Failed("endpoint", "HTTP 401", 401)),
        (409, Busy(409)),
        (500, Failed("endpoint", "HTTP 500", 500)),
    ],
)
def test_status_decides_the_outcome(status: int, outcome: Outcome) -> None:
    """A 2xx is a success, a 409 is busy, and all else the endpoint's failure, a redirect too."""
    assert outcome_of(Response(status, body=b"secret"), OK) == outcome


def test_expected_statuses_are_the_jobs_own() -> None:
    """A job may say what it expects, even a 409, and then nothing else will do."""
    assert result_of(HttpJob("a", MINUTELY, "/", expected={409}), Stage(409)) == Succeeded(409)
    assert result_of(HttpJob("a", MINUTELY, "/", expected=[202]), Stage(200)) == Failed("endpoint", "HTTP 200", 200)


@pytest.mark.parametrize(("status", "seconds"), [(425, 7.0), (429, 7.0), (503, 7.0), (500, None), (301, None)])
def test_retry_after_counts_with_three_statuses(status: int, seconds: float | None) -> None:
    """Retry-After is heeded on 425, 429 and 503 only."""
    outcome = outcome_of(Response(status, (("retry-after", "7"),)), OK)
    assert isinstance(outcome, Failed)
    assert outcome.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "999999999"}, 999_999_999.0),
        ({"retry-after": "9999999999"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": DATE, "date": DATE}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:59:59 GMT", "date": DATE}, None),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 -0000", "date": DATE}, None),
        ({"retry-after": "Mon, 99 Nov 2026 08:00:30 GMT", "date": DATE}, None),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 +9999999999", "date": DATE}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After is whole seconds, or a date counted from the response's own Date; rubbish is none."""
    assert retry_after_seconds(Response(503, tuple(headers.items()))) == seconds


@given(st.text(), st.text() | st.just(DATE))
def test_retry_after_never_fails(value: str, date: str) -> None:
    """Whatever the endpoint writes, the wait is a number that is not negative, or none."""
    seconds = retry_after_seconds(Response(503, (("retry-after", value), ("date", date))))
    assert seconds is None or seconds >= 0


@given(
    st.from_regex(
        r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,5} \d{1,3}:\d{1,3}(:\d{1,3})? [A-Z+-]{0,3}\d{0,6}", fullmatch=True
    )
)
def test_odd_dates_never_fail(value: str) -> None:
    """What looks like a date and is none gives no wait and no error."""
    assert retry_after_seconds(Response(503, (("retry-after", value), ("date", DATE)))) is None or value


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("no_address", Skipped("no_address")),
        ("token", Failed("job", "token")),
        ("path", Failed("job", "path")),
        ("tls", Failed("transport", "tls")),
        ("refused", Failed("transport", "refused", started=False)),
        ("resolve", Failed("transport", "resolve", started=False)),
        ("unreachable", Failed("transport", "unreachable", started=False)),
    ],
)
def test_errors_of_transports_become_outcomes(code: TransportCode, outcome: Outcome) -> None:
    """An error that never reached the app may be repeated, except where only a person can mend the configuration."""
    assert outcome_of_error(TransportError(code, started=False)) == outcome


@pytest.mark.parametrize("code", ["reset", "closed", "protocol", "internal"])
def test_errors_after_the_start_stay_started(code: TransportCode) -> None:
    """An error that may have come after the app had begun is not marked as never started."""
    assert outcome_of_error(TransportError(code)) == Failed("transport", code)


def test_date_in_the_tests_is_what_it_says() -> None:
    """The weekday of the dates above is right, so that no parser has a reason to object."""
    assert datetime(2026, 11, 23, 8, tzinfo=UTC).strftime("%a, %d %b %Y %H:%M:%S GMT") == DATE
