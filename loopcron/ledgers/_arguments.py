"""What the constructors of all ledgers check alike, without ever showing a URL: it may hold a password."""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

from loopcron._errors import ConfigError
from loopcron._instants import span_ms

NAMESPACE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
"""What a namespace may be called: it is part of every row's key, and is shown."""

POSTGRES: Final = ("postgresql", "postgres")
REDIS: Final = ("redis", "rediss", "unix")
"""The schemes of the URLs that name such a store."""

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]{0,30})://", re.IGNORECASE)


def checked_namespace(value: object) -> str:
    """Return the namespace; ConfigError where it is no name for one."""
    if not isinstance(value, str) or NAMESPACE.match(value) is None:
        remedy = "must be 1 to 64 letters, digits, dots, underscores and hyphens, such as web"
        raise ConfigError("namespace", value, remedy)
    return value


def checked_timeout(value: object) -> float:
    """Return what each call of a ledger may take, in seconds; ConfigError where it is no duration."""
    return span_ms("timeout", value) / 1000


def checked_scheme(url: object, accepted: tuple[str, ...]) -> str:
    """Return the URL's scheme in lower case; ConfigError where it is none of those *accepted*."""
    found = _SCHEME.match(url) if isinstance(url, str) else None
    scheme = "" if found is None else found[1].lower()
    if scheme not in accepted:
        raise url_error(url, "must begin with " + " or ".join(f"{name}://" for name in accepted))
    return scheme


def url_error(url: object, remedy: str) -> ConfigError:
    """Return the error to raise for a URL that cannot work; of the URL it shows no more than the scheme."""
    if not isinstance(url, str):
        return ConfigError("url", type(url), remedy)
    found = _SCHEME.match(url)
    return ConfigError("url", "…" if found is None else f"{found[1]}://…", remedy)


def driver(module: str, extra: str) -> Any:
    """Return the driver's module; ConfigError that names the *extra* to install where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = f"cannot be imported ({type(error).__name__}); install it with: pip install loopcron[{extra}]"
        raise ConfigError("driver", module, remedy) from None
