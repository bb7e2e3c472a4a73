"""
The guard for handlers of aiohttp: a decorator.

What may in and what that means is `loopcron.SlotGuard`'s business; here its refusals become responses.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, ParamSpec

from aiohttp import web

from loopcron import LifecycleError, SlotGuard, SlotPass, SlotRefusedError
from loopcron_aiohttp._app import scheduler_from

_Parameters = ParamSpec("_Parameters")

_KEY: Final[Any] = web.RequestKey("loopcron_pass", SlotPass) if hasattr(web, "RequestKey") else "loopcron_pass"
"""Where the pass is found: in the request. Where aiohttp has typed keys it warns of others."""


def guarded(
    job: str, *, on_ledger_error: Literal["skip", "fire"] = "skip"
) -> Callable[
    [Callable[_Parameters, Awaitable[web.StreamResponse]]], Callable[_Parameters, Awaitable[web.StreamResponse]]
]:
    """
    Decorate the handler that *job* calls, so that each slot runs once, whoever calls first.

    A function or a method that takes the request last, or a method of a ``web.View``. `pass_from` gives it the pass.
    A refusal is answered with 400, 409, 412 or 503 and JSON: ``job``, ``reason``, ``detail``.

    Args:
        job: The name of a job of the app's scheduler.
        on_ledger_error: See `loopcron.SlotGuard`.
    """

    def decorate(
        handler: Callable[_Parameters, Awaitable[web.StreamResponse]],
    ) -> Callable[_Parameters, Awaitable[web.StreamResponse]]:
        @functools.wraps(handler)
        async def admitted(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> web.StreamResponse:
            request = _request_of(args[-1] if args else None)
            guard = SlotGuard.of(scheduler_from(request), job, on_ledger_error=on_ledger_error)
            try:
                async with guard.admit(request.headers.items()) as slot_pass:
                    request[_KEY] = slot_pass
                    try:
                        response = await handler(*args, **kwargs)
                    except web.HTTPException as answer:
                        slot_pass.status = answer.status
                        raise
                    slot_pass.status = response.status
                    return response
            except SlotRefusedError as refused:
                return web.json_response(refused.body, status=refused.status, headers=refused.headers)

        return admitted

    return decorate


def pass_from(request: web.Request) -> SlotPass:
    """
    Return the pass of a guarded handler's request.

    Raises:
        LifecycleError: The handler is not guarded.
    """
    found = request.get(_KEY)
    if not isinstance(found, SlotPass):
        raise LifecycleError("this handler is not guarded: decorate it with loopcron_aiohttp.guarded(job)")
    return found


def _request_of(last: object) -> web.Request:
    found = last.request if isinstance(last, web.View) else last
    if not isinstance(found, web.Request):
        raise LifecycleError("a guarded handler takes the request last, or is a method of a web.View")
    return found
