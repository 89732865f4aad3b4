"""What became of a simulated call, on the phone's own authority."""

from __future__ import annotations

import wave
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from telephony.playout import BYTES_PER_MS, BYTES_PER_S
from telephony.testing.ear import Audible
from telephony.testing.phone import SimulatedPhone
from telephony.testing.playback import Cleared, MarkEcho
from telephony.testing.script import Said, ScriptedCaller

SAMPLE_RATE = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """All times are seconds since the stream began; places on the wire count the bytes of agent audio that came.

    `failure`: why the script could not be finished, or None. `problems`: frames the phone could not accept.
    """

    seconds: float
    failure: str | None
    problems: tuple[str, ...]
    said: tuple[Said, ...]
    audible: tuple[Audible, ...]
    clears: tuple[Cleared, ...]
    echoes: tuple[MarkEcho, ...]
    wire: bytes
    stereo: bytes  # PCM16, 8 kHz, caller left, agent right as really heard
    phone: SimulatedPhone

    def heard_ms(self, wire_start: int, wire_end: int, at: float | None = None) -> float:
        """How much of these bytes of the wire had been played at `at` (None: in the whole call)."""
        assert self.phone.started_at is not None
        until = self.phone.started_at + (self.seconds if at is None else at)
        return self.phone.playback.heard_bytes_of(wire_start, wire_end, until) / BYTES_PER_MS

    def answer_delays_ms(self) -> tuple[float, ...]:
        """For every utterance that was answered before the next: silence from its end to the agent's first sound."""
        delays = []
        for index, said in enumerate(self.said):
            before = self.said[index + 1].start if index + 1 < len(self.said) else self.seconds
            answer = next((span.start for span in self.audible if said.end <= span.start < before), None)
            if answer is not None:
                delays.append((answer - said.end) * 1000)
        return tuple(delays)

    def clear_delays_ms(self) -> tuple[float, ...]:
        """For every utterance that made the server clear the phone: from its beginning to the `clear`'s arrival."""
        first = (next((clear for clear in self.clears if s.start <= clear.at < s.end), None) for s in self.said)
        return tuple((clear.at - s.start) * 1000 for s, clear in zip(self.said, first, strict=True) if clear)

    def save_wav(self, path: Path) -> None:
        """Write `stereo` as a WAV file."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(self.stereo)


def conclude(phone: SimulatedPhone, caller: ScriptedCaller, problems: list[str]) -> CallResult:
    """The result of a call that has ended."""
    assert phone.started_at is not None
    assert phone.ended_at is not None
    start = phone.started_at
    caller.ear.listen(phone.ended_at)
    return CallResult(
        seconds=phone.ended_at - start,
        failure=caller.failure,
        problems=tuple(problems),
        said=tuple(replace(s, start=s.start - start, end=s.end - start) for s in caller.said),
        audible=tuple(replace(a, start=a.start - start, end=a.end - start) for a in caller.ear.audible),
        clears=tuple(replace(c, at=c.at - start) for c in phone.playback.clears),
        echoes=tuple(replace(e, at=e.at - start) for e in phone.echoes),
        wire=bytes(phone.playback.wire),
        stereo=_stereo(phone, start, phone.ended_at),
        phone=phone,
    )


def _stereo(phone: SimulatedPhone, start: float, end: float) -> bytes:
    """Both sides, as the caller spoke and heard them."""
    samples = round((end - start) * BYTES_PER_S)
    heard = b"".join(
        phone.playback.heard(start + at / BYTES_PER_S, min(SAMPLE_RATE, samples - at))
        for at in range(0, samples, SAMPLE_RATE)
    )
    spoken = bytes(phone.spoken[:samples]).ljust(samples, b"\xff")
    stereo = array("h", bytes(4 * samples))
    stereo[0::2] = array("h", mulaw_to_pcm16(spoken))
    stereo[1::2] = array("h", mulaw_to_pcm16(heard))
    return stereo.tobytes()
