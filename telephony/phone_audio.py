"""Audio on the wire to the phone: media frames with the marks that are due among them, entered in the ledger as they go.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from realtime_bridge.audio.g711 import MULAW_SILENCE
from telephony.playout import BYTES_PER_MS, ItemKey, PlayoutLedger
from telephony.twilio.media_stream import MediaStreamWriter

FRAME_BYTES = 20 * BYTES_PER_MS


class PhoneAudio:
    """One call's way to the phone, shared by all that is to be heard there. Methods return frames to send."""

    def __init__(self, writer: MediaStreamWriter, ledger: PlayoutLedger) -> None:
        self.writer = writer
        self.ledger = ledger

    def send(self, key: ItemKey, mulaw: bytes, now: float) -> list[bytes]:
        """Audio of an item that the ledger knows, in whole frames."""
        frames: list[bytes] = []
        at = 0
        while at < len(mulaw):
            piece = mulaw[at : at + self.ledger.bytes_until_mark(now)]
            self.ledger.sent(key, len(piece), now)
            frames.append(self.writer.media(piece))
            if self.ledger.mark_is_due:
                frames.append(self.mark(now))
            at += len(piece)
        return frames

    def mark(self, now: float) -> bytes:
        """A mark behind everything sent so far."""
        return self.writer.mark(self.ledger.mark_sent(now))


def padded(mulaw: bytes) -> bytes:
    """Filled up with silence to a whole frame."""
    return mulaw + MULAW_SILENCE * (-len(mulaw) % FRAME_BYTES)
