"""
The status page, its JSON, its metrics and its actions, and probes: for no framework in particular.

``loopcron_starlette`` and ``loopcron_aiohttp`` mount them in one line. For another framework translate its requests
to `StatusRequest`, and `StatusAnswer` to its responses.
"""

from __future__ import annotations

from loopcron.status._exchange import StatusAnswer, StatusRequest
from loopcron.status._metrics import metrics_text
from loopcron.status._probe import probe
from loopcron.status._routes import StatusRoutes

__all__ = ("StatusAnswer", "StatusRequest", "StatusRoutes", "metrics_text", "probe")
