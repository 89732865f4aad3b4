"""When each line of a call could be heard, by its sound.

Why it exists: what is told of a call comes late. A model says that the caller has stopped a good while after the last word,
since it waits whether there comes another; an agent's audio begins with a breath of silence. How long a caller waited for
an answer is from the last sound to the first, and the recording has both.

Pure. A side's sound is given as the peak (0 to 1) of each `STEP_MS` of the recording.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from telephony.records.record import CallRecord, Line

STEP_MS = 20
BEFORE_TOLD_MS = 800  # a model that is told of speech needs some of it to be sure
AUDIBLE = 0.012  # -38 dB of full scale, of a peak: above a quiet line's noise, below soft speech
AUDIBLE_OF_LOUD = 0.08  # and, on a loud or noisy line, -22 dB of what the speaker's loud moments reach

Loudness: TypeAlias = NDArray[np.float64]


def as_heard(record: CallRecord, caller: Loudness, agent: Loudness) -> CallRecord:
    """The record, its lines from their first sound to their last, and how long each answer took.

    A line in whose time nothing is to be heard, as in a pause of the recording, keeps the times that were told.
    """
    lines: list[Line] = []
    said_until_ms = 0
    for told in record.transcript:
        if told.role == "user":
            line = _trimmed(told, caller, earliest_ms=max(said_until_ms, (told.start_ms or 0) - BEFORE_TOLD_MS))
            said_until_ms = line.end_ms or said_until_ms
        else:
            line = _trimmed(told, agent, earliest_ms=told.start_ms or 0)
        lines.append(line)
    return msgspec.structs.replace(record, transcript=with_answers(lines))


def with_answers(lines: list[Line]) -> tuple[Line, ...]:
    """The lines, those that answer the caller with how long that took."""
    order = sorted(
        (i for i, line in enumerate(lines) if line.start_ms is not None), key=lambda i: lines[i].start_ms or 0
    )
    answered = list(lines)
    said_until_ms: int | None = None
    for i in order:
        line = lines[i]
        assert line.start_ms is not None
        if line.role == "user":
            said_until_ms = line.end_ms
        elif said_until_ms is not None and line.start_ms >= said_until_ms:
            answered[i] = msgspec.structs.replace(line, answer_ms=line.start_ms - said_until_ms)
            said_until_ms = None
    return tuple(answered)


def _trimmed(line: Line, sound: Loudness, *, earliest_ms: int) -> Line:
    if line.start_ms is None or line.end_ms is None:
        return line
    first = earliest_ms // STEP_MS
    peaks = sound[first : -(-line.end_ms // STEP_MS)]
    if not len(peaks):
        return line
    audible = np.flatnonzero(peaks >= audible_from(peaks))
    if not len(audible):
        return line
    start_ms = (first + int(audible[0])) * STEP_MS
    end_ms = (first + int(audible[-1]) + 1) * STEP_MS
    if line.role == "assistant":
        start_ms = max(start_ms, line.start_ms)
    return msgspec.structs.replace(line, start_ms=start_ms, end_ms=min(end_ms, line.end_ms))


def audible_from(peaks: Loudness) -> float:
    """How loud this speaker's voice is at least."""
    return max(AUDIBLE, AUDIBLE_OF_LOUD * float(np.percentile(peaks, 95)))
