"""How a session reaches a model: the protocol every transport keeps, and what a transport reports.

A transport carries client events one way and server events the other, and says what became of the model's audio. One that
plays the audio itself (a phone line) reports what the caller really heard; one that hands the audio to the program
(`WebSocketTransport`) reports none of the `Playback*` events, and the program does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import msgspec

from realtime_bridge.wire import ClientEvent, ServerEvent
from realtime_bridge.wire.items import ContentIndex


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    pass


class ItemCut(_Report, frozen=True, kw_only=True):
    """An assistant's audio item that the caller did not hear to its end.

    `heard_ms` is what the caller heard of it (0: nothing), `audio_ms` what the model had sent of it by then.
    """

    response_id: str
    item_id: str
    content_index: ContentIndex
    heard_ms: int
    audio_ms: int


class AudioReceived(_Report, frozen=True, kw_only=True, tag="audio_received"):
    """More audio of an assistant's item has come from the model: `audio_ms` of it so far, in order with the transcript.

    What the model says is timed by it, so that the words a caller heard can be told from those that were cut.
    """

    response_id: str
    item_id: str
    content_index: ContentIndex
    audio_ms: int


class PlaybackStarted(_Report, frozen=True, kw_only=True, tag="playback_started"):
    """The caller begins to hear this item."""

    response_id: str
    item_id: str
    content_index: ContentIndex


class PlaybackFinished(_Report, frozen=True, kw_only=True, tag="playback_finished"):
    """The caller has heard this item to its end."""

    response_id: str
    item_id: str
    content_index: ContentIndex
    audio_ms: int


class PlaybackInterrupted(_Report, frozen=True, kw_only=True, tag="playback_interrupted"):
    """Audio was taken back from the caller. Truncates for `cuts` have been sent to the model already."""

    cuts: tuple[ItemCut, ...]
    by: str  # "speech": the caller spoke; "program": `interrupt()` was called; "end": the caller hung up (no truncates)


class DtmfReceived(_Report, frozen=True, kw_only=True, tag="dtmf_received"):
    """The caller pressed a key: 0-9, *, #, A-D."""

    digit: str


class ModelConnected(_Report, frozen=True, kw_only=True, tag="model_connected"):
    """A socket to a model is open; `attempt` counts from 1 over the life of the transport."""

    attempt: int


class SpareReady(_Report, frozen=True, kw_only=True, tag="spare_ready"):
    """A second model session is open beside the running one (`rotate()` asked for it) and waits for `switch()`.

    `expires_at`: when the model will end it, Unix seconds, if it has said so.
    """

    expires_at: float | None = None


class ModelLost(_Report, frozen=True, kw_only=True, tag="model_lost"):
    """The model's socket closed or broke. `retryable` is False where a new connection would be refused as well."""

    message: str
    code: int | str | None = None
    retryable: bool = True


class TransportClosed(_Report, frozen=True, kw_only=True, tag="transport_closed"):
    """The last event of a transport: the caller hung up, or `close()` was called. Reported exactly once."""

    reason: str


class TransportProblem(_Report, frozen=True, kw_only=True, tag="transport_problem"):
    """Something was wrong and survived: a malformed message, audio beyond a limit. For logs and error events."""

    message: str
    where: str = ""


TransportReport: TypeAlias = (
    AudioReceived
    | PlaybackStarted
    | PlaybackFinished
    | PlaybackInterrupted
    | DtmfReceived
    | ModelConnected
    | SpareReady
    | ModelLost
    | TransportClosed
    | TransportProblem
)
TransportEvent: TypeAlias = ServerEvent | TransportReport
TransportListener: TypeAlias = Callable[[TransportEvent], None]


class RealtimeTransport(Protocol):
    """What a session needs of a transport.

    `listener` is called synchronously, on the event loop, from the socket's own callback: it must return at once and
    must not raise. Events arrive in order; `TransportClosed` is the last.
    """

    @property
    def plays_audio(self) -> bool:
        """True when the transport plays the model's audio itself and reports `Playback*`."""
        ...

    @property
    def session_config(self) -> dict[str, Any]:
        """What every `session.update` on this transport must carry, above all both audio formats, shaped as in
        `RealtimeSessionCreateRequest`: `{"audio": {"input": {"format": …}, "output": {"format": …}}}`."""
        ...

    async def connect(self, listener: TransportListener, *, session: dict[str, Any]) -> None:
        """Open the model's socket, send `session` as the first `session.update`, and wait until it is confirmed.

        Raises TransportError when the model cannot be reached, refuses, or does not answer in time. Later, a lost socket
        is replaced by the transport itself: it reports `ModelLost`, then `ModelConnected`, whereupon the session tells
        the fresh model everything and calls `resume()`; or, when it gives up, `ModelLost` with `retryable` False.
        """
        ...

    def send(self, event: ClientEvent) -> None:
        """Send one client event to the model, without waiting. Ignored while no model is connected, with a report, and
        after TransportClosed, without one."""
        ...

    def send_audio(self, audio: bytes) -> None:
        """Caller audio from the program, in the session's input format. Transports with a caller of their own refuse it
        (MisuseError)."""
        ...

    def interrupt(self) -> None:
        """Stop the reply now: cancel what is being generated, take back what is unheard, truncate it at the model."""
        ...

    def discard(self, response_id: str) -> None:
        """Play nothing more of this response: what is not with the player yet and what still comes is dropped.

        For a reply that was cancelled before it began. Other responses' audio is left alone.
        """
        ...

    def hold_back(self, budget_ms: int) -> None:
        """Before `connect`: keep each piece of the model's audio until `release` lets it go, at most `budget_ms`."""
        ...

    def release(self, item_id: str, content_index: int, audio_ms: int | None) -> None:
        """Let this item's audio go to the caller up to `audio_ms` (None: all of it, and what still comes)."""
        ...

    def rotate(self) -> None:
        """Open a second model session beside the running one and report SpareReady; give it up quietly if it fails."""
        ...

    def switch(self) -> None:
        """From now on the spare session is the model: `send` goes there, nothing comes from the old one any more.

        The caller's audio is held, as after a lost socket, until `resume()`; what plays, plays on.
        """
        ...

    def resume(self) -> None:
        """The fresh model session (after a lost socket, or after `switch`) has its configuration and the conversation:
        the caller's audio that was held flows to it now, and all that follows."""
        ...

    def set_muted(self, muted: bool) -> None:
        """While muted, the model hears silence instead of the caller."""
        ...

    async def close(self, reason: str = "closed by the program") -> None:
        """End in order, at most a few seconds; idempotent."""
        ...
