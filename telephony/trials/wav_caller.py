"""A caller who can call again, out of a recording that nobody taped: a WAV file of a telephone system, or Twilio's own
dual-channel recording.

    caller = caller_of_wav(Path("call.wav"))
    trial = try_agent(caller, agent)

In a stereo file the left channel is the caller and the right one the agent, as in this program's recordings and in Twilio's
(the first channel is the party that called, "Recordings resource", RecordingChannels). The agent's side tells when the
caller took a turn, and where an interruption fell. In a mono file all speech is the caller's, who then goes by her own
pauses, and lets the agent finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.localmodel.parts import Vad
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.tape import TapeKeys, open_unsealed
from telephony.playout import BYTES_PER_MS
from telephony.records.heard import STEP_MS, Loudness, audible_from
from telephony.testing.wav_sound import BYTES_MAX, WavError, decode_wav
from telephony.trials.caller_turns import CallSound, Span, turns_of
from telephony.trials.recorded_caller import RecordedCaller

SUFFIX: Final = ".wav"
PAUSE_MS: Final = 200  # a shorter one lies between syllables
SENTENCE_PAUSE_MS: Final = 900  # of the agent, between two sentences of one utterance
OVERLAP_MS: Final = 60  # who stops that much after the other has begun to speak was interrupted, and had more to say
MORE_MS: Final = 2000  # so much, let us say: it is only asked whether it was more than a syllable


def caller_of_wav(
    path: Path, keys: TapeKeys | None = None, vad_factory: Callable[[], Vad] = SileroVad
) -> RecordedCaller:
    """`keys`: for a recording of this program that is sealed. Raises OSError, SealError and WavError."""
    with open_unsealed(path, keys or TapeKeys()) as file:
        sound = decode_wav(file.read(BYTES_MAX + 1))
    caller, *others = sound.channels
    said = audible_spans(caller)
    agent = _utterances(audible_spans(others[0]), said) if others else []
    heard = CallSound(
        caller=caller,
        agent=agent,
        planned=_planned(agent, said),
        hung_up=sound.seconds * 1000,
    )
    turns, hangs_up = turns_of(heard, vad_factory)
    if not turns:
        swapped = " on the left channel; is the caller on the right one?" if others else ""
        raise WavError(f"nobody speaks{swapped}", where=path.name)
    return RecordedCaller(turns=turns, hangs_up=hangs_up, seconds=sound.seconds, name=str(path))


def caller_of(path: Path, keys: TapeKeys | None = None) -> RecordedCaller:
    """Of a tape, or of a WAV file by its name. Raises as the two do."""
    return caller_of_wav(path, keys) if path.suffix.lower() == SUFFIX else RecordedCaller.from_tape(path, keys)


def audible_spans(mulaw: bytes) -> list[Span]:
    """When this side can be heard, by its loudness."""
    samples = np.abs(np.frombuffer(mulaw_to_pcm16(mulaw), "<i2").astype(np.int32))
    peaks: Loudness = np.maximum.reduceat(samples, np.arange(0, len(samples), STEP_MS * BYTES_PER_MS)) / 32768
    spans: list[Span] = []
    for step in np.flatnonzero(peaks >= audible_from(peaks)).tolist():
        start, end = step * STEP_MS, (step + 1) * STEP_MS
        if spans and start - spans[-1].end < PAUSE_MS:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(start, end))
    return spans


def _utterances(agent: Sequence[Span], caller: Sequence[Span]) -> list[Span]:
    """The agent's sentences put together as a phone has them: with the pauses between, if nobody spoke in them."""
    joined: list[Span] = []
    for span in agent:
        before = joined[-1].end if joined else -SENTENCE_PAUSE_MS
        if span.start - before < SENTENCE_PAUSE_MS and not any(
            said.start < span.start and said.end > before for said in caller
        ):
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _planned(agent: Sequence[Span], caller: Sequence[Span]) -> list[tuple[float, float]]:
    """At the beginning of each of the agent's utterances, until when it was to go on."""
    return [
        (utterance.start, utterance.end + (MORE_MS if _is_cut_off(utterance, caller) else 0)) for utterance in agent
    ]


def _is_cut_off(utterance: Span, caller: Sequence[Span]) -> bool:
    """The caller spoke into it, and did so still when it ended."""
    return any(
        utterance.start < said.start <= utterance.end - OVERLAP_MS and said.end >= utterance.end for said in caller
    )
