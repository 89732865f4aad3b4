"""The far end of a simulated call, whole: a phone, the caller who holds it, and the network on the way to it.

Pure. `telephony.testing.caller` joins it to a real server's socket, `telephony.testing.virtual_call` to a server's inside
in virtual time.

    for frame in far_end.advance(now): give it to the server       # at far_end.next_event_at() at the latest
    far_end.receive(frame, now)                                    # whenever the server sends something
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from telephony.testing.network import Link
from telephony.testing.phone import SimulatedPhone
from telephony.testing.script import ScriptedCaller, Step
from telephony.twilio.messages import BinaryFrameError, MediaStreamError


@dataclass(frozen=True, slots=True)
class _Closed:
    """The server closed the connection."""

    why: str


class FarEnd:
    """One call, whose stream begins now. Methods must be called in order of time (seconds, monotonic).

    `problems`: frames that the phone could not accept.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        phone: SimulatedPhone | None = None,
        parameters: dict[str, str] | None = None,
        to_server: Link | None = None,
        to_phone: Link | None = None,
        now: float,
    ) -> None:
        """`parameters`: the TwiML's. `to_server`, `to_phone`: the network's delays, none by default."""
        self.phone = phone or SimulatedPhone()
        self._to_server = to_server or Link()
        self._to_phone = to_phone or Link()
        self._outgoing: deque[tuple[float, bytes]] = deque()  # (when it reaches the server, frame)
        self._incoming: deque[tuple[float, str | bytes | _Closed]] = deque()  # (when it reaches the phone, frame)
        self.problems: list[str] = []
        self._send(self.phone.start(now, parameters), now)
        self.caller = ScriptedCaller(steps, self.phone)

    @property
    def is_over(self) -> bool:
        """The call has ended, and all that the phone sent has reached the server."""
        return self.phone.ended_at is not None and not self._outgoing

    def receive(self, frame: str | bytes, now: float) -> None:
        """The server sends a frame, text as `str`; it reaches the phone when the network lets it."""
        self._incoming.append((self._to_phone.arrival(now), frame))

    def close(self, why: str, now: float) -> None:
        """The server closes the connection, behind all it has sent."""
        self._incoming.append((self._to_phone.arrival(now), _Closed(why)))

    def advance(self, now: float) -> list[bytes]:
        """All that happens up to now. Returns the frames that have reached the server, in order."""
        while self._incoming and self._incoming[0][0] <= now:
            self._hear(*self._incoming.popleft())
        self.caller.advance(now)
        self._send(self.phone.advance(now), now)
        arrived = []
        while self._outgoing and self._outgoing[0][0] <= now:
            arrived.append(self._outgoing.popleft()[1])
        return arrived

    def next_event_at(self) -> float | None:
        """When `advance` is due; None: only when the server sends something."""
        due = [queue[0][0] for queue in (self._outgoing, self._incoming) if queue]
        if (at := self.phone.next_event_at()) is not None:
            due.append(at)
        return min(due, default=None)

    def cut_off(self, why: str, now: float) -> None:
        """The connection is gone: the call has ended, by its script or not, and nothing is on its way any more."""
        self._outgoing.clear()
        if self.phone.ended_at is None:
            self.phone.cut_off(now)
            self.caller.give_up(why)

    def _hear(self, at: float, frame: str | bytes | _Closed) -> None:
        if isinstance(frame, _Closed):
            self.cut_off(frame.why, at)
            return
        try:
            if isinstance(frame, bytes):
                raise BinaryFrameError("media streams are text frames only (error 31950)")
            self.phone.receive(frame, at)
        except MediaStreamError as e:
            self.problems.append(str(e))

    def _send(self, frames: list[bytes], now: float) -> None:
        self._outgoing.extend((self._to_server.arrival(now), frame) for frame in frames)
