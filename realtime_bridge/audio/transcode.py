"""What a call does to its sound on the way between phone and model: one object per call.

Two kinds. `pcm`: the model hears and speaks PCM16 at 24 kHz, the sound it was trained on, and each sample is resampled on
its way. `pcmu`: both sides speak the phone's mu-law, and bytes pass through untouched.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias, assert_never

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from realtime_bridge.audio.pcm16 import BYTES_PER_SAMPLE
from realtime_bridge.audio.resample import Downsampler, Upsampler

AudioKind: TypeAlias = Literal["pcm", "pcmu"]


class Transcoder(Protocol):
    """Both directions of one call's sound. The phone's side is always mu-law, 8 bytes a millisecond."""

    @property
    def model_format(self) -> AudioKind: ...

    @property
    def model_format_json(self) -> dict[str, str | int]:
        """The Realtime API's `audio.input.format` and `audio.output.format`."""
        ...

    @property
    def model_bytes_per_ms(self) -> int: ...

    def to_model(self, mulaw: bytes) -> bytes:
        """The caller's next sound, any number of samples, in the model's format. No sample is held back."""
        ...

    def to_phone(self, audio: bytes) -> bytes:
        """The next sound of the model's current item, cut anywhere, as mu-law."""
        ...

    def flush_to_phone(self) -> bytes:
        """The end of an item: what is still to be heard of it (3 ms at most). The next `to_phone` begins another item."""
        ...

    def reset_to_phone(self) -> None:
        """The item will not be played on (a barge-in): forget it."""
        ...


class Pcm24kTranscoder:
    """Resamples: the model hears and speaks PCM16 at 24 kHz. Each direction is 1.5 ms late."""

    model_format: Final = "pcm"
    model_bytes_per_ms: Final = 24 * BYTES_PER_SAMPLE

    def __init__(self) -> None:
        self._up = Upsampler()
        self._down = Downsampler()
        self._half_sample = b""

    @property
    def model_format_json(self) -> dict[str, str | int]:
        return {"type": "audio/pcm", "rate": 24000}

    def to_model(self, mulaw: bytes) -> bytes:
        return self._up.process(mulaw_to_pcm16(mulaw))

    def to_phone(self, audio: bytes) -> bytes:
        """As the protocol says. A delta may end within a sample: its first byte waits for the item's next delta."""
        if self._half_sample or len(audio) % BYTES_PER_SAMPLE:
            audio = self._half_sample + audio
            whole = len(audio) - len(audio) % BYTES_PER_SAMPLE
            audio, self._half_sample = audio[:whole], audio[whole:]
        return pcm16_to_mulaw(self._down.process(audio))

    def flush_to_phone(self) -> bytes:
        self._half_sample = b""
        return pcm16_to_mulaw(self._down.flush())

    def reset_to_phone(self) -> None:
        self._half_sample = b""
        self._down.reset()


class MulawPassThrough:
    """Passes bytes through: the model hears and speaks mu-law."""

    model_format: Final = "pcmu"
    model_bytes_per_ms: Final = 8

    @property
    def model_format_json(self) -> dict[str, str | int]:
        return {"type": "audio/pcmu"}

    def to_model(self, mulaw: bytes) -> bytes:
        return mulaw

    def to_phone(self, audio: bytes) -> bytes:
        return audio

    def flush_to_phone(self) -> bytes:
        return b""

    def reset_to_phone(self) -> None:
        pass


def transcoder(kind: AudioKind) -> Transcoder:
    """A call's transcoder for the setting `REALTIME_AUDIO`."""
    match kind:
        case "pcm":
            return Pcm24kTranscoder()
        case "pcmu":
            return MulawPassThrough()
        case _:
            assert_never(kind)
