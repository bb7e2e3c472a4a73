"""
Guards for endpoints of Starlette and FastAPI: a decorator, and a dependency.

What may in and what that means is `loopcron.SlotGuard`'s business; here its refusals become responses.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, ParamSpec, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from loopcron import ConfigError, LifecycleError, SlotGuard, SlotPass, SlotRefusedError
from loopcron_starlette._lifespan import scheduler_from

_Parameters = ParamSpec("_Parameters")
_OnLedgerError = Literal["skip", "fire"]

_KEY: Final = "loopcron_pass"
"""Where the pass is found: in the request's state."""


def guarded(
    job: str, *, on_ledger_error: _OnLedgerError = "skip"
) -> Callable[[Callable[_Parameters, object]], Callable[_Parameters, Awaitable[Any]]]:
    """
    Decorate the endpoint that *job* calls, so that each slot runs once, whoever calls first.

    The endpoint takes the ``Request``, as any of Starlette's; in FastAPI as one of its parameters. `pass_from` gives
    it the pass. A refusal is answered with 400, 409, 412 or 503 and JSON: ``job``, ``reason``, ``detail``. The run is
    over when the endpoint returns: its background tasks and the streaming of its response are not guarded.

    An endpoint that is no ``async`` function runs on a thread, and cannot be cut when its lease is lost.

    Args:
        job: The name of a job of the scheduler that runs in the app.
        on_ledger_error: See `loopcron.SlotGuard`.

    Raises:
        ConfigError: What is decorated is a class; decorate its methods.
    """

    def decorate(endpoint: Callable[_Parameters, object]) -> Callable[_Parameters, Awaitable[Any]]:
        if inspect.isclass(endpoint):
            raise ConfigError("endpoint", endpoint, "is a class; decorate its methods")
        is_async = inspect.iscoroutinefunction(endpoint)
        call = cast("Callable[..., Any]", endpoint if is_async else functools.partial(run_in_threadpool, endpoint))

        @functools.wraps(endpoint)
        async def admitted(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> Any:
            try:
                async with _admitted(_request_among(*args, **kwargs), job, on_ledger_error) as slot_pass:
                    response = await call(*args, **kwargs)
                    slot_pass.status = getattr(response, "status_code", None)
                    return response
            except SlotRefusedError as refused:
                return JSONResponse(refused.body, refused.status, refused.headers)

        return admitted

    return decorate


def slot_guard(
    job: str, *, on_ledger_error: _OnLedgerError = "skip"
) -> Callable[[Request], AsyncGenerator[SlotPass, None]]:
    """
    Return a FastAPI dependency that lets a request in as `guarded` does, and gives the endpoint its pass.

    ``Annotated[SlotPass, Depends(slot_guard("sync"))]``. A refusal is an ``HTTPException``, whose ``detail`` holds the
    JSON. A dependency does not see the response: an endpoint that fails must raise, such as an ``HTTPException``, or
    set the pass's ``status``. Put it behind the dependency that authenticates; a request whose body does not validate
    has used its slot up.

    Args:
        job: The name of a job of the scheduler that runs in the app.
        on_ledger_error: See `loopcron.SlotGuard`.
    """

    async def admitted(request: Request) -> AsyncGenerator[SlotPass, None]:
        try:
            async with _admitted(request, job, on_ledger_error) as slot_pass:
                yield slot_pass
        except SlotRefusedError as refused:
            # FastAPI writes any JSON that it finds there, whatever Starlette's annotation says.
            detail = cast("str", refused.body)
            raise HTTPException(refused.status, detail, refused.headers) from None

    return admitted


def pass_from(request: Request) -> SlotPass:
    """
    Return the pass of a guarded endpoint's request.

    Raises:
        LifecycleError: The endpoint is not guarded.
    """
    state: Mapping[str, Any] = request.scope.get("state") or {}
    found = state.get(_KEY)
    if not isinstance(found, SlotPass):
        raise LifecycleError("this endpoint is not guarded: decorate it with loopcron_starlette.guarded(job)")
    return found


@asynccontextmanager
async def _admitted(request: Request, job: str, on_ledger_error: _OnLedgerError) -> AsyncIterator[SlotPass]:
    guard = SlotGuard.of(scheduler_from(request), job, on_ledger_error=on_ledger_error)
    async with guard.admit(request.headers.items()) as slot_pass:
        setattr(request.state, _KEY, slot_pass)
        try:
            yield slot_pass
        except HTTPException as answer:
            slot_pass.status = answer.status_code
            raise


def _request_among(*args: object, **kwargs: object) -> Request:
    for value in (*args, *kwargs.values()):
        if isinstance(value, Request):
            return value
    raise LifecycleError("a guarded endpoint takes the Request; in FastAPI give it a parameter of that type")
