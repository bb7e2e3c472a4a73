"""Who may in, and whether a browser was tricked into asking: the two questions before anything is answered."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, final
from urllib.parse import urlsplit

from loopcron import ConfigError
from loopcron._outcomes import printable
from loopcron.status._exchange import StatusRequest

Verdict = bool | str | None
"""What ``authorize`` says: True, or the name of the one who asks; all else denies."""
Authorize = Callable[[Any], Verdict | Awaitable[Verdict]]

_ACTOR_LIMIT: Final = 100
_PORTS: Final = {"http": 80, "https": 443}
_log: Final = logging.getLogger("loopcron")


@final
class Access:
    """
    Asks the application's ``authorize``, and takes whatever is not a clear yes for a no.

    Args:
        authorize: Takes the framework's request; a function, ``async`` or not.
        is_own_denial: Says whether an exception is the framework's own way of denying, such as a redirect to a login.

    Raises:
        ConfigError: *authorize* is no function.
    """

    def __init__(self, authorize: Authorize | None, is_own_denial: Callable[[Exception], bool]) -> None:
        if not callable(authorize):
            raise ConfigError(
                "authorize",
                authorize,
                "is required, as the page shows what the app does: give a function, async or not, that takes the "
                "request and returns True, or the name of who asks, for whoever may see the page",
            )
        self._authorize: Final = authorize
        self._is_own_denial: Final = is_own_denial

    async def actor(self, request: StatusRequest) -> str | None:
        """
        Return the name of who asks, empty if it is unknown; None for one who may not.

        Raises:
            Exception: The framework's own way of denying.
        """
        try:
            verdict = self._authorize(request.native)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception as error:
            if self._is_own_denial(error):
                raise
            _denied("authorize raised %s, so nobody is let in to the status page", error)
            return None
        if verdict is True:
            return ""
        if isinstance(verdict, str):
            return printable(verdict[:_ACTOR_LIMIT]) or None
        if (
            verdict is not None and verdict is not False
        ):  # a response that was meant as a refusal, or a user who may or may not enter
            _denied("authorize returned a %s, which is neither True nor a name, so nobody is let in", verdict)
        return None


def _denied(message: str, what: object) -> None:
    # The type only: the rest may hold what was sent as a password.
    name = printable(type(what).__name__)
    _log.warning(message, name, extra={"loopcron_event": "StatusDenied", "loopcron_error": name})


def forgery(request: StatusRequest) -> str:
    """
    Return why another site may have made the browser send *request*, or nothing if none can have.

    A header that no form can set, and none of another origin without a preflight; and, for apps that let every
    preflight pass, what the browser says of where the request comes from.
    """
    if request.values("loopcron-action") != ["1"]:
        return "the header Loopcron-Action: 1 is missing"
    sites = request.values("sec-fetch-site")
    if sites:
        return "" if sites == ["same-origin"] else "the request comes from another site: see Sec-Fetch-Site"
    origins = request.values("origin")
    if origins and not (len(origins) == 1 and _is_host(origins[0], request.values("host"))):
        return "the request comes from another site: Origin is not this Host"
    return ""


def _is_host(origin: str, hosts: list[str]) -> bool:
    try:
        ours, port = urlsplit(origin), _PORTS.get(urlsplit(origin).scheme)
        theirs = urlsplit(f"//{hosts[0]}") if len(hosts) == 1 else None
        return (
            theirs is not None
            and port is not None
            and bool(ours.hostname)
            and (ours.hostname, ours.port or port) == (theirs.hostname, theirs.port or port)
        )
    except ValueError:  # a port that is none, or half an IPv6 address
        return False
