"""The simplest machine that joins a phone and a model, as sample code does it. Knowingly wrong in known ways.

It believes that audio plays from the moment its first delta came, without a break: true while the model is fast and the
reply has one item, wrong otherwise. The simulation is tested with it: its checker must tell right from wrong.
"""

import pybase64
from simulation.world import FromModel, FromPhone, ModelOpen, ToModel, ToPhone

from realtime_bridge.wire import append_frame, client, decode_server_event, encode, server
from telephony.twilio.media_stream import MediaStreamReader, MediaStreamWriter
from telephony.twilio.messages import Media, Start


class Relay:
    """For `pcmu`. `truncates` and `drops_late_audio` can be switched off, to be caught."""

    def __init__(self, *, truncates=True, drops_late_audio=True):
        self._truncates = truncates
        self._drops_late_audio = drops_late_audio
        self._reader = MediaStreamReader()
        self._writer = None
        self._held = []
        self._open = False
        self._item = None  # (item id, when its first delta came, response id)
        self._dropped = set()

    def next_deadline(self):
        return None

    def handle(self, event, now):
        match event:
            case FromPhone():
                return self._from_phone(self._reader.receive(event.frame))
            case FromModel():
                return self._from_model(decode_server_event(event.frame), now)
            case ModelOpen():
                self._open = True
                held, self._held = self._held, []
                return held
        return []

    def _from_phone(self, message):
        if isinstance(message, Start):
            self._writer = MediaStreamWriter(message.stream_sid)
        if not isinstance(message, Media):
            return []
        append = ToModel(append_frame(message.payload))
        if self._open:
            return [append]
        self._held.append(append)
        return []

    def _from_model(self, event, now):
        match event:
            case server.ResponseOutputAudioDelta():
                if event.response_id in self._dropped:
                    return []
                audio = pybase64.b64decode(event.delta)
                if self._item is None or self._item[0] != event.item_id:
                    self._item = (event.item_id, now, event.response_id)
                return [ToPhone(self._writer.media(audio))]
            case server.InputAudioBufferSpeechStarted():
                return self._interrupt(now)
        return []

    def _interrupt(self, now):
        item, self._item = self._item, None
        if item is None:
            return []
        if self._drops_late_audio:
            self._dropped.add(item[2])
        truncate = client.ConversationItemTruncate(
            item_id=item[0], content_index=0, audio_end_ms=int((now - item[1]) * 1000)
        )
        return [ToPhone(self._writer.clear()), *([ToModel(encode(truncate))] if self._truncates else [])]
