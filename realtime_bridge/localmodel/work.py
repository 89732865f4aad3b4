"""What the conversation asks of the world around it, and what the world answers.

`ModelSession` is pure: recognising, thinking and speaking take time, so it asks for them (`Command`) and is told what
came of it (`Result`). Who drives it (a server with threads, a test in virtual time) may take as long as it likes, but
must answer the `Speak`s of one response in their order, a `Decided` before the next, and each request to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from realtime_bridge.localmodel.formats import FormatName
from realtime_bridge.localmodel.parts import Deed, Turn
from realtime_bridge.wire import ServerEvent


@dataclass(frozen=True, slots=True)
class Send:
    """Send this event to the client."""

    event: ServerEvent


@dataclass(frozen=True, slots=True)
class Recognise:
    """Answer with `Recognised` or `RecognitionFailed` of the same `key`.

    `is_speech`: a Vad has found it to be speech. If not, that is to be done first: recognisers invent words on silence.
    """

    key: str
    audio: bytes
    format: FormatName
    is_speech: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the brain for a response; answer with `Decided`s, then `Concluded`; or with `Faltered`."""

    response_id: str
    turn: Turn


@dataclass(frozen=True, slots=True)
class Speak:
    """Say this in the response's format; answer with `Spoken`s, then one `SpokenToTheEnd`; or with `Faltered`."""

    response_id: str
    text: str
    format: FormatName


@dataclass(frozen=True, slots=True)
class Stop:
    """The response is over: its `Ask` and `Speak`s may be given up. Answers to them are ignored."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, after everything sent before."""

    code: int
    reason: str


Command: TypeAlias = Send | Recognise | Ask | Speak | Stop | Close


@dataclass(frozen=True, slots=True)
class Recognised:
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class RecognitionFailed:
    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Decided:
    response_id: str
    deed: Deed


@dataclass(frozen=True, slots=True)
class Concluded:
    response_id: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence, and its audio in the format that was asked for."""

    response_id: str
    text: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class SpokenToTheEnd:
    response_id: str


@dataclass(frozen=True, slots=True)
class Faltered:
    """The brain or the voice failed; the response cannot go on."""

    response_id: str
    message: str


ReplyResult: TypeAlias = Decided | Concluded | Spoken | SpokenToTheEnd | Faltered
Result: TypeAlias = Recognised | RecognitionFailed | ReplyResult
