"""Our own audio to the caller, beside the model's: recorded messages, keypad tones, and what is heard on hold.

It goes through the same ledger as the model's audio, so that both are placed exactly. But it is no item of the model's:
it is never truncated, and a barge-in does not end it. Where a `clear` had to throw it away with the agent's words, the
rest of it is sent again. Behind each piece goes a mark: its echo says that the caller has heard all up to there. An empty
piece is only such a mark.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from telephony.phone_audio import FRAME_BYTES, PhoneAudio, padded
from telephony.playout import BYTES_PER_MS, ItemKey, ItemPlayout

PIECES_MAX = 64  # that wait or play at once
PATIENCE_S = 2.0  # for the mark behind a piece, past the time at which it must have been heard
HOLD_AHEAD_S = 0.6  # of hold audio at the phone: what the caller still hears of it when the line is taken back
HOLD_STEP_MS = 500
STEP_S = 0.001


@dataclass(slots=True)
class _Piece:
    audio_id: str
    mulaw: bytes
    key: ItemKey
    over_by: float = inf


class OwnAudio:
    """One call's own audio on its way to the phone. Methods return media and mark frames to send."""

    def __init__(self, phone: PhoneAudio) -> None:
        self._phone = phone
        self._count = 0
        self._waiting: deque[_Piece] = deque()
        self._sent: dict[str, _Piece] = {}  # by the name of the mark behind it, in order
        self._keys: set[ItemKey] = set()  # known to the ledger
        self._loop = b""  # what is heard on hold, again and again
        self._loop_at = 0
        self._loop_key: ItemKey | None = None

    @property
    def waiting(self) -> bool:
        """Some of it waits for the agent's item to end: see `release`."""
        return bool(self._waiting)

    @property
    def outstanding(self) -> bool:
        """The phone may have some of it unheard."""
        return bool(self._keys)

    def owns(self, key: ItemKey) -> bool:
        return key in self._keys

    def play(self, audio_id: str, mulaw: bytes) -> bool:
        """Queue a piece. False: too many wait already."""
        if len(self._waiting) + len(self._sent) >= PIECES_MAX:
            return False
        self._waiting.append(_Piece(audio_id, padded(mulaw), self._new_key()))
        return True

    def release(self, now: float) -> list[bytes]:
        """Nothing of the agent's is going out at the moment: what waits may go."""
        frames: list[bytes] = []
        while self._waiting:
            piece = self._waiting.popleft()
            if piece.mulaw:
                self._enter(piece.key, len(piece.mulaw))
                self._phone.ledger.completed(piece.key)
                frames += self._phone.send(piece.key, piece.mulaw, now)
            piece.over_by = self._phone.ledger.plays_until(now) + PATIENCE_S
            mark = self._phone.ledger.mark_sent(now)
            self._sent[mark] = piece
            frames.append(self._phone.writer.mark(mark))
        return frames

    def mark_echoed(self, name: str) -> list[str]:
        """Pieces whose end the phone has passed. Marks come in order: those before this one are over as well."""
        if name not in self._sent:
            return []
        over = []
        for mark in list(self._sent):
            over.append(self._sent.pop(mark).audio_id)
            if mark == name:
                break
        return over

    def overdue(self, now: float) -> list[str]:
        """Pieces that must have been heard, though no mark says so."""
        late = [mark for mark, piece in self._sent.items() if piece.over_by <= now]
        return [self._sent.pop(mark).audio_id for mark in late]

    def heard(self, key: ItemKey) -> None:
        """The ledger has forgotten this item, as it was heard to its end."""
        self._keys.discard(key)

    def taken_back(self, cut: Iterable[ItemPlayout]) -> None:
        """A `clear` threw the phone's audio away, and the ledger's items with it; what was unheard waits again."""
        heard_ms = {playout.key: playout.heard_ms for playout in cut if playout.key in self._keys}
        again = []
        for piece in self._sent.values():
            # From the beginning of the frame that was being heard.
            whole = len(piece.mulaw)
            heard = (
                int(heard_ms[piece.key]) * BYTES_PER_MS // FRAME_BYTES * FRAME_BYTES if piece.key in heard_ms else whole
            )
            again.append(_Piece(piece.audio_id, piece.mulaw[heard:], self._new_key()))
        self._waiting.extendleft(reversed(again))
        self._sent.clear()
        self._keys.clear()
        if self._loop_key is not None:
            self._loop_key = self._new_key()

    # ---- hold --------------------------------------------------------------------------------------------------------

    def hold(self, loop: bytes) -> None:
        """From now on the caller hears this, over and over; nothing if it is empty."""
        self._loop, self._loop_at = padded(loop), 0
        self._loop_key = self._new_key() if loop else None

    def end_hold(self) -> None:
        if self._loop_key is not None and self._loop_key in self._keys:
            self._phone.ledger.completed(self._loop_key)
        self._loop, self._loop_key = b"", None

    def refill(self, now: float) -> list[bytes]:
        """To be called at `due_at`: the next of what is heard on hold."""
        frames: list[bytes] = []
        while self._loop_key is not None and self._phone.ledger.plays_until(now) - now < HOLD_AHEAD_S:
            piece = self._loop[self._loop_at : self._loop_at + HOLD_STEP_MS * BYTES_PER_MS]
            self._loop_at = (self._loop_at + len(piece)) % len(self._loop)
            self._enter(self._loop_key, len(piece))
            frames += self._phone.send(self._loop_key, piece, now)
        return frames

    def due_at(self, now: float) -> float:
        """When `overdue` and `refill` should be called. Later than now; infinite when there is nothing to do."""
        due_at = min((piece.over_by for piece in self._sent.values()), default=inf)
        if self._loop_key is not None:
            due_at = min(due_at, self._phone.ledger.plays_until(now) - HOLD_AHEAD_S + STEP_S)
        return max(now + STEP_S, due_at)

    def _enter(self, key: ItemKey, wire_bytes: int) -> None:
        self._keys.add(key)
        self._phone.ledger.received(key, wire_bytes)

    def _new_key(self) -> ItemKey:
        self._count += 1
        return ItemKey("own", f"own_{self._count}", 0)
