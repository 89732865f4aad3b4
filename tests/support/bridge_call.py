"""A bridge with both its peers played by the test."""

import json

import pybase64

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.wire import Response, server
from telephony.bridge import Bridge
from telephony.bridge_commands import Report, ToModel, ToPhone
from telephony.bridge_inputs import Tick
from telephony.twilio.media_stream import decode_command
from telephony.twilio.messages import Media

SID = "MZ" + "0" * 32
MS = 8  # bytes


class Call:
    """A bridge with both its peers played by the test. `phone` and `model` hold what each was sent, decoded."""

    def __init__(self, audio="pcmu", *, ready=True, turn_detection=None):
        self.bridge = Bridge(SID, transcoder(audio), now=0.0)
        self.now = 0.0
        self.phone, self.model, self.reports, self.others = [], [], [], []
        self.format = "audio/pcmu" if audio == "pcmu" else "audio/pcm"
        self.timestamp = 0
        if ready:
            self.confirm(turn_detection)
        self.forget()

    def confirm(self, turn_detection=None):
        audio = {
            "input": {"format": {"type": self.format}, "turn_detection": turn_detection or {"type": "server_vad"}},
            "output": {"format": {"type": self.format}},
        }
        self.feed(server.SessionUpdated(session={"audio": audio}))

    def feed(self, event, at=None):
        if at is not None:
            self.now = at
        for command in self.bridge.handle(event, self.now):
            if isinstance(command, ToPhone):
                self.phone.append(decode_command(command.frame))
            elif isinstance(command, ToModel):
                self.model.append(json.loads(command.frame))
            elif isinstance(command, Report):
                self.reports.append(command.event)
            else:
                self.others.append(command)

    def forget(self):
        for seen in (self.phone, self.model, self.reports, self.others):
            seen.clear()

    def run_until(self, t):
        while (at := self.bridge.next_deadline) <= t:
            self.feed(Tick(), max(at, self.now))
        self.now = t

    def caller(self, ms=20, at=None, *, skip_ms=0):
        self.timestamp += skip_ms
        mulaw = b"\x55" * (ms * MS)
        self.feed(Media(1, SID, "inbound", 1, self.timestamp, pybase64.b64encode(mulaw), mulaw), at)
        self.timestamp += ms

    def replies(self, response_id="r1", *, conversation="conv_1", at=None):
        self.feed(server.ResponseCreated(response=Response(id=response_id, conversation_id=conversation)), at)

    def says(self, ms, item="i1", response_id="r1", at=None):
        delta = pybase64.b64encode_as_string(b"\x11" * (ms * MS))
        self.feed(
            server.ResponseOutputAudioDelta(
                response_id=response_id, item_id=item, output_index=0, content_index=0, delta=delta
            ),
            at,
        )

    def ends(self, response_id="r1", item="i1", at=None):
        self.feed(
            server.ResponseOutputAudioDone(response_id=response_id, item_id=item, output_index=0, content_index=0), at
        )
        self.feed(server.ResponseDone(response=Response(id=response_id)))

    def speech_starts(self, at=None):
        self.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u1"), at)

    def sent(self, kind):
        return [event for event in self.model if event["type"] == kind]

    def heard(self, kind):
        return [event for event in self.reports if isinstance(event, kind)]

    @property
    def appended_ms(self):
        return sum(len(pybase64.b64decode(e["audio"])) for e in self.sent("input_audio_buffer.append")) / MS
