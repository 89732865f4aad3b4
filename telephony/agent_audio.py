"""Model to phone: each item's audio in whole frames, with marks, entered in the ledger as it goes.

The phone gets audio as fast as the model makes it, up to a limit (Twilio throws away what exceeds ten minutes): what is
at the phone plays on evenly whatever happens here, and a `clear` takes it back at once. Beyond the limit it waits here.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.audio.transcode import Transcoder
from telephony.playout import BYTES_PER_MS, ItemKey, ItemPlayout, PlayoutLedger
from telephony.twilio.media_stream import MediaStreamWriter

FRAME_BYTES = 20 * BYTES_PER_MS
PHONE_MS_MAX = 300_000  # at the phone; half of what Twilio buffers (error 31931 beyond ten minutes)
WAITING_MS_MAX = 1_800_000  # here
RELEASE_STEP_S = 0.100


class AgentAudio:
    """One call's agent audio on its way to the phone. Methods return media and mark frames to send."""

    def __init__(self, writer: MediaStreamWriter, transcoder: Transcoder, ledger: PlayoutLedger) -> None:
        self._writer = writer
        self._transcoder = transcoder
        self._ledger = ledger
        self._key: ItemKey | None = None  # the item whose audio is coming in
        self._model_bytes = 0  # of that item
        self._rest = b""  # of that item, less than a frame
        self._waiting: deque[tuple[ItemKey | None, bytes]] = deque()
        self._waiting_bytes = 0
        self.lost_ms = 0.0  # audio beyond all limits

    def delta(self, key: ItemKey, audio: bytes, now: float) -> list[bytes]:
        """The model sent audio of an item, in the model's format."""
        frames = [] if key == self._key else self.finish_item(now)
        if self._key is None:
            self._key, self._model_bytes, self._rest = key, 0, b""
        known = self._wire_bytes()
        self._model_bytes += len(audio)
        self._ledger.received(key, self._wire_bytes() - known)
        mulaw = self._rest + self._transcoder.to_phone(audio)
        whole = len(mulaw) - len(mulaw) % FRAME_BYTES
        self._rest = mulaw[whole:]
        return frames + self._pass_on(key, mulaw[:whole], now)

    def finish_item(self, now: float) -> list[bytes]:
        """No more audio of the current item: its last samples go out, padded with silence to a whole frame."""
        key, self._key = self._key, None
        if key is None:
            return []
        tail = self._rest + self._transcoder.flush_to_phone()
        frames = self._pass_on(key, tail, now) if tail else []
        if padding := -len(tail) % FRAME_BYTES:
            frames += self._pass_on(None, MULAW_SILENCE * padding, now)
        self._ledger.completed(key)
        if not self._waiting and not self._ledger.ends_in_mark:
            frames.append(self._writer.mark(self._ledger.mark_sent(now)))
        return frames

    def finish(self, key: ItemKey, now: float) -> list[bytes]:
        """The model says that this item's audio is complete."""
        return self.finish_item(now) if key == self._key else []

    def finish_response(self, response_id: str | None, now: float) -> list[bytes]:
        """The response is over, whether or not its last item was completed."""
        return self.finish_item(now) if self._key is not None and self._key.response_id == response_id else []

    def clear(self, now: float) -> tuple[bytes, tuple[ItemPlayout, ...]]:
        """Take back all that is unheard: the `clear` frame, and the items it cuts."""
        self._key, self._rest = None, b""
        self._transcoder.reset_to_phone()
        self._waiting.clear()
        self._waiting_bytes = 0
        return self._writer.clear(), self._ledger.clear(now)

    @property
    def item_ms(self) -> int:
        """Audio received so far of the item that is coming in."""
        return self._model_bytes // self._transcoder.model_bytes_per_ms

    def unheard(self, now: float) -> bool:
        """True while there is audio the caller has yet to hear, here or at the phone."""
        return bool(self._waiting or self._rest) or self._ledger.unplayed_ms(now) > 0

    def release(self, now: float) -> list[bytes]:
        """To be called at `release_at`: audio that waited goes out as far as the phone may take it."""
        frames: list[bytes] = []
        while self._waiting and self._ledger.unplayed_ms(now) < PHONE_MS_MAX:
            key, mulaw = self._waiting.popleft()
            self._waiting_bytes -= len(mulaw)
            frames += self._send(key, mulaw, now)
        return frames

    def release_at(self, now: float) -> float | None:
        """When `release` should be called. Later than now."""
        if not self._waiting:
            return None
        return max(now, self._ledger.plays_until(now) - PHONE_MS_MAX / 1000) + RELEASE_STEP_S

    def probe(self, now: float) -> list[bytes]:
        """A mark while nothing plays: its echo measures the round trip."""
        return [self._writer.mark(self._ledger.mark_sent(now))]

    def _wire_bytes(self) -> int:
        return self._model_bytes * BYTES_PER_MS // self._transcoder.model_bytes_per_ms

    def _pass_on(self, key: ItemKey | None, mulaw: bytes, now: float) -> list[bytes]:
        if not mulaw:
            return []
        if not self._waiting and self._ledger.unplayed_ms(now) < PHONE_MS_MAX:
            return self._send(key, mulaw, now)
        if self._waiting_bytes + len(mulaw) > WAITING_MS_MAX * BYTES_PER_MS:
            self.lost_ms += len(mulaw) / BYTES_PER_MS
            return []
        self._waiting.append((key, mulaw))
        self._waiting_bytes += len(mulaw)
        return []

    def _send(self, key: ItemKey | None, mulaw: bytes, now: float) -> list[bytes]:
        frames: list[bytes] = []
        at = 0
        while at < len(mulaw):
            piece = mulaw[at : at + self._ledger.bytes_until_mark(now)]
            self._ledger.sent(key, len(piece), now)
            frames.append(self._writer.media(piece))
            if self._ledger.mark_is_due:
                frames.append(self._writer.mark(self._ledger.mark_sent(now)))
            at += len(piece)
        return frames
