"""Spans go where OpenTelemetry's environment variables say, in a process of its own: a provider is set once in one."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from realtime_bridge.errors import MisuseError
from telephony import tracing

PROGRAM = """
from opentelemetry import trace
from telephony.tracing import tracing
with tracing() as tracer, tracer.start_as_current_span("call"):
    trace.get_tracer("somebody else").start_span("query").end()
"""
OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from telephony.tracing import tracing
own = TracerProvider()
trace.set_tracer_provider(own)
with tracing() as tracer, tracer.start_as_current_span("call"):
    pass
assert trace.get_tracer_provider() is own
"""


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers.get("X-Key"), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(program, collector):
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=secret",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


def test_spans_are_sent_by_otlp_at_the_latest_when_it_ends(collector):
    run(PROGRAM, collector)
    (path, key, body), *_ = collector.received
    assert (path, key) == ("/v1/traces", "secret")
    assert b"realtime-bridge" in body
    assert b"call" in body
    assert b"query" in body, "what tools and libraries begin goes along"


def test_a_programs_own_provider_stays(collector):
    run(OWN_PROVIDER, collector)
    assert collector.received == []


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tracing, "_PARTS", ("nowhere.at.all",))
    with pytest.raises(MisuseError, match=r"realtime-bridge\[otel\]"), tracing.tracing():
        pass
