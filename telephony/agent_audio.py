"""Model to phone: each item's audio in whole frames, with marks, entered in the ledger as it goes.

The phone gets audio as fast as the model makes it, up to a limit (Twilio throws away what exceeds ten minutes): what is
at the phone plays on evenly whatever happens here, and a `clear` takes it back at once. Beyond the limit it waits here.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque
from math import inf

from realtime_bridge.audio.transcode import Transcoder
from telephony.holdback import Holdback
from telephony.phone_audio import FRAME_BYTES, PhoneAudio, padded
from telephony.playout import BYTES_PER_MS, ItemKey, ItemPlayout

PHONE_MS_MAX = 300_000  # at the phone; half of what Twilio buffers (error 31931 beyond ten minutes)
WAITING_MS_MAX = 1_800_000  # here
REFILL_STEP_S = 0.100
STEP_S = 0.001


class AgentAudio:
    """One call's agent audio on its way to the phone. Methods return media and mark frames to send."""

    def __init__(self, phone: PhoneAudio, transcoder: Transcoder) -> None:
        self._phone = phone
        self._transcoder = transcoder
        self._ledger = phone.ledger
        self._gated = False
        self._arriving: ItemKey | None = None  # the item whose audio is coming in
        self._arrived_bytes = 0  # of that item, in the model's format
        self._playing: ItemKey | None = None  # the item whose audio is going out
        self._rest = b""  # of that item, less than a frame
        self._holdback: Holdback | None = None
        self._waiting: deque[tuple[ItemKey, bytes]] = deque()
        self._waiting_bytes = 0
        self.lost_ms = 0.0  # audio beyond all limits

    def hold_back(self, budget_ms: int) -> None:
        """Keep each piece of audio until it is let go, at most this long. Before the first audio."""
        self._holdback = Holdback(budget_ms)

    def delta(self, key: ItemKey, audio: bytes, now: float) -> list[bytes]:
        """The model sent audio of an item, in the model's format."""
        frames = [] if key == self._arriving else self._end_arriving(now)
        if self._arriving is None:
            self._arriving, self._arrived_bytes = key, 0
        known = self._arrived_bytes * BYTES_PER_MS // self._transcoder.model_bytes_per_ms
        self._arrived_bytes += len(audio)
        wire_bytes = self._arrived_bytes * BYTES_PER_MS // self._transcoder.model_bytes_per_ms
        self._ledger.received(key, wire_bytes - known)
        if self._holdback is None:
            return frames + self._play(key, audio, now)
        self._holdback.hold(key, audio, self.item_ms, now)
        return frames + self.let_go(now)

    def finish(self, key: ItemKey, now: float) -> list[bytes]:
        """The model says that this item's audio is complete."""
        return self._end_arriving(now) if key == self._arriving else []

    def finish_response(self, response_id: str | None, now: float) -> list[bytes]:
        """The response is over, whether or not its last item was completed. None: so is every response."""
        key = self._arriving
        return self._end_arriving(now) if key is not None and response_id in (None, key.response_id) else []

    def release(self, item_id: str, content_index: int, audio_ms: int | None, now: float) -> list[bytes]:
        """Audio held back may be heard up to here."""
        if self._holdback is None:
            return []
        self._holdback.release(item_id, content_index, audio_ms)
        return self.let_go(now)

    def let_go(self, now: float) -> list[bytes]:
        """Play what was held back and may go. To be called at `due_at`."""
        frames: list[bytes] = []
        for piece in self._holdback.take(now) if self._holdback is not None else []:
            if piece.audio is None:
                frames += self._end_playing(now)
            else:
                frames += self._play(piece.key, piece.audio, now)
        return frames

    def drop(self, response_id: str) -> None:
        """Play nothing more of this response; what the phone has, it plays."""
        if self._holdback is not None:
            self._holdback.drop(response_id)
        kept = [(key, audio) for key, audio in self._waiting if key.response_id != response_id]
        self._waiting = deque(kept)
        self._waiting_bytes = sum(len(audio) for _, audio in kept)
        if self._arriving is not None and self._arriving.response_id == response_id:
            self._arriving = None
        if self._playing is not None and self._playing.response_id == response_id:
            self._playing, self._rest = None, b""
            self._transcoder.reset_to_phone()
        self._ledger.abandoned(response_id)

    def clear(self, now: float) -> tuple[bytes, tuple[ItemPlayout, ...]]:
        """Take back all that is unheard: the `clear` frame, and the items it cuts."""
        self._arriving = self._playing = None
        self._rest = b""
        self._transcoder.reset_to_phone()
        if self._holdback is not None:
            self._holdback.drop()
        self._waiting.clear()
        self._waiting_bytes = 0
        return self._phone.writer.clear(), self._ledger.clear(now)

    def gate(self, shut: bool) -> None:
        """While shut, audio waits here; what the phone has, it plays. Call `refill` after opening."""
        self._gated = shut

    @property
    def lets_others_speak(self) -> bool:
        """No item is going out at the moment, so that other audio would not fall into the middle of one."""
        return self._gated or (self._playing is None and not self._holdback)

    @property
    def item_ms(self) -> int:
        """Audio received so far of the item that is coming in."""
        return self._arrived_bytes // self._transcoder.model_bytes_per_ms

    def unheard(self, now: float) -> bool:
        """True while there is audio the caller has yet to hear, here or at the phone."""
        return bool(self._waiting or self._rest or self._holdback) or self._ledger.unplayed_ms(now) > 0

    def refill(self, now: float) -> list[bytes]:
        """To be called at `due_at`: audio that waited goes out as far as the phone may take it."""
        frames: list[bytes] = []
        while self._waiting and not self._gated and self._ledger.unplayed_ms(now) < PHONE_MS_MAX:
            key, mulaw = self._waiting.popleft()
            self._waiting_bytes -= len(mulaw)
            frames += self._phone.send(key, mulaw, now)
        return frames

    def due_at(self, now: float) -> float:
        """When `let_go` and `refill` should be called. Later than now; infinite when nothing waits here."""
        due_at = inf if self._holdback is None else self._holdback.due_at
        if self._waiting and not self._gated:
            due_at = min(due_at, self._ledger.plays_until(now) - PHONE_MS_MAX / 1000 + REFILL_STEP_S)
        return max(now + STEP_S, due_at)

    def probe(self, now: float) -> list[bytes]:
        """A mark while nothing plays: its echo measures the round trip."""
        return [self._phone.mark(now)]

    def _play(self, key: ItemKey, audio: bytes, now: float) -> list[bytes]:
        frames = [] if key == self._playing else self._end_playing(now)
        self._playing = key
        mulaw = self._rest + self._transcoder.to_phone(audio)
        whole = len(mulaw) - len(mulaw) % FRAME_BYTES
        self._rest = mulaw[whole:]
        return frames + self._pass_on(key, mulaw[:whole], now)

    def _end_arriving(self, now: float) -> list[bytes]:
        """No more audio of the current item will come."""
        key, self._arriving = self._arriving, None
        if key is None:
            return []
        self._ledger.completed(key)
        if self._holdback is None:
            return self._end_playing(now)
        self._holdback.hold(key, None, self.item_ms, now)
        return self.let_go(now)

    def _end_playing(self, now: float) -> list[bytes]:
        """The current item's last samples go out, padded with silence to a whole frame."""
        key, self._playing = self._playing, None
        if key is None:
            return []
        tail = self._rest + self._transcoder.flush_to_phone()
        self._rest = b""
        frames = self._pass_on(key, padded(tail), now)
        if not self._waiting and not self._ledger.ends_in_mark:
            frames.append(self._phone.mark(now))
        return frames

    def _pass_on(self, key: ItemKey, mulaw: bytes, now: float) -> list[bytes]:
        if not mulaw:
            return []
        if not self._waiting and not self._gated and self._ledger.unplayed_ms(now) < PHONE_MS_MAX:
            return self._phone.send(key, mulaw, now)
        if self._waiting_bytes + len(mulaw) > WAITING_MS_MAX * BYTES_PER_MS:
            self.lost_ms += len(mulaw) / BYTES_PER_MS
            return []
        self._waiting.append((key, mulaw))
        self._waiting_bytes += len(mulaw)
        return []
