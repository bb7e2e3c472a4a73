"""The client span of each request, and its metric, by OpenTelemetry's stable conventions for HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, final

import anyio

from loopcron._address import parse_base_url
from loopcron._errors import ConfigError, TransportError
from loopcron._http import Request, Response

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AttributeValue

    from loopcron._protocols import Transport

OTHER: Final = "_OTHER"
"""What stands for a value outside a closed set, as the conventions have it."""
KNOWN_METHODS: Final = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,TRACE"
"""Unless the environment variable of the conventions says otherwise."""
HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds of the histogram's buckets, as the conventions advise."""
BUSY: Final = 409
"""Expected and no error, as loopcron uses it; which the conventions leave to who knows more about a request."""


@final
class HttpTracing:
    """
    What the requests of one observer share.

    Args:
        tracer: Makes their spans.
        meter: Makes their metric.
    """

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        from opentelemetry import propagate, trace

        self.trace: Final = trace
        self.inject: Final = propagate.inject
        self.tracer: Final = tracer
        self.duration: Final = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=HTTP_SECONDS,
        )
        known = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", KNOWN_METHODS)
        self.methods: Final = frozenset(method.strip() for method in known.split(","))

    def over(self, transport: Transport) -> Transport:
        """Return *transport* with a span around each request."""
        return _TracedTransport(self, transport)


class _Origin(NamedTuple):
    url: str
    attributes: Mapping[str, AttributeValue]


@final
class _TracedTransport:
    __slots__ = ("_http", "_inner")

    def __init__(self, http: HttpTracing, inner: Transport) -> None:
        self._http = http
        self._inner = inner

    async def send(self, request: Request) -> Response:
        """See `Transport.send`."""
        http, known = self._http, request.method in self._http.methods
        told: dict[str, AttributeValue] = {"http.request.method": request.method if known else OTHER}
        origin = _origin_of(self._inner)
        span = http.tracer.start_span(
            request.method if known else "HTTP",
            kind=http.trace.SpanKind.CLIENT,
            attributes={**told, **_of_request(request, known=known), **_of_place(origin, request)},
        )
        begun, error_type = perf_counter(), None
        try:
            with http.trace.use_span(span, record_exception=False, set_status_on_exception=False):
                response = await self._inner.send(self._with_trace(request))
            told["http.response.status_code"] = response.status
            if response.status >= 400 and response.status != BUSY:
                error_type = str(response.status)
            return response
        except BaseException as error:
            error_type = _kind(error)
            raise
        finally:
            seconds = perf_counter() - begun
            if error_type is not None:
                told["error.type"] = error_type
                span.set_status(http.trace.StatusCode.ERROR)
            if origin is None:  # a transport may find its address only when it first sends
                origin = _origin_of(self._inner)
                span.set_attributes(_of_place(origin, request))
            span.set_attributes(told)
            place = {} if origin is None else origin.attributes
            http.duration.record(seconds, {**told, **place}, http.trace.set_span_in_context(span))
            span.end()

    def _with_trace(self, request: Request) -> Request:
        carrier: dict[str, str] = {}
        self._http.inject(carrier)
        given = {name.lower() for name, _ in request.headers}
        return request.with_headers([pair for pair in carrier.items() if pair[0].lower() not in given])


def _of_request(request: Request, *, known: bool) -> dict[str, AttributeValue]:
    told: dict[str, AttributeValue] = {} if known else {"http.request.method_original": request.method}
    attempt = next((value for name, value in request.headers if name == "Loopcron-Attempt"), "1")
    if attempt != "1":
        told["http.request.resend_count"] = int(attempt) - 1
    return told


def _of_place(origin: _Origin | None, request: Request) -> dict[str, AttributeValue]:
    if origin is None:
        return {}
    path, mark, _ = request.path.partition("?")
    # Of a query nothing is shown: nobody can tell which part of it is a secret.
    return {**origin.attributes, "url.full": f"{origin.url}{path}{'?REDACTED' if mark else ''}"}


def _origin_of(transport: Transport) -> _Origin | None:
    """Return where requests go, if the transport says so and it is an origin and nothing more."""
    url = getattr(transport, "origin", None)
    return _parse(url) if isinstance(url, str) else None


@lru_cache(maxsize=16)
def _parse(url: str) -> _Origin | None:
    try:
        _, address = parse_base_url(url)
    except ConfigError:
        return None
    return _Origin(url.rstrip("/"), {"server.address": address.host, "server.port": address.port})


def _kind(error: BaseException) -> str:
    if isinstance(error, TransportError):
        return error.code
    return "cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else type(error).__name__
