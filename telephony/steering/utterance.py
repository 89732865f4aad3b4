"""One thing the agent was told to say, from the wish to the model's last word of it. Pure: the time is an argument.

The response that says it is known by metadata, which the Realtime API gives back on `response.created`. It counts from
`agent_start` on: one that begins while the caller speaks is cancelled by the session, and asked for again.
"""

from __future__ import annotations

from math import inf
from typing import Any, Literal, TypeAlias

from realtime_bridge.session import events
from realtime_bridge.wire import server

METADATA_KEY = "rb_say"
BEGIN_S_MAX = 35.0  # a caller who does not stop speaking is waited for; see the session's `Line`
SAID_S_MAX = 60.0  # from the response's beginning to its end

# "said": all of it was made, and is on its way to the caller. "cut": the caller or the program stopped it.
Outcome: TypeAlias = Literal["said", "cut", "failed", "late"]


class Utterance:
    def __init__(self, token: str, now: float) -> None:
        self.outcome: Outcome | None = None
        self.cut = False  # also after all of it was said: the caller did not hear it to its end
        self._token = token
        self._candidate: str | None = None
        self._response_id: str | None = None
        self._due_at = now + BEGIN_S_MAX

    def next_deadline(self) -> float:
        return inf if self.outcome is not None else self._due_at

    def due(self, now: float) -> None:
        if self.outcome is None and now >= self._due_at:
            self.outcome = "late" if self._response_id is None else "failed"

    def handle(self, event: events.SessionEvent, now: float) -> None:
        """Any event of the session."""
        about = event.event if isinstance(event, events.TransportEventSeen) else event
        match about:
            case server.ResponseCreated(response=response):
                if (response.metadata or {}).get(METADATA_KEY) == self._token:
                    self._candidate = response.id
            case events.AgentStart(response_id=response_id):
                if response_id == self._candidate:
                    self._response_id = response_id
                    self._due_at = now + SAID_S_MAX
            case events.Reconnecting():
                if self._response_id is not None:
                    self.outcome = self.outcome or "failed"
            case server.ResponseDone(response=response):
                if self._response_id is not None and response.id == self._response_id:
                    self.outcome = self.outcome or _outcome(response.status)
            case events.AudioInterrupted(cuts=cuts):
                if self._response_id is not None and any(cut.response_id == self._response_id for cut in cuts):
                    self.cut = True
                    self.outcome = self.outcome or "cut"


def _outcome(status: str | None) -> Outcome:
    if status in (None, "completed", "incomplete"):
        return "said"
    return "cut" if status == "cancelled" else "failed"


def say_exactly(text: str, token: str) -> dict[str, Any]:
    """Parameters of a `response.create` whose words shall be these."""
    quoted = " ".join(text.replace('"', "'").split())
    return {
        "instructions": f'Say exactly: "{quoted}" Say these words and nothing else, without any comment.',
        "tool_choice": "none",
        "metadata": {METADATA_KEY: token},
    }
