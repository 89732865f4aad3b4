"""What calls tell Prometheus: listens to every call's session, and counts.

Nothing here runs per frame of audio. What the bridge takes per frame is measured where calls are recorded, and told here
once, when the call is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from realtime_bridge.session import events
from realtime_bridge.transport.base import AudioReceived, PlaybackInterrupted, PlaybackStarted
from realtime_bridge.wire import server
from realtime_bridge.wire.session import audio_settings
from telephony import metrics
from telephony.call_details import CallDetails
from telephony.calls.live import CallEnding, LiveCall

TOOLS_MAX: Final = 256  # of one call, at once; what is left behind is forgotten
_PERCENTILES: Final = ("p50", "p99")
_WAYS: Final = ("caller_to_model", "model_to_caller", "barge_in_to_clear")


class CallMeasures:
    """A `CallListener`: give it to `LiveCalls.add_listener`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._live: dict[str, _OneCall] = {}

    def call_began(self, call: LiveCall) -> None:
        if (before := self._live.pop(call.sid, None)) is not None:
            before.end()  # a second stream of one call: the first is dying
        one = self._live[call.sid] = _OneCall(call.details.direction, self._clock)
        call.session.on(None, one.event)

    def call_ended(self, details: CallDetails, ending: CallEnding) -> None:
        direction = details.direction
        metrics.CALLS.labels(direction, ending.outcome).inc()
        one = self._live.pop(details.call_sid, None)
        if one is not None:
            one.end()
        if ending.record is not None:
            for way in _WAYS:
                for percentile in _PERCENTILES:
                    if (took_ms := ending.record.latency_ms.get(f"{way}_{percentile}")) is not None:
                        metrics.CALL_DELAY_SECONDS.labels(way, percentile).observe(took_ms / 1000)


class _OneCall:
    """One call as far as it has come. `event` is its session's listener."""

    def __init__(self, direction: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._direction = direction
        self._began = clock()
        self._silence_s = 0.0  # that the model waits for before it takes the caller's turn to be over
        self._asked_at: dict[str, float] = {}  # until: the end of the caller's speech that is not answered yet
        self._tools: dict[str, float] = {}
        self._waiting: set[str] = set()
        metrics.CALLS_ACTIVE.labels(direction).inc()

    def event(self, event: events.SessionEvent) -> None:
        match event:
            case events.TransportEventSeen():
                self._seen(event.event)
            case events.AgentToolStart():
                if len(self._tools) < TOOLS_MAX:
                    self._tools[event.call_id] = self._clock()
            case events.AgentToolEnd():
                began = self._tools.pop(event.call_id, None)
                tool = metrics.bounded("tool", event.tool)
                took = 0.0 if began is None else self._clock() - began
                metrics.TOOL_SECONDS.labels(tool, event.outcome).observe(took)
            case events.ToolApprovalRequested(request=request):
                self._waiting.add(request.call_id)
                metrics.APPROVALS_WAITING.inc()
            case events.ToolApprovalResolved():
                self._decided(event)
            case events.AgentHandoff():
                metrics.HANDOFFS.inc()
            case events.Reconnecting():
                (metrics.MODEL_ROTATIONS if event.planned else metrics.MODEL_LOSSES).inc()
            case events.Reconnected():
                metrics.MODEL_RECONNECTS.inc()
            case events.UsageUpdated():
                metrics.TOKENS.labels("input").inc(event.turn.total_in)
                metrics.TOKENS.labels("output").inc(event.turn.total_out)
            case events.SessionError():
                metrics.CALL_PROBLEMS.labels(event.source, event.level).inc()
                if event.source == "model":
                    metrics.MODEL_ERRORS.labels(metrics.bounded("code", event.code)).inc()

    def end(self) -> None:
        metrics.CALLS_ACTIVE.labels(self._direction).dec()
        metrics.CALL_SECONDS.labels(self._direction).observe(self._clock() - self._began)
        metrics.APPROVALS_WAITING.dec(len(self._waiting))
        self._waiting.clear()

    def _seen(self, event: object) -> None:
        match event:
            case server.InputAudioBufferSpeechStopped():
                ended_at = self._clock() - self._silence_s
                self._asked_at = {"sent": ended_at, "heard": ended_at}
            case server.InputAudioBufferSpeechStarted():
                self._asked_at.clear()
            case AudioReceived():
                self._answered("sent")
            case PlaybackStarted():
                self._answered("heard")
            case PlaybackInterrupted():
                metrics.INTERRUPTIONS.labels(event.by).inc()
                for cut in event.cuts if event.by == "speech" else ():
                    metrics.UNHEARD_SECONDS.observe((cut.audio_ms - cut.heard_ms) / 1000)
            case server.SessionUpdated():
                self._silence_s = _silence_s(event.session)

    def _answered(self, until: str) -> None:
        asked_at = self._asked_at.pop(until, None)
        if asked_at is not None:
            metrics.RESPONSE_SECONDS.labels(until).observe(self._clock() - asked_at)

    def _decided(self, event: events.ToolApprovalResolved) -> None:
        if event.request.call_id in self._waiting:
            self._waiting.discard(event.request.call_id)
            metrics.APPROVALS_WAITING.dec()
        outcome = (
            "approved" if event.approved else {"program": "rejected", "timeout": "expired"}.get(event.by, "cancelled")
        )
        metrics.APPROVALS.labels(outcome).inc()


def _silence_s(session: dict[str, Any]) -> float:
    """How long the caller has been silent when the model says so. OpenAI's API reference, turn_detection: the server's
    voice detection waits `silence_duration_ms`; a semantic one does not say."""
    detection = audio_settings(session, "input").get("turn_detection")
    silence_ms = detection.get("silence_duration_ms") if isinstance(detection, dict) else None
    return silence_ms / 1000 if isinstance(silence_ms, int | float) and 0 <= silence_ms <= 60_000 else 0.0
