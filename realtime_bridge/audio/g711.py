"""G.711, the telephone network's sound: one byte a sample at 8 kHz, mu-law (America, Japan) or A-law (elsewhere).

The work is done by `audioop`: in the standard library up to Python 3.12, the package `audioop-lts` from 3.13 on.
It speaks the machine's own byte order, which is little-endian wherever this project runs.

Source: ITU-T G.711 (11/1988), tables 1 and 2. Every byte is a valid sample of either law.
"""

from __future__ import annotations

import warnings

from realtime_bridge.audio.pcm16 import BYTES_PER_SAMPLE, require_whole_samples

with warnings.catch_warnings():
    # 3.11 and 3.12 announce the removal that audioop-lts makes good.
    warnings.filterwarnings("ignore", message="'audioop' is deprecated", category=DeprecationWarning)
    import audioop

MULAW_SILENCE = b"\xff"  # one sample of nothing; decodes to 0
ALAW_SILENCE = b"\xd5"  # the quietest A-law has: decodes to 8


def mulaw_to_pcm16(mulaw: bytes) -> bytes:
    """Decode mu-law; two bytes out for each byte in."""
    pcm16: bytes = audioop.ulaw2lin(mulaw, BYTES_PER_SAMPLE)
    return pcm16


def pcm16_to_mulaw(pcm16: bytes) -> bytes:
    """Encode as mu-law; one byte out for each sample in. Raises `ProtocolError` on half a sample."""
    require_whole_samples(pcm16)
    mulaw: bytes = audioop.lin2ulaw(pcm16, BYTES_PER_SAMPLE)
    return mulaw


def alaw_to_pcm16(alaw: bytes) -> bytes:
    """Decode A-law; two bytes out for each byte in."""
    pcm16: bytes = audioop.alaw2lin(alaw, BYTES_PER_SAMPLE)
    return pcm16


def pcm16_to_alaw(pcm16: bytes) -> bytes:
    """Encode as A-law; one byte out for each sample in. Raises `ProtocolError` on half a sample."""
    require_whole_samples(pcm16)
    alaw: bytes = audioop.lin2alaw(pcm16, BYTES_PER_SAMPLE)
    return alaw
