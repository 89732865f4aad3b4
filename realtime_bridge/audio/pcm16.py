"""The one rule of PCM16 bytes: a sample is two of them, low byte first."""

from __future__ import annotations

from realtime_bridge.errors import ProtocolError

BYTES_PER_SAMPLE = 2


def require_whole_samples(pcm16: bytes) -> None:
    """Raise `ProtocolError` if a sample is cut in half: the bytes come from a peer."""
    if len(pcm16) % BYTES_PER_SAMPLE:
        raise ProtocolError(
            f"PCM16 audio of {len(pcm16)} bytes: a sample has {BYTES_PER_SAMPLE}, so one is cut in half"
        )
