"""The recorded clips, and how to say something with them."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from realtime_bridge.audio.g711 import MULAW_SILENCE, pcm16_to_mulaw
from realtime_bridge.errors import MisuseError
from telephony.playout import BYTES_PER_MS

PCM_BYTES_PER_MS = 16


@dataclass(frozen=True, slots=True)
class Clip:
    """`text`: what is said. The speech lies between `start_ms` and `end_ms` of the recording, 30 ms of quiet included."""

    text: str
    start_ms: int
    end_ms: int


CLIPS = {
    "hello": Clip("Hello.", 60, 720),
    "tt-weasels": Clip("Weasels have eaten our phone system.", 110, 2900),
    "vm-num-i-have": Clip("The number I have is", 60, 1680),
    "vm-no": Clip("No.", 140, 740),
    "tt-monkeysintro": Clip("They have been carried away by monkeys.", 120, 2560),
    "queue-callswaiting": Clip("Waiting to speak with a representative.", 150, 2320),
    "auth-thankyou": Clip("Thank you.", 90, 840),
    "goodbye": Clip("Goodbye.", 50, 850),
    "digits/tomorrow": Clip("tomorrow", 20, 870),
    "digits/at": Clip("at", 100, 610),
    "digits/10": Clip("ten", 40, 620),
    "digits/oclock": Clip("o'clock", 0, 830),
    "digits/0": Clip("zero", 70, 800),
    "digits/1": Clip("one", 100, 780),
    "digits/2": Clip("two", 70, 620),
    "digits/3": Clip("three", 120, 780),
    "digits/4": Clip("four", 130, 770),
    "digits/5": Clip("five", 110, 790),
    "digits/6": Clip("six", 130, 740),
    "digits/7": Clip("seven", 70, 820),
    "digits/8": Clip("eight", 100, 600),
    "digits/9": Clip("nine", 30, 760),
}


def compose(*parts: str | int) -> bytes:
    """Mu-law speech from clips (by name) and pauses (in ms), in order."""
    return b"".join(MULAW_SILENCE * (part * BYTES_PER_MS) if isinstance(part, int) else _speech(part) for part in parts)


def spell(digits: str, pause_ms: int = 60) -> tuple[str | int, ...]:
    """Parts that say a number digit by digit."""
    if not (digits.isascii() and digits.isdigit()):
        raise MisuseError(f"digits must be 0-9, got {digits!r}")
    parts: list[str | int] = []
    for digit in digits:
        parts += [f"digits/{digit}", pause_ms]
    return tuple(parts[:-1])


@cache
def _speech(name: str) -> bytes:
    """One clip without the quiet around it."""
    clip = CLIPS.get(name)
    if clip is None:
        raise MisuseError(f"there is no clip {name!r}; there are {', '.join(CLIPS)}")
    recorded = (files(__package__) / "wav" / f"{name}.wav").read_bytes()
    with wave.open(io.BytesIO(recorded)) as file:
        pcm16 = file.readframes(file.getnframes())
    return pcm16_to_mulaw(pcm16[clip.start_ms * PCM_BYTES_PER_MS : clip.end_ms * PCM_BYTES_PER_MS])
