"""OpenTelemetry, where it is wanted (TRACING) and installed (`realtime-bridge[otel]`): where spans go.

Spans go out by OTLP over HTTP, as OpenTelemetry's own environment variables say (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, …). A program that has set up a tracer provider of its own keeps it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from realtime_bridge.errors import MisuseError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

NAME: Final = "realtime-bridge"
_PARTS: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


@contextlib.contextmanager
def tracing() -> Iterator[Tracer]:
    """While it lasts, spans of the tracer go out; at the end, those that wait still do, within seconds.

    Raises MisuseError when the packages are missing.
    """
    _require_parts()
    from opentelemetry import trace  # noqa: PLC0415 - an extra, loaded where it is wanted
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME  # noqa: PLC0415 - as above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield trace.get_tracer(NAME)
        return
    who = {} if OTEL_SERVICE_NAME in os.environ else {"service.name": NAME}
    provider = TracerProvider(resource=Resource.create(who))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # so that libraries in tools find it too
    try:
        yield provider.get_tracer(NAME)
    finally:
        provider.shutdown()


def _require_parts() -> None:
    for part in _PARTS:
        try:
            missing = find_spec(part) is None
        except ModuleNotFoundError:  # not even its parent
            missing = True
        if missing:
            raise MisuseError("TRACING needs OpenTelemetry: install it with pip install 'realtime-bridge[otel]'")
