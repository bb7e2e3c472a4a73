"""
The contract of every transport, as a class of tests: subclass `TransportContract`, say how to reach the server, done.

Each test sends an `HttpJob`'s request to the misbehaving server and judges the outcome, how long it took, what the
server saw, and that the token is nowhere to be found afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Final

import anyio
import pytest

from loopcron._http import BODY_LIMIT, Request
from loopcron._outcomes import Busy, Failed, Outcome, Succeeded, TimedOut
from loopcron.testing._misbehaving import MisbehavingServer, Port
from loopcron.testing._transport_case import (
    assert_no_secret,
    attempt,
    bounded_memory,
    contract_token,
    unusable_token,
)

if TYPE_CHECKING:
    from loopcron._protocols import Transport

_WHOLE_BODY: Final = 8 << 20


class TransportContract:
    """
    What holds for every transport. Subclass it with a name that pytest collects, and give it `transport`.

    Cancellation, secrecy and bounded memory are judged in every case; the cases themselves are the tests' names.
    """

    pytestmark = pytest.mark.anyio

    has_wire: ClassVar[bool] = True
    """False for a transport without a connection, which cannot meet what happens to one."""
    has_ports: ClassVar[bool] = True
    """False where `transport` can reach the port *main* only."""
    reset_codes: ClassVar[tuple[str, ...]] = ("reset",)
    """How the end of a connection by reset is told; a unix socket knows no resets."""

    @pytest.fixture
    def server(self) -> Iterator[MisbehavingServer]:
        """Give the server; to be overridden for one over TLS or a unix socket."""
        with MisbehavingServer() as server:
            yield server

    def transport(self, server: MisbehavingServer, port: Port = "main") -> Transport:
        """Return a new transport to *port* of the *server*."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _no_secret_in_logs(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        caplog.set_level(0)
        yield
        for when in ("setup", "call"):
            for record in caplog.get_records(when):
                assert_no_secret(record.getMessage(), repr(record.__dict__))

    def _needs(self, *, wire: bool = False, ports: bool = False) -> None:
        if (wire and not self.has_wire) or (ports and not self.has_ports):
            pytest.skip("not applicable: this transport has no connection that this could happen to")

    # -- what the answer means ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    async def test_success(self, server: MisbehavingServer, status: int) -> None:
        """Any 2xx is a success and tells its status."""
        ended = await attempt(self.transport(server), f"/status/{status}")
        assert ended.outcome == Succeeded(status)

    @pytest.mark.parametrize("status", [304, 400, 401, 403, 404, 405, 418, 422, 500, 502, 504, 599])
    async def test_failure(self, server: MisbehavingServer, status: int) -> None:
        """Any other status is the endpoint's failure and tells its status."""
        ended = await attempt(self.transport(server), f"/status/{status}")
        assert ended.outcome == Failed("endpoint", f"HTTP {status}", status)

    async def test_conflict(self, server: MisbehavingServer) -> None:
        """A 409 means that somebody else is at it, which is no failure."""
        assert (await attempt(self.transport(server), "/status/409")).outcome == Busy()

    async def test_lock(self, server: MisbehavingServer) -> None:
        """A lock answers 409 for as long as it is held, and the next attempt after that succeeds."""
        transport = self.transport(server)
        assert (await attempt(transport, "/lock/sync")).outcome == Busy()
        server.free("sync")
        assert (await attempt(transport, "/lock/sync")).outcome == Succeeded(200)

    async def test_recovery(self, server: MisbehavingServer) -> None:
        """A failure leaves nothing behind that could spoil the next attempt."""
        transport = self.transport(server)
        outcomes = [(await attempt(transport, "/recovers/2")).outcome for _ in range(3)]
        assert outcomes == [Failed("endpoint", "HTTP 500", 500)] * 2 + [Succeeded(200)]

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("kind", "seconds"), [("seconds", 7.0), ("rubbish", None), ("negative", None), ("huge", None)]
    )
    async def test_retry_after(self, server: MisbehavingServer, status: int, kind: str, seconds: float | None) -> None:
        """A wait that the endpoint asks for comes through if it is a number of seconds, and not if it is rubbish."""
        ended = await attempt(self.transport(server), f"/retry/{status}/{kind}")
        assert ended.outcome == Failed("endpoint", f"HTTP {status}", status, retry_after_seconds=seconds)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_retry_after_date(self, server: MisbehavingServer, status: int) -> None:
        """A date to wait for counts from the response's own date."""
        ended = await attempt(self.transport(server), f"/retry/{status}/date")
        assert ended.outcome == Failed("endpoint", f"HTTP {status}", status, retry_after_seconds=30.0)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("kind", ["same", "sink", "login", "loop"])
    async def test_redirect(self, server: MisbehavingServer, kind: str, status: int) -> None:
        """A redirect is a failure and is never followed, wherever it points."""
        ended = await attempt(self.transport(server), f"/redirect/{kind}/{status}")
        assert ended.outcome == Failed("endpoint", f"HTTP {status}", status)
        assert server.connections["sink"] == 0
        assert len(server.seen) == 1

    # -- what the server sees ----------------------------------------------------------------------------------------

    async def test_request(self, server: MisbehavingServer) -> None:
        """The endpoint sees method, path, query, body, token and the headers that name the run."""
        await attempt(self.transport(server), "/status/200?a=1", json={"issues": True})
        (seen,) = server.seen
        assert (seen.method, seen.path, seen.body) == ("POST", "/status/200?a=1", b'{"issues":true}')
        assert seen.header("Authorization") == f"Bearer {contract_token()}"
        assert seen.header("Content-Type") == "application/json"
        assert seen.header("Content-Length") == "15"
        assert seen.header("Idempotency-Key") == "contract@2027-01-01T00:00:00.000Z"
        assert (seen.header("Loopcron-Attempt"), seen.header("Loopcron-Fence")) == ("1", "7")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
    async def test_method(self, server: MisbehavingServer, method: str) -> None:
        """Other methods arrive as they are, without a body if none was given."""
        ended = await attempt(self.transport(server), "/status/200", method=method)
        assert ended.outcome == Succeeded(200)
        assert (server.seen[0].method, server.seen[0].body) == (method, b"")

    async def test_identity(self, server: MisbehavingServer) -> None:
        """The request says whose it is and asks for no compression."""
        await attempt(self.transport(server), "/status/200")
        (seen,) = server.seen
        assert (seen.header("Accept-Encoding"), seen.header("User-Agent")) == ("identity", "loopcron")
        assert seen.header("Host") is not None

    async def test_own_host(self, server: MisbehavingServer) -> None:
        """A Host header of the request's own replaces the transport's."""
        response = await self.transport(server).send(Request("GET", "/status/200", (("Host", "app.example"),)))
        assert response.status == 200
        assert [value for name, value in server.seen[0].headers if name == "host"] == ["app.example"]

    async def test_no_token(self, server: MisbehavingServer) -> None:
        """Without a token there is no Authorization header."""
        await attempt(self.transport(server), "/status/200", token=None)
        assert server.seen[0].header("Authorization") is None

    @pytest.mark.parametrize("kind", ["raises", "empty", "line break", "not text", "not latin", "not a string"])
    async def test_unusable_token(self, server: MisbehavingServer, kind: str) -> None:
        """A token that cannot be had or sent is the job's failure; nothing is sent, and it is not shown."""
        ended = await attempt(self.transport(server), "/status/200", token=lambda: unusable_token(kind))
        assert ended.outcome == Failed("job", "token")
        assert server.seen == []

    async def test_fresh_token(self, server: MisbehavingServer) -> None:
        """The token is asked for at each send, so that it can be rotated."""
        tokens = iter(("first", "second"))
        transport = self.transport(server)
        for _ in range(2):
            await attempt(transport, "/status/200", token=lambda: next(tokens))
        assert [seen.header("Authorization") for seen in server.seen] == ["Bearer first", "Bearer second"]

    async def test_large_request(self, server: MisbehavingServer) -> None:
        """A body larger than any buffer arrives whole."""
        ended = await attempt(self.transport(server), "/status/200", body=bytes(_WHOLE_BODY))
        assert ended.outcome == Succeeded(200)
        assert len(server.seen[0].body) == _WHOLE_BODY

    async def test_early_answer(self, server: MisbehavingServer) -> None:
        """An answer that comes before the body was read counts, and the rest of the body is not waited for."""
        self._needs(wire=True)
        ended = await attempt(self.transport(server), "/early", body=bytes(_WHOLE_BODY), deadline_seconds=1.5)
        assert ended.outcome == Failed("endpoint", "HTTP 413", 413)

    async def test_cookie(self, server: MisbehavingServer) -> None:
        """A cookie that the app sets never comes back."""
        transport = self.transport(server)
        assert [(await attempt(transport, "/cookie")).outcome for _ in range(3)] == [Succeeded(200)] * 3

    async def test_keep_alive(self, server: MisbehavingServer) -> None:
        """Every request has a connection of its own, so none meets one that is just being closed."""
        self._needs(wire=True)
        transport = self.transport(server)
        assert [(await attempt(transport, "/keep-alive")).outcome for _ in range(4)] == [Succeeded(200)] * 4
        assert server.connections["main"] == len(server.seen) == 4
        assert {seen.header("Connection") for seen in server.seen} == {"close"}

    async def test_proxy_variables(self, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxy variables of the environment are ignored: nothing reaches the proxy."""
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, server.url("sink"))
        assert (await attempt(self.transport(server), "/status/200")).outcome == Succeeded(200)
        assert server.connections["sink"] == 0

    # -- silence, and too much ---------------------------------------------------------------------------------------

    async def test_silence(self, server: MisbehavingServer) -> None:
        """An app that falls silent, or drips, at any point is cut at the deadline."""
        transport = self.transport(server)
        outcomes: dict[str, Outcome] = {}

        async def ask(path: str) -> None:
            outcomes[path] = (await attempt(transport, path, deadline_seconds=0.2)).outcome

        async with anyio.create_task_group() as group:  # all at once, so that the deadline is waited for only once
            for path in ("/silent/before", "/silent/headers", "/silent/body", "/drip/headers", "/drip/body"):
                group.start_soon(ask, path)
        assert len(outcomes) == 5
        assert {path for path, outcome in outcomes.items() if not isinstance(outcome, TimedOut)} == set()

    async def test_stall(self, server: MisbehavingServer) -> None:
        """A server that accepts and never speaks is cut at the deadline."""
        self._needs(ports=True)
        ended = await attempt(self.transport(server, "stall"), "/status/200", deadline_seconds=0.2)
        assert isinstance(ended.outcome, TimedOut)

    async def test_cancelled_before(self, server: MisbehavingServer) -> None:
        """A caller that is cancelled already sends nothing."""
        ended = await attempt(self.transport(server), "/status/200", deadline_seconds=0)
        assert isinstance(ended.outcome, TimedOut)
        assert server.seen == []

    @pytest.mark.parametrize("path", ["/endless", "/gzip-bomb"])
    async def test_endless_body(self, server: MisbehavingServer, path: str) -> None:
        """Of a body only the first 64 KiB are read, as sent, and the status counts."""
        with bounded_memory():
            ended = await attempt(self.transport(server), path)
        assert ended.outcome == Succeeded(200)
        response = await self.transport(server).send(Request("POST", path))
        assert len(response.body) == BODY_LIMIT
        assert response.body.startswith(b"\x1f\x8b" if path == "/gzip-bomb" else b"xxx")

    async def test_huge_headers(self, server: MisbehavingServer) -> None:
        """A header block of megabytes is refused long before it is all here."""
        self._needs(wire=True)
        with bounded_memory():
            ended = await attempt(self.transport(server), "/huge-headers")
        assert ended.outcome == Failed("transport", "protocol")

    async def test_interim_flood(self, server: MisbehavingServer) -> None:
        """A flood of 1xx responses is ended, and not read for ever."""
        self._needs(wire=True)
        with bounded_memory():
            ended = await attempt(self.transport(server), "/continue-flood", deadline_seconds=1.0)
        assert ended.outcome == Failed("transport", "protocol") or isinstance(ended.outcome, TimedOut)

    async def test_interim_responses(self, server: MisbehavingServer) -> None:
        """A few 1xx responses before the final one change nothing."""
        self._needs(wire=True)
        assert (await attempt(self.transport(server), "/continue")).outcome == Succeeded(200)

    # -- what happens to connections ---------------------------------------------------------------------------------

    async def test_refused(self, server: MisbehavingServer) -> None:
        """A refused connection provably started nothing."""
        self._needs(ports=True)
        ended = await attempt(self.transport(server, "closed"), "/status/200")
        assert ended.outcome == Failed("transport", "refused", started=False)

    async def test_late(self, server: MisbehavingServer) -> None:
        """A server that is not listening yet is reached as soon as it does."""
        self._needs(ports=True)
        transport = self.transport(server, "late")
        assert (await attempt(transport, "/status/200")).outcome == Failed("transport", "refused", started=False)
        server.open_late()
        assert (await attempt(transport, "/status/200")).outcome == Succeeded(200)

    async def test_reset_on_accept(self, server: MisbehavingServer) -> None:
        """A connection that is reset at once is a failure of the transport."""
        self._needs(ports=True)
        ended = await attempt(self.transport(server, "reset"), "/status/200")
        assert isinstance(ended.outcome, Failed)
        assert (ended.outcome.blame, ended.outcome.status) == ("transport", None)
        assert ended.outcome.error in {*self.reset_codes, "closed"}

    @pytest.mark.parametrize("path", ["/reset/request", "/reset/headers"])
    async def test_reset(self, server: MisbehavingServer, path: str) -> None:
        """A reset before the headers are in is a failure of the transport that may have started something."""
        self._needs(wire=True)
        ended = await attempt(self.transport(server), path)
        assert isinstance(ended.outcome, Failed)
        assert (ended.outcome.blame, ended.outcome.started) == ("transport", True)
        assert ended.outcome.error in self.reset_codes

    async def test_closed(self, server: MisbehavingServer) -> None:
        """An app that goes away without an answer is a failure that may have started something."""
        ended = await attempt(self.transport(server), "/close")
        assert ended.outcome == Failed("transport", "closed")

    @pytest.mark.parametrize("path", ["/short", "/bad-chunk", "/reset/body"])
    async def test_status_wins(self, server: MisbehavingServer, path: str) -> None:
        """Once the headers are in the status is the answer, whatever becomes of the body."""
        ended = await attempt(self.transport(server), path)
        assert ended.outcome == Succeeded(200)

    @pytest.mark.parametrize("path", ["/two-lengths", "/banner", "/switch"])
    async def test_not_http(self, server: MisbehavingServer, path: str) -> None:
        """What is not an HTTP/1.1 response is a failure at once, and not when the deadline comes."""
        self._needs(wire=True)
        ended = await attempt(self.transport(server), path)
        assert ended.outcome == Failed("transport", "protocol")

    # -- what a hostile app says -------------------------------------------------------------------------------------

    @pytest.mark.parametrize("path", ["/echo", "/markup"])
    async def test_hostile_text(self, server: MisbehavingServer, path: str) -> None:
        """Nothing of the reason phrase, headers and body reaches the outcome, whatever the app says there."""
        ended = await attempt(self.transport(server), path)
        assert ended.outcome == Failed("endpoint", "HTTP 500", 500)

    async def test_response_is_closed_mouthed(self, server: MisbehavingServer) -> None:
        """A response shows no header and no body by itself, because they may echo the token."""
        response = await self.transport(server).send(Request("POST", "/echo", token=contract_token))
        assert response.body == b"Bearer " + contract_token().encode()
        assert_no_secret(repr(response), str(response))

    async def test_error_stands_alone(self, server: MisbehavingServer) -> None:
        """A transport's error has no chain, because other libraries' exceptions show what was sent."""
        ended = await attempt(self.transport(server), "/close")
        assert ended.error is not None
        assert ended.error.__cause__ is None
        assert ended.error.__context__ is None
