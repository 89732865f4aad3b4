"""A simulated call in virtual time: straight into what answers calls, without a server, a socket or a real clock.

    result = run_virtual(place_virtual_call(switchboard.answer, [WaitForAgent(), Say(hello), WaitForAgent(), HangUp()]))

The call's parts are those of a real one, from the media stream's messages on. Left out are the webhook and the door:
signatures, tokens and limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from websockets.frames import CloseCode

from telephony.stream import AnswerCall, PhoneCall
from telephony.testing.far_end import FarEnd
from telephony.testing.network import Link
from telephony.testing.phone import SimulatedPhone
from telephony.testing.result import CallResult, conclude
from telephony.testing.script import Step
from telephony.twilio.media_stream import MediaStreamReader
from telephony.twilio.messages import Connected, MediaStreamError, Start


async def place_virtual_call(
    answer: AnswerCall,
    steps: Sequence[Step],
    *,
    phone: SimulatedPhone | None = None,
    parameters: dict[str, str] | None = None,
    to_server: Link | None = None,
    to_phone: Link | None = None,
) -> CallResult:
    """Begin a stream, follow the script, hang up; returns when the call is over and `answer`'s call has been told.

    `parameters`: the TwiML's. `to_server` and `to_phone` add the delays of a network; there are none by default, and
    computing takes no time either. A line that the server closes before the script's end is a `failure` of the result.
    Cancelled, it breaks the connection off.
    """
    now = asyncio.get_running_loop().time()
    far_end = FarEnd(steps, phone=phone, parameters=parameters, to_server=to_server, to_phone=to_phone, now=now)
    return await _Line(far_end, answer).run()


class _Line:
    """The connection between a far end and the call that answers it: a `PhoneLine`."""

    def __init__(self, far_end: FarEnd, answer: AnswerCall) -> None:
        self._far_end = far_end
        self._answer = answer
        self._reader = MediaStreamReader()
        self._call: PhoneCall | None = None
        self._closed = ""  # how the server closed it
        self._came = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time

    # --- PhoneLine

    def send(self, frame: bytes) -> None:
        if not self._closed:
            self._far_end.receive(frame.decode(), self._clock())
            self._came.set()

    def close(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = f"closed by this server: {code} {reason}".rstrip()
            self._far_end.close(f"the server closed the stream ({code})", self._clock())
            self._came.set()

    @property
    def unsent_bytes(self) -> int:
        return 0

    # --- the far end's side

    async def run(self) -> CallResult:
        ended = "the connection was lost"
        try:
            while not self._far_end.is_over:
                await self._step()
            ended = self._closed or f"closed by the phone: {CloseCode.NORMAL_CLOSURE.value}"
        finally:
            self._closed = ended
            if self._call is not None:
                self._call.on_disconnect(ended)
        return conclude(self._far_end.phone, self._far_end.caller, self._far_end.problems)

    async def _step(self) -> None:
        """What is due now, either way; then wait until something is again."""
        self._came.clear()
        for frame in self._far_end.advance(self._clock()):
            self._deliver(frame)
        if (at := self._far_end.next_event_at()) is not None:
            due = self._loop.call_at(
                at, self._came.set
            )  # cheaper than `asyncio.timeout_at`, and this runs 50 times a second
            try:
                await self._came.wait()
            finally:
                due.cancel()

    def _deliver(self, frame: bytes) -> None:
        if self._closed:
            return
        try:
            message = self._reader.receive(frame)
        except MediaStreamError as e:
            if self._call is not None:
                self._call.on_problem(e)
            return
        if isinstance(message, Start):
            self._call = self._answer(message, self)
        elif not isinstance(message, Connected):
            assert self._call is not None, "the reader lets nothing pass before `start`"
            self._call.on_message(message, frame)
