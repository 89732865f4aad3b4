"""TwilioTransport: the async shell around one call's bridge.

It owns two sockets and one timer. A frame from either socket goes through the bridge in one synchronous call and out of
the other, in the socket's own callback; nothing else is ever in that path. There is one end: `_finish`, reached by
whatever comes first (hang-up, a broken socket, `close()`, a fault of ours) and idempotent.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from realtime_bridge.alarm import Alarm
from realtime_bridge.audio.transcode import AudioKind, transcoder
from realtime_bridge.errors import MisuseError, ProtocolError, TransportError
from realtime_bridge.transport.base import (
    ModelConnected,
    ModelLost,
    TransportClosed,
    TransportEvent,
    TransportListener,
    TransportProblem,
    TransportReport,
)
from realtime_bridge.transport.confirmation import Confirmation
from realtime_bridge.transport.model_link import LinkLimits, ModelLink
from realtime_bridge.transport.model_socket import OpenModel
from realtime_bridge.transport.websocket import refused
from realtime_bridge.wire import ClientEvent, ServerEvent, client, decode_server_event, server
from telephony.bridge import Bridge
from telephony.bridge_commands import Command, EndCall, ModelReady, ModelUnfit, Played, Report, ToModel, ToPhone
from telephony.bridge_inputs import (
    BridgeInput,
    Discard,
    EndHold,
    Hold,
    HoldBack,
    Interrupt,
    LineEnded,
    ModelGone,
    ModelSwitched,
    Mute,
    MuteAgent,
    Play,
    ProgramInput,
    Release,
    Resume,
    Tick,
)
from telephony.limits import ProblemGate
from telephony.playout import BYTES_PER_MS, PlayedSpan
from telephony.stream import PhoneLine
from telephony.twilio.messages import Dtmf, Mark, Media, Start, Stop

log = logging.getLogger(__name__)

READY_S_MAX = 10.0  # from an open socket to a confirmed session
_HUNG_UP = ModelLost(message="the caller hung up while the model was being reached", retryable=False)
EARLY_EVENTS_MAX = 1000
PLAY_MS_MAX = 180_000  # of audio of ours, at once
CLOSE_NORMAL, CLOSE_FAILED = 1000, 1011  # RFC 6455, section 7.4.1


class CallTap(Protocol):
    """Sees all that passes through a call's machine, as it passes: for recordings and measurements. Must not raise.

    `bridge_made` is told the machine first: to be copied, not to be fed.
    """

    def bridge_made(self, bridge: Bridge) -> None: ...
    def phone_message(self, message: Media | Dtmf | Mark | Stop, frame: bytes, now: float) -> None: ...
    def model_frame(self, frame: bytes, now: float) -> None: ...
    def program_input(self, event: ProgramInput | Tick, now: float) -> None: ...
    def command(self, command: ToPhone | ToModel, now: float) -> None: ...
    def played(self, spans: list[PlayedSpan], round_trip_ms: float) -> None: ...


class TwilioTransport:
    """One phone call as a `RealtimeTransport` for the session, and as a `PhoneCall` for the phone's socket.

    Make it when `start` has been accepted; give it to a `RealtimeSession`; it ends when the call does.
    """

    plays_audio = True

    def __init__(
        self,
        start: Start,
        line: PhoneLine,
        *,
        open_model: OpenModel,
        audio: AudioKind = "pcm",
        tap: CallTap | None = None,
        ready_s_max: float = READY_S_MAX,
        link_limits: LinkLimits | None = None,
    ) -> None:
        """`audio`: what the model speaks, PCM16 at 24 kHz or the phone's own mu-law."""
        self.call_sid = start.call_sid
        self.stream_sid = start.stream_sid
        self.custom_parameters = start.custom_parameters
        self._line = line
        self._tap = tap
        self._loop = asyncio.get_running_loop()
        self._transcoder = transcoder(audio)
        self._bridge = Bridge(start.stream_sid, self._transcoder, now=self._loop.time())
        if tap is not None:
            tap.bridge_made(self._bridge)
        self._link = ModelLink(open_model, on_frame=self._on_model_frame, report=self._on_report, limits=link_limits)
        self._confirmation = Confirmation(self._link.drop, seconds_max=ready_s_max)
        self._model_failed = False
        self._problems = ProblemGate()
        self._listener: TransportListener | None = None
        self._early: list[TransportEvent] = []  # what happened before the session listened
        self._playing: dict[str, asyncio.Future[bool]] = {}  # our own audio, by its id
        self._play_count = 0
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._finishing = False
        self.ended_in_order = False  # somebody has hung up; else the line or we have failed
        self._alarm = Alarm(self._on_time)
        self._alarm.set(self._bridge.next_deadline)

    # ---- for the session: RealtimeTransport ------------------------------------------------------------------------

    @property
    def session_config(self) -> dict[str, Any]:
        """Both audio formats; see `RealtimeTransport.session_config`."""
        return {"audio": {way: {"format": self._transcoder.model_format_json} for way in ("input", "output")}}

    async def connect(self, listener: TransportListener, *, session: dict[str, Any]) -> None:
        """See `RealtimeTransport.connect`. Raises TransportError also when the caller hangs up meanwhile."""
        if self._listener is not None:
            raise MisuseError("a transport connects once; make a new one")
        self._listen(listener)
        try:
            await self._open_link()
            self._confirmation.begin()
            self._program(client.SessionUpdate(session=session))
            await self._confirmation.first()
        except BaseException as e:
            self._model_failed = isinstance(e, TransportError)
            self._confirmation.stop()
            self._link.close_soon()
            raise

    async def _open_link(self) -> None:
        """Reach the model, but not beyond the end of the call."""
        opening = self._loop.create_task(self._link.open())
        try:
            either: list[asyncio.Future[Any]] = [opening, self._ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                raise TransportError(_HUNG_UP.message, retryable=False)
            opening.result()
        finally:
            opening.cancel()
            opening.add_done_callback(_look_at)

    def send(self, event: ClientEvent) -> None:
        if not self._link.is_up:
            self._tell(TransportProblem(message=f"{type(event).__name__} was not sent: no model is connected"))
            return
        self._program(event)

    def send_audio(self, audio: bytes) -> None:  # noqa: ARG002 - the protocol's signature
        raise MisuseError("a phone call has a caller of its own; the program cannot speak for them")

    def interrupt(self) -> None:
        self._program(Interrupt())

    def discard(self, response_id: str) -> None:
        self._program(Discard(response_id))

    def hold_back(self, budget_ms: int) -> None:
        self._program(HoldBack(budget_ms))

    def release(self, item_id: str, content_index: int, audio_ms: int | None) -> None:
        self._program(Release(item_id, content_index, audio_ms))

    def rotate(self) -> None:
        self._link.rotate(self.session_config)

    def switch(self) -> None:
        if self._link.switch():
            self._program(ModelSwitched())

    def resume(self) -> None:
        self._program(Resume())

    def set_muted(self, muted: bool) -> None:
        self._program(Mute(muted))

    async def close(self, reason: str = "closed by the program") -> None:
        if not self._ended.done():
            self.ended_in_order = not self._model_failed
        self._finish(reason, CLOSE_FAILED if self._model_failed else CLOSE_NORMAL)
        await self._link.close()

    async def wait_ended(self) -> str:
        """Wait until the call is over; returns why."""
        return await asyncio.shield(self._ended)

    def plays_until(self) -> float:
        """Loop time at which the caller will have heard everything said so far."""
        return self._bridge.plays_until(self._loop.time())

    # ---- for the steering of calls: our own audio, hold, mute --------------------------------------------------------------

    def play(self, mulaw: bytes) -> asyncio.Future[bool]:
        """Let the caller hear this (G.711 mu-law, 8 kHz), after what the agent is saying; no barge-in ends it.

        The future is done when it is over: True when the phone has said so, False when the call has ended before, or when
        only the clock tells (the phone echoes no marks). Without audio it tells when all up to here has been heard.
        Raises MisuseError for more than `PLAY_MS_MAX`.
        """
        if len(mulaw) > PLAY_MS_MAX * BYTES_PER_MS:
            raise MisuseError(f"at most {PLAY_MS_MAX / 1000:g} s of audio can be played at once")
        over: asyncio.Future[bool] = self._loop.create_future()
        if self._ended.done():
            over.set_result(False)
            return over
        self._play_count += 1
        audio_id = f"play_{self._play_count}"
        self._playing[audio_id] = over
        self._program(Play(audio_id, mulaw))
        return over

    def hold(self, loop: bytes = b"") -> None:
        """The caller waits and hears this, over and over; the model hears silence, and what the agent says is kept."""
        self._program(Hold(loop))

    def end_hold(self) -> None:
        """Caller and agent hear each other again; what the agent has said meanwhile is heard now."""
        self._program(EndHold())

    def mute_agent(self, muted: bool) -> None:
        """While muted, the caller hears nothing of the agent; what it says is not heard later either."""
        self._program(MuteAgent(muted))

    # ---- for the phone's socket: PhoneCall -----------------------------------------------------------------------------

    def on_message(self, message: Media | Dtmf | Mark | Stop, frame: bytes) -> None:
        now = self._loop.time()
        if self._tap is not None:
            self._tap.phone_message(message, frame, now)
        self._handle(message, now)

    def on_problem(self, problem: ProtocolError) -> None:
        self._tell(TransportProblem(message=f"the phone sent a bad message: {problem}", where=problem.where))

    def on_disconnect(self, reason: str) -> None:
        self._finish(reason)

    # ---- the model's socket ------------------------------------------------------------------------------------------

    def _on_model_frame(self, frame: bytes) -> None:
        now = self._loop.time()
        if self._tap is not None:
            self._tap.model_frame(frame, now)
        try:
            event = decode_server_event(frame)
        except ProtocolError as e:
            self._malformed(e, now)
            return
        if type(event) is server.ErrorEvent and not self._confirmation.had_first:
            self._confirmation.failed(refused(event))
        self._handle(event, now)

    def _malformed(self, problem: ProtocolError, now: float) -> None:
        passed, held_back = self._problems.let_pass(problem.where, now)
        if passed:
            more = f" ({held_back} like it were not reported)" if held_back else ""
            message = f"the model sent a malformed event: {problem}{more}"
            self._tell(TransportProblem(message=message, where=problem.where))

    def _on_report(self, report: TransportReport) -> None:
        if isinstance(report, ModelConnected) and self._confirmation.had_first:
            self._confirmation.begin()
        elif isinstance(report, ModelLost):
            if not self._confirmation.had_first:
                self._confirmation.failed(report)
                self._link.close_soon()
                return
            self._confirmation.stop()
            self._model_failed = not report.retryable
            self._program(ModelGone())
        self._tell(report)

    # ---- the bridge --------------------------------------------------------------------------------------------------

    def _program(self, event: ProgramInput) -> None:
        self._input(event, self._loop.time())

    def _input(self, event: ProgramInput | Tick, now: float) -> None:
        if self._tap is not None:
            self._tap.program_input(event, now)
        self._handle(event, now)

    def _handle(self, event: BridgeInput | ServerEvent, now: float) -> None:
        """One input through the machine. A fault of ours ends this call in order, and no other."""
        if self._ended.done():
            return
        try:
            self._carry_out(self._bridge.handle(event, now), now)
        except Exception:
            log.exception("the bridge failed on %s", type(event).__name__, extra={"call_sid": self.call_sid})
            self._finish("internal error", CLOSE_FAILED)
            return
        if not self._ended.done():
            self._alarm.set(self._bridge.next_deadline)

    def _carry_out(self, commands: list[Command], now: float) -> None:
        for command in commands:
            kind = type(command)
            if kind is ToModel:
                self._link.send(command.frame)  # type: ignore[union-attr]  # `kind` is exact and faster
                if self._tap is not None:
                    self._tap.command(command, now)  # type: ignore[arg-type]  # as above
            elif kind is ToPhone:
                self._line.send(command.frame)  # type: ignore[union-attr]  # as above
                if self._tap is not None:
                    self._tap.command(command, now)  # type: ignore[arg-type]  # as above
            elif kind is Report:
                self._tell(command.event)  # type: ignore[union-attr]  # as above
            else:
                self._do_rarely(command)

    def _do_rarely(self, command: Command) -> None:
        match command:
            case Played(audio_id=audio_id, echoed=echoed):
                self._over(audio_id, echoed)
            case ModelReady():
                self._confirmation.confirmed()
            case ModelUnfit(message=message):
                self._confirmation.failed(ModelLost(message=message, retryable=False))
            case EndCall(reason=reason):
                self.ended_in_order = True
                self._finish(reason)

    def _over(self, audio_id: str, heard: bool) -> None:
        over = self._playing.pop(audio_id, None)
        if over is not None and not over.done():
            over.set_result(heard)

    def _on_time(self) -> None:
        now = self._loop.time()
        self._input(Tick(), now)
        if self._tap is not None:  # at the tick's own time, which is the one that a replay knows
            self._tap.played(self._bridge.take_played(now), self._bridge.round_trip_ms)

    # ---- reports and the end -------------------------------------------------------------------------------------------

    def _listen(self, listener: TransportListener) -> None:
        self._listener = listener
        early, self._early = self._early, []
        for event in early:
            listener(event)

    def _tell(self, event: TransportEvent) -> None:
        if self._ended.done():
            return  # TransportClosed was the last
        if self._listener is not None:
            self._listener(event)
        elif len(self._early) < EARLY_EVENTS_MAX:
            self._early.append(event)

    def _finish(self, reason: str, code: int = CLOSE_NORMAL) -> None:
        """The one end of the call."""
        if self._ended.done() or self._finishing:
            return
        self._finishing = True
        self._program(LineEnded())
        self._ended.set_result(reason)
        self._alarm.cancel()
        for audio_id in tuple(self._playing):
            self._over(audio_id, heard=False)
        if self._tap is not None:
            self._tap.played(self._bridge.take_played(self._loop.time(), final=True), self._bridge.round_trip_ms)
            self._tap = None  # what comes from here on, the bridge does not take
        self._line.close(code, "")
        self._confirmation.give_up(_HUNG_UP)
        self._link.close_soon()
        closed = TransportClosed(reason=reason)
        if self._listener is None:
            self._early.append(closed)
        else:
            self._listener(closed)


def _look_at(task: asyncio.Task[None]) -> None:
    """asyncio complains about errors that nobody looked at."""
    if not task.cancelled():
        task.exception()
