"""
One case of the transport contract: an `HttpJob`'s run over the transport.

Every case is timed, and searched for the token afterwards: in what is left of it and in what a traceback would show.
"""

from __future__ import annotations

import base64
import pickle
import time
import traceback
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final
from urllib.parse import quote, quote_plus

import anyio

from loopcron._errors import TransportError
from loopcron._every import every
from loopcron._http import Request, Response
from loopcron._jobs import HttpJob, outcome_of_error
from loopcron._outcomes import Outcome, Run, TimedOut

if TYPE_CHECKING:
    from loopcron._protocols import Transport

CONTRACT_TOKEN: Final = "c0ntract+s3cret/t0ken=~with%everything"  # noqa: S105 - made to be hunted for
_CANCEL_SECONDS: Final = 0.5
"""How long a transport may take to end once it is cancelled."""
_MEMORY_LIMIT: Final = 16 << 20
_SLOT: Final = 1_798_761_600_000


def contract_token() -> str:
    """Give the token that all cases send; a function, so that no frame of a test ever holds it."""
    return CONTRACT_TOKEN


def secret_forms() -> tuple[str, ...]:
    """Return the token in all the forms it could leak in."""
    plain = CONTRACT_TOKEN.encode()
    shifted = (base64.b64encode(b"x" * pad + plain)[4:-4] for pad in range(3))  # at each alignment, inside other text
    coded = (base64.b64encode(plain), base64.urlsafe_b64encode(plain), *shifted)
    return (CONTRACT_TOKEN, quote(CONTRACT_TOKEN), quote_plus(CONTRACT_TOKEN), *(form.decode() for form in coded))


def assert_no_secret(*texts: str) -> None:
    """Fail if the token is in one of the *texts*, in any form; the failure does not show it either."""
    found = sum(form in text for text in texts for form in secret_forms())
    assert found == 0, "the token has leaked"


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """How one case ended."""

    outcome: Outcome
    seconds: float
    error: TransportError | None
    """What the transport raised, if it did."""


@final
class _Backstage:
    """What a run needs of a scheduler: here only to send, while noting what a traceback would show."""

    def __init__(self, transport: Transport) -> None:
        self._transport: Final = transport
        self.evidence: list[str] = []
        self.error: TransportError | None = None

    async def send(self, run: Run, request: Request, /) -> Response:
        try:
            response = await self._transport.send(request.with_headers(run.headers()))
        except BaseException as error:
            if isinstance(error, TransportError):
                self.error = error
            shown = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
            self.evidence += [*shown.format(), repr(error), str(error), repr(error.args)]
            raise
        self.evidence.append(repr(response))
        return response

    async def sleep(self, run: Run, seconds: float, /) -> None: ...

    async def call(self, run: Run, function: Callable[[Run], object], /) -> object: ...


async def attempt(
    transport: Transport,
    path: str,
    *,
    method: str = "POST",
    json: object = None,
    body: bytes | None = None,
    token: Callable[[], str] | None = contract_token,
    deadline_seconds: float = 5.0,
) -> Ended:
    """
    Run one `HttpJob` over *transport*, and hunt for the token in all that is left of it.

    Args:
        transport: The one to judge.
        path: Of the misbehaving server.
        method: See `HttpJob`.
        json: See `HttpJob`.
        body: See `HttpJob`.
        token: See `HttpJob`.
        deadline_seconds: When the caller cancels. It has to end within half a second from then.
    """
    backstage = _Backstage(transport)
    job = HttpJob("contract", every(minutes=15), path, method=method, json=json, body=body, token=token)
    run = Run(job.name, _SLOT, 1, 1, "schedule", 7, None, None, backstage)
    outcome: Outcome = TimedOut(deadline_seconds)
    begun = time.perf_counter()
    with anyio.move_on_after(deadline_seconds):
        try:
            outcome = await job.run(run)
        except TransportError as error:
            outcome = outcome_of_error(error)
    seconds = time.perf_counter() - begun
    assert seconds < deadline_seconds + _CANCEL_SECONDS, f"it ended {seconds - deadline_seconds:.2f} s too late"
    left = (repr(outcome), pickle.dumps(outcome).decode("latin-1"), repr(job), repr(run), repr(transport))
    assert_no_secret(*backstage.evidence, *left)
    return Ended(outcome, seconds, backstage.error)


def unusable_token(kind: str) -> str:
    """Give a token that cannot be sent, or fail to give one."""
    if kind == "raises":
        raise ValueError(f"no such secret: {CONTRACT_TOKEN}")
    tokens: dict[str, object] = {
        "empty": "",
        "line break": f"{CONTRACT_TOKEN}\r\nX-Forged: 1",
        "not text": f"{CONTRACT_TOKEN}\0",
        "not latin": f"{CONTRACT_TOKEN}\u2028",
        "not a string": CONTRACT_TOKEN.encode(),
    }
    return tokens[kind]  # type: ignore[return-value]


class bounded_memory:  # noqa: N801 - reads as a statement
    """Fails if more than 16 MB are allocated at any time inside."""

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *exc_info: object) -> None:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < _MEMORY_LIMIT, f"{peak >> 20} MB were allocated"
