"""What the offline model is made of: four small protocols, so that each part can be exchanged.

    caller audio -> Vad -> Recognizer -> Brain -> Synthesizer -> audio

All parts are synchronous and stateful per conversation where they say so, except the brain, which may ask a server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.wire import Item

Samples: TypeAlias = NDArray[np.float32]  # mono, -1.0 to 1.0; the rate is named where it is used


class Vad(Protocol):
    """Voice-activity detector; one per conversation (it remembers the past)."""

    window_samples: int  # new samples a step, at 8 kHz

    def probability(self, window: Samples) -> float:
        """Chance that this window holds speech. `window`: exactly `window_samples` at 8 kHz."""
        ...

    def reset(self) -> None: ...


class Recognizer(Protocol):
    """Speech to text; shared by conversations, safe to call from several threads."""

    def transcribe(self, speech: Samples) -> str:
        """`speech`: one utterance at 16 kHz that a Vad has found to be speech. Returns "" when nothing was understood."""
        ...


class Synthesizer(Protocol):
    """Text to speech; shared by conversations, safe to call from several threads."""

    sample_rate: int

    def speak(self, text: str) -> Iterator[tuple[str, Samples]]:
        """Yield (sentence as written, its audio at `sample_rate`), one sentence at a time, as soon as each is ready.

        The sentences, joined, are `text` (white space may differ).
        """
        ...


@dataclass(frozen=True, slots=True)
class Say:
    """Speak this (or write it, in a text-only response). Several in a row make one message."""

    text: str


@dataclass(frozen=True, slots=True)
class CallTool:
    """Call a function of the session. `arguments`: an object as the tool's JSON schema wants it."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


Deed: TypeAlias = Say | CallTool


@dataclass(frozen=True, slots=True)
class Turn:
    """All a brain may know when it is asked for one response."""

    instructions: str
    tools: tuple[dict[str, Any], ...]  # function tools as in `session.tools`
    tool_choice: Any  # "auto", "none", "required", or a named function, as in the API
    items: tuple[Item, ...]  # the conversation so far, oldest first; user audio carries its transcript


class Brain(Protocol):
    """What to say or do next; one per conversation (it may remember where in a script it is)."""

    def respond(self, turn: Turn) -> AsyncIterator[Deed]:
        """Yield deeds until the response is complete. Cancelled by closing the iterator."""
        ...
