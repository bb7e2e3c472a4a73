"""
Observers that tell other systems what the scheduler does; each imports what it needs when it is made.

Imported on first use, so that an app loads the one that it uses only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# fmt: off
# isort: off
# Three tables of the same names: for type checkers, for the import on use, for readers.
if TYPE_CHECKING:
    from loopcron.observers._outbox import Outbox as Outbox
    from loopcron.observers.healthchecks import HealthchecksObserver as HealthchecksObserver
    from loopcron.observers.opentelemetry import OpenTelemetryObserver as OpenTelemetryObserver
    from loopcron.observers.prometheus import PrometheusObserver as PrometheusObserver
    from loopcron.observers.webhook import WebhookObserver as WebhookObserver
else:
    from loopcron._lazy import on_use

    _HOMES = {
        "_outbox": "Outbox",
        "healthchecks": "HealthchecksObserver",
        "opentelemetry": "OpenTelemetryObserver",
        "prometheus": "PrometheusObserver",
        "webhook": "WebhookObserver",
    }
    __getattr__, __dir__ = on_use(__name__, _HOMES)

__all__ = (
    "HealthchecksObserver",
    "OpenTelemetryObserver",
    "Outbox",
    "PrometheusObserver",
    "WebhookObserver",
)
# fmt: on
# isort: on
