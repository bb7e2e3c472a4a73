"""
One HTTP request to a server that is told of things, by a URL that is itself a secret.

Of such a URL nothing but scheme, host and port is ever shown: whoever knows the rest can speak in our name.
"""

from __future__ import annotations

import re
from typing import Final, final

from loopcron._errors import ConfigError, TransportError
from loopcron._http import Request, Response, Token
from loopcron._loopback import LoopbackTransport
from loopcron._protocols import Transport
from loopcron.observers._outbox import UndeliveredError

_URL: Final = re.compile(r"(https?://[^/?#]*)(/[^?#]*)?(\?[^#]*)?\Z", re.IGNORECASE)


@final
class SecretUrl:
    """
    A URL in two parts: the origin, which may be shown, and the rest, which may not.

    Args:
        field: The setting that holds it, for the error.
        url: ``http://`` or ``https://``, a host, maybe a port, a path and a query.

    Raises:
        ConfigError: It is no such URL; of it nothing is shown.
    """

    __slots__ = ("origin", "target")

    def __init__(self, field: str, url: object) -> None:
        found = _URL.match(url) if isinstance(url, str) else None
        if found is None:
            raise ConfigError(field, "...", "must be a URL that begins with http:// or https://, without a #fragment")
        self.origin: Final = found[1]
        self.target: Final = (found[2] or "/") + (found[3] or "")
        if _complaint(self) is not None:
            raise ConfigError(field, "...", f"cannot be used: {_complaint(self)}")

    def __repr__(self) -> str:
        return f"<URL at {self.origin}>"


def _complaint(url: SecretUrl) -> str | None:
    try:
        LoopbackTransport(url.origin)
    except ConfigError:
        return "after the scheme must come a host, and maybe a port, but no user name or password"
    try:
        Request("POST", url.target)
    except ConfigError:
        return "its path and query must be printable ASCII without //, @ and backslashes; percent-encode them"
    return None


@final
class Sender:
    """
    Sends requests to one server.

    Args:
        origin: Its scheme, host and port.
        transport: Carries them; `LoopbackTransport` to the origin if None.
    """

    def __init__(self, origin: str, transport: Transport | None) -> None:
        self._transport: Final = LoopbackTransport(origin) if transport is None else transport

    async def post(self, target: str, body: bytes, content_type: str, token: Token | None = None) -> Response:
        """
        Send *body* to a path and query.

        Returns:
            The response, whose status is 200 to 299.

        Raises:
            UndeliveredError: There was none, or one of another status; 429 and 500 to 599 are worth another try.
        """
        try:
            response = await self._transport.send(
                Request("POST", target, (("Content-Type", content_type),) if body else (), body, token)
            )
        except TransportError as error:
            raise UndeliveredError(error.code) from None
        if not 200 <= response.status < 300:
            again = response.status == 429 or response.status >= 500
            raise UndeliveredError(f"HTTP {response.status}", again=again)
        return response
