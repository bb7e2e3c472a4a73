"""The jobs that come with loopcron: one that calls a function, and one that calls an endpoint of the app."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from inspect import CO_COROUTINE, CO_VARARGS
from types import FunctionType
from typing import Any, Final, TypedDict, Unpack, final

from loopcron._errors import ConfigError, TransportError, text_of
from loopcron._http import Request, Response, Token, encode_json, header_pairs
from loopcron._outcomes import Busy, Failed, Outcome, Run, Skipped, Succeeded
from loopcron._policies import Policy, Retry
from loopcron._schedules import Schedule, checked_schedule
from loopcron._tables import CatchUp, Overlap

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
SUCCESS: Final = frozenset(range(200, 300))
RETRY_AFTER_STATUSES: Final = frozenset({425, 429, 503})
RETRY_AFTER_SECONDS: Final = re.compile(r"[0-9]{1,9}\Z")
CONFIGURATION_CODES: Final = frozenset({"token", "path", "tls"})

DEFAULT: Final = Policy()
"""What most jobs have; immutable, and a fifth of what a job takes in memory and of what it takes to make one."""

Function = Callable[[Run], object] | Callable[[Run], Coroutine[Any, Any, object]]


class PolicyFields(TypedDict, total=False):
    """The fields of `Policy`, as the keywords that every job takes."""

    overlap: Overlap | str
    max_running: int | None
    catch_up: CatchUp | str
    catch_up_max: int | None
    catch_up_within: timedelta
    misfire_grace: timedelta
    timeout: timedelta | None
    retry: Retry | None
    jitter: timedelta
    run_on_start: bool


def checked_name(name: object) -> str:
    """Return *name* if a job may have it, else raise ``ConfigError``."""
    if not isinstance(name, str) or not NAME.match(name):
        remedy = "must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
        raise ConfigError("name", name, remedy)
    return name


def make_policy(fields: PolicyFields) -> Policy:
    """Return the policy of these keywords; an unknown one raises ``ConfigError`` with the known ones."""
    if not fields:
        return DEFAULT
    unknown = sorted(set(fields) - set(PolicyFields.__annotations__))
    if unknown:
        known = ", ".join(sorted(PolicyFields.__annotations__))
        raise ConfigError(unknown[0], fields[unknown[0]], f"is no field of a job's policy; there are {known}")  # type: ignore[literal-required]
    return Policy(**fields)  # type: ignore[arg-type]


@final
class FunctionJob:
    """
    Calls a function with the `Run`: awaited if it is ``async``, on a daemon thread if it is not.

    Args:
        name: See `Job.name`.
        schedule: When.
        function: Takes one positional argument. What it returns counts only if it is an `Outcome`.
        policy: The fields of `Policy`.

    Raises:
        ConfigError: An argument is none of these.
    """

    __slots__ = ("function", "is_async", "name", "policy", "schedule")

    def __init__(self, name: str, schedule: Schedule, function: Function, **policy: Unpack[PolicyFields]) -> None:
        self.name: Final = checked_name(name)
        self.schedule: Final = checked_schedule(schedule)
        self.policy: Final = make_policy(policy)
        self.function: Final = function if _takes_one(function) else _checked_function(function)
        self.is_async: Final = _is_async(function)

    async def run(self, run: Run) -> Outcome | None:
        """Call the function."""
        result: Any = await (self.function(run) if self.is_async else run.call(self.function))  # type: ignore[misc]
        return result  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<FunctionJob {self.name}, {text_of(self.schedule)}>"


@final
class HttpJob:
    """
    Sends one request to the app's own endpoint, with a bearer token, so that the run passes its routing and auth.

    A 2xx is `Succeeded`, a 409 is `Busy`, any other status `Failed` with blame ``endpoint``. A redirect is never
    followed and so is a failure.

    Args:
        name: See `Job.name`.
        schedule: When.
        path: Of the endpoint, with its query; see `Request.path`. The origin is the transport's.
        method: In capitals.
        json: The body, written as JSON when the job is made; not together with *body*.
        body: The body as bytes; give its ``Content-Type`` in *headers*.
        headers: Further headers, such as ``{"Host": "app.example"}``; secrets belong in *token*.
        token: A callable such as ``env_token("NAME")``, called at each send.
        expected: Statuses that count as success; default 200 to 299. A 409 in here is `Succeeded`.
        policy: The fields of `Policy`.

    Raises:
        ConfigError: An argument is none of these.
    """

    __slots__ = ("_request", "expected", "name", "policy", "schedule")

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        path: str,
        *,
        method: str = "POST",
        json: object = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        expected: Iterable[int] = SUCCESS,
        **policy: Unpack[PolicyFields],
    ) -> None:
        self.name: Final = checked_name(name)
        self.schedule: Final = checked_schedule(schedule)
        self.policy: Final = make_policy(policy)
        pairs = header_pairs(headers or {})
        if json is not None:
            if body is not None:
                raise ConfigError("body", type(body).__name__, "is given together with json; leave one out")
            body = encode_json(json)
            if not any(key.lower() == "content-type" for key, _ in pairs):
                pairs = (*pairs, ("Content-Type", "application/json"))
        self._request: Final = Request(method, path, pairs, b"" if body is None else body, token)
        self.expected: Final = _checked_statuses(expected)

    async def run(self, run: Run) -> Outcome:
        """Send the request and say what its status means."""
        return outcome_of(await run.send(self._request), self.expected)

    def __repr__(self) -> str:
        return f"<HttpJob {self.name}, {text_of(self.schedule)}, {self._request.method} {self._request.path}>"


OWN_JOBS: Final = frozenset({FunctionJob, HttpJob})
"""The jobs that have checked what they were made of."""


def outcome_of(response: Response, expected: frozenset[int]) -> Outcome:
    """Return what a response means; nothing of it but the status is told on, because it may echo secrets."""
    status = response.status
    if status in expected:
        return Succeeded(status)
    if status == 409:
        return Busy(status)
    wait = retry_after_seconds(response) if status in RETRY_AFTER_STATUSES else None
    return Failed("endpoint", f"HTTP {status}", status, retry_after_seconds=wait)


def retry_after_seconds(response: Response) -> float | None:
    """
    Return the wait that ``Retry-After`` asks for, in seconds; None if it is absent, negative or rubbish.

    A date counts from the response's own ``Date``: both are the server's clock, so no skew matters (RFC 9110,
    10.2.3). Without a ``Date`` it is ignored.
    """
    value = (response.header("retry-after") or "").strip()
    if RETRY_AFTER_SECONDS.match(value):
        return float(value)
    from email.utils import parsedate_to_datetime  # rare, and a fifth of the whole import

    try:
        until = parsedate_to_datetime(value)
        seconds = (until - parsedate_to_datetime(response.header("date") or "")).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if seconds >= 0 else None


def outcome_of_error(error: TransportError) -> Outcome:
    """Return what a transport's error means for the run."""
    if error.code == "no_address":
        return Skipped("no_address")
    if error.code in CONFIGURATION_CODES:
        # Not marked as never started, though it is: waiting repairs no configuration, and hides it until the deadline.
        return Failed("job" if error.code in ("token", "path") else "transport", error.code)
    return Failed("transport", error.code, started=error.started)


def _checked_statuses(expected: Iterable[int]) -> frozenset[int]:
    try:
        statuses = frozenset(expected)
    except TypeError:
        raise ConfigError("expected", expected, "must be a set of HTTP statuses, such as {200, 202}") from None
    for status in statuses:
        if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
            raise ConfigError("expected", status, "must hold HTTP statuses from 100 to 599, such as {200, 202}")
    if not statuses:
        raise ConfigError("expected", "nothing", "must hold at least one HTTP status")
    return statuses


def _is_async(function: object) -> bool:
    if type(function) is FunctionType and function.__code__.co_flags & CO_COROUTINE:
        return True  # as nearly all are; what is marked as one in another way says so to inspect
    # An object with an async __call__ is no coroutine function itself.
    call = getattr(type(function), "__call__", None)  # noqa: B004 - callable() does not tell which kind
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _takes_one(function: object) -> bool:
    """
    Return whether *function* is one that takes the run, as can be seen without a signature of it.

    Nearly all are, and making a signature takes five times as long as all else that is done for a job. False says
    nothing, so that one place refuses; pinned by ``test_functions_are_seen_as_inspect_sees_them``.
    """
    if type(function) is not FunctionType or hasattr(function, "__wrapped__") or hasattr(function, "__signature__"):
        return False  # with one of these it is its own business what it takes
    code = function.__code__
    takes, needs = code.co_argcount, code.co_argcount - len(function.__defaults__ or ())
    return (takes > 0 or code.co_flags & CO_VARARGS > 0) and needs <= 1 and not code.co_kwonlyargcount


def _checked_function(function: object) -> Function:
    if not callable(function):
        raise ConfigError("function", function, "must be a function that takes the run, such as async def sync(run)")
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise ConfigError("function", function, "must take one positional argument, the run") from None
    except ValueError:
        pass  # a builtin without a signature: only calling it will tell
    return function
