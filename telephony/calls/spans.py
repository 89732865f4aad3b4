"""What calls tell OpenTelemetry: a span for each call, and in it one for each turn, tool, approval, hand-off and change of
the model session. A tool runs inside its span, so that what it asks others is seen as part of it.

Neither words nor arguments are in spans, and numbers only masked. Needs the extra `otel`.
"""

from __future__ import annotations

import time
from typing import Final

from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from realtime_bridge.session import events
from realtime_bridge.wire import server
from telephony.call_details import CallDetails
from telephony.calls.live import CallEnding, LiveCall
from telephony.redaction import mask_numbers

OPEN_MAX: Final = 256  # spans of one call at once; more are not begun
REASON_CHARS_MAX: Final = 200


class CallSpans:
    """A `CallListener`: give it to `LiveCalls.add_listener`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._live: dict[str, _OneCall] = {}

    def call_began(self, call: LiveCall) -> None:
        """In the call's own task: what it does from here on is inside the call's span."""
        one = self._live[call.sid] = _OneCall(self._tracer, call.details)
        current.attach(one.inside)
        call.session.on(None, one.event)

    def call_ended(self, details: CallDetails, ending: CallEnding) -> None:
        one = self._live.pop(details.call_sid, None)
        if one is not None:
            one.end(ending)


class _OneCall:
    """One call's open spans. `event` is its session's listener."""

    def __init__(self, tracer: Tracer, details: CallDetails) -> None:
        self._tracer = tracer
        self._call = tracer.start_span(
            "call",
            context=Context(),
            kind=SpanKind.SERVER,
            attributes={
                "call.sid": details.call_sid,
                "call.direction": details.direction,
                "call.agent": details.agent,
                "call.from": mask_numbers(details.caller),
                "call.to": mask_numbers(details.called),
            },
        )
        self.inside = trace.set_span_in_context(self._call, Context())
        self._open: dict[tuple[str, str], Span] = {}
        self._asked_at_ns: int | None = None  # when the caller stopped speaking, until an answer begins
        self._tool_is_current = False

    def event(self, event: events.SessionEvent) -> None:
        if self._tool_is_current:  # the task of the tool has been made
            current.attach(self.inside)
            self._tool_is_current = False
        match event:
            case events.TransportEventSeen(event=server.InputAudioBufferSpeechStopped()):
                self._asked_at_ns = time.time_ns()
            case events.AgentStart():
                span = self._begin(("turn", event.response_id), "turn", {"agent": event.agent}, self._asked_at_ns)
                if span is not None and self._asked_at_ns is not None:
                    span.add_event("the model answers")
                self._asked_at_ns = None
            case events.AgentEnd():
                self._end(("turn", event.response_id), event.status, ok=event.status in ("completed", "cancelled"))
            case events.AgentToolStart():
                self._tool_begins(event)
            case events.AgentToolEnd():
                self._end(("tool", event.call_id), event.outcome, ok=event.outcome == "ok")
            case events.ToolApprovalRequested(request=request):
                about = {"tool.name": request.tool, "agent": request.agent}
                self._begin(("approval", request.call_id), f"approval {request.tool}", about)
            case events.ToolApprovalResolved():
                outcome = f"{'approved' if event.approved else 'not approved'} by {event.by}"
                self._end(("approval", event.request.call_id), outcome)
            case events.AgentHandoff():
                self._begin(("handoff", ""), "handoff", {"from": event.from_agent, "to": event.to_agent})
                self._end(("handoff", ""), "done")
            case events.Reconnecting():
                self._begin(("model", ""), "model rotation" if event.planned else "model reconnect", {})
            case events.Reconnected():
                self._end(("model", ""), "done")
            case events.AudioInterrupted():
                self._call.add_event("interrupted", {"by": event.by})
            case events.SessionError():
                self._call.add_event("error", {"source": event.source, "code": event.code or "", "level": event.level})

    def end(self, ending: CallEnding) -> None:
        for key in tuple(self._open):
            self._end(key, "the call ended")
        self._call.set_attribute("call.ending", mask_numbers(ending.reason)[:REASON_CHARS_MAX])
        if not ending.in_order:
            self._call.set_status(Status(StatusCode.ERROR))
        self._call.end()

    def _tool_begins(self, event: events.AgentToolStart) -> None:
        """The session makes the tool's task next, in this same context, which the task then has."""
        about = {"tool.name": event.tool, "tool.call_id": event.call_id, "agent": event.agent}
        span = self._begin(("tool", event.call_id), f"tool {event.tool}", about)
        if span is not None:
            current.attach(trace.set_span_in_context(span, self.inside))
            self._tool_is_current = True

    def _begin(
        self, key: tuple[str, str], name: str, attributes: dict[str, str], began_at_ns: int | None = None
    ) -> Span | None:
        if len(self._open) >= OPEN_MAX or key in self._open:
            return None
        span = self._tracer.start_span(name, context=self.inside, attributes=attributes, start_time=began_at_ns)
        self._open[key] = span
        return span

    def _end(self, key: tuple[str, str], outcome: str, *, ok: bool = True) -> None:
        span = self._open.pop(key, None)
        if span is None:
            return
        span.set_attribute("outcome", outcome)
        if not ok:
            span.set_status(Status(StatusCode.ERROR, outcome))
        span.end()
