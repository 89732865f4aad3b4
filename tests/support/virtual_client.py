"""A client of the offline model in virtual time: hours pass at once, and the same test gives the same events."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice

from realtime_bridge.localmodel.inline import Delays, InlineModel
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import Deed
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.wire import encode

Event = dict[str, Any]


class VirtualClient:
    """`responses`: what the brain does, one list a response; `hears`: what the recogniser understands, in order."""

    def __init__(
        self,
        *responses: Iterable[Deed | Exception],
        hears: Iterable[str | Exception] = (),
        pace: Pace | None = None,
        limits: Limits | None = None,
        delays: Delays | None = None,
    ) -> None:
        self.now = 100.0  # sessions do not begin at the beginning of time
        self.events: list[Event] = []
        self.times: list[float] = []
        self.brain = ScriptedBrain(*responses)
        self.recognizer = ScriptedRecognizer(*hears)
        self.model = InlineModel(
            brain=self.brain,
            recognizer=self.recognizer,
            voice=ToneVoice(),
            vad_factory=LoudnessVad,
            now=self.now,
            pace=pace,
            limits=limits,
            delays=delays,
        )
        self._take(self.model.open(self.now))

    def send(self, event_type: str, **fields: Any) -> list[Event]:
        """Send one event and return what comes back at once."""
        return self.send_frame(json.dumps({"type": event_type, **fields}))

    def send_frame(self, frame: str | bytes) -> list[Event]:
        return self._take(self.model.receive(frame, self.now))

    def update(self, **session: Any) -> Event:
        """Change settings; returns the session as the server shows it afterwards."""
        [updated] = self.send("session.update", session={"type": "realtime", **session})
        assert updated["type"] == "session.updated", updated
        return updated["session"]

    def play(self, audio: bytes, *, bytes_per_ms: int = 48, frame_ms: int = 20) -> list[Event]:
        """Send audio as a phone does: a frame at a time, in real time."""
        begin = len(self.events)
        size = bytes_per_ms * frame_ms
        for at in range(0, len(audio), size):
            self.send("input_audio_buffer.append", audio=base64.b64encode(audio[at : at + size]).decode())
            self.wait(frame_ms / 1000)
        return self.events[begin:]

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass; returns what comes meanwhile."""
        begin = len(self.events)
        end = self.now + seconds
        while (deadline := self.model.next_deadline()) <= end:
            self.now = max(self.now, deadline)
            self._take(self.model.tick(self.now))
        self.now = end
        return self.events[begin:]

    def of(self, event_type: str) -> list[Event]:
        """All events of a type so far."""
        return [event for event in self.events if event["type"] == event_type]

    def last(self, event_type: str) -> Event:
        return self.of(event_type)[-1]

    def audio(self, item_id: str) -> bytes:
        """The audio of an item, as it was sent."""
        deltas = (event["delta"] for event in self.of("response.output_audio.delta") if event["item_id"] == item_id)
        return b"".join(base64.b64decode(delta) for delta in deltas)

    def _take(self, events: Iterable[Any]) -> list[Event]:
        received = [json.loads(encode(event)) for event in events]
        self.events += received
        self.times += [self.now] * len(received)
        return received


def types(events: Iterable[Event]) -> list[str]:
    return [event["type"] for event in events]


def message(text: str, role: str = "user", **fields: Any) -> Event:
    """A text item."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}
