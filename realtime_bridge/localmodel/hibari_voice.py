"""Text to speech by hibari-tts, its default voice (American English, 24 kHz), whose weights lie in the wheel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Samples
from realtime_bridge.localmodel.spoken_text import as_spoken, sentences

_SEED = 0  # of the breath noise: the same sentence is always the same audio
_GAIN = 2.0  # hibari peaks at about a third of full scale, half as loud as people on the telephone
# Hibari puts 0.3 s of silence before a sentence and 0.45 s after. The first is delay, and both would count as heard.
_AUDIBLE = 0.004
_LEAD_SAMPLES = 24_000 * 40 // 1000
_TAIL_SAMPLES = 24_000 * 240 // 1000


class HibariVoice:
    """A `Synthesizer`. Loads in about a second: make one per process."""

    sample_rate = 24_000

    def __init__(self) -> None:
        """Raises `MisuseError` when the optional package is missing."""
        try:
            import hibari  # noqa: PLC0415 - optional, and slow to load
        except ImportError as error:
            raise MisuseError("the voice is not installed: pip install 'realtime-bridge[local]'") from error
        self._engine = hibari.Hibari(threads=1)
        # Loads the pronunciation tables and the model for unknown words now: later, two threads could meet doing it.
        self._engine.g2p.oov("Hibari")

    def speak(self, text: str) -> Iterator[tuple[str, Samples]]:
        """Yield (sentence as written, its audio at 24 kHz), one by one, as soon as each is ready.

        The same text gives the same audio. A sentence that cannot be pronounced (another script, an emoji) is left
        out; text with nothing to say yields nothing.
        """
        for sentence in sentences(text):
            audio = self._say(as_spoken(sentence))
            if audio.size:
                yield sentence, audio

    def _say(self, sentence: str) -> Samples:
        phonemes = [part for part in self._engine.phonemize(sentence) if any(sound.isalpha() for sound in part)]
        parts = [self._engine.from_phonemes(part, seed=_SEED) for part in phonemes]
        return _tidy(np.concatenate(parts)) if parts else np.empty(0, np.float32)


def _tidy(audio: Samples) -> Samples:
    """Trim to a short pause on either side, and raise to the level of a telephone call."""
    loud = np.flatnonzero(np.abs(audio) > _AUDIBLE)
    if not loud.size:
        return np.empty(0, np.float32)
    trimmed = audio[max(int(loud[0]) - _LEAD_SAMPLES, 0) : int(loud[-1]) + _TAIL_SAMPLES]
    louder: Samples = np.clip(trimmed * _GAIN, -1.0, 1.0).astype(np.float32)
    return louder
