"""CallControl: the steering of one live call, for agents' tools, for operators and for the call's own limits.

How it is wired, by whoever answers calls:

    transfers = Transfers()                                           # one a process: for the webhooks of warm transfers
    control = CallControl(transport, details, rest=rest, settings=settings, transfers=transfers)
    context = PhoneContext(details=details, control=control, …)       # tools find it as context.context.control
    session = RealtimeSession(agent, transport=transport, context=context, …)
    control.attach(session)                                           # before the session is entered
    async with session: …                                             # it steers from the session's first event on
    await control.close()                                             # after the session's end, before the call's record
    control.ending                                                    # why the call ended, where it was steered to its end

What is decided, and when, lies in pure machines (`ending`, `transfer`, `silence`, `length`, `digits`, `utterance`); this
feeds them with the session's events and with time, and carries out what they say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from math import inf
from typing import Any

from realtime_bridge.alarm import Alarm
from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session import events
from realtime_bridge.session.items import Role
from realtime_bridge.wire import server
from telephony import tones
from telephony.call_details import CallDetails
from telephony.steering.activity import Activity
from telephony.steering.control_keys import KeyDesk
from telephony.steering.control_recording import RecordingDesk
from telephony.steering.control_settings import ControlSettings
from telephony.steering.control_speech import SpeechDesk
from telephony.steering.control_transfer import TransferDesk, TransferRest
from telephony.steering.ending import Command, Do, Ending, HangUp, SayWords
from telephony.steering.length import CallLength
from telephony.steering.machine_message import MachineMessage
from telephony.steering.silence import Prompt, SilencePolicy
from telephony.steering.transfer import TRANSFERRED, TransferResult, not_possible
from telephony.steering.transfers import Transfers
from telephony.transport import TwilioTransport
from telephony.twilio.rest_errors import TwilioRestError

log = logging.getLogger(__name__)

HEARD_S_MAX = 15.0  # past the time at which all that was sent must have been heard
BEFORE_HOLD_S_MAX = 10.0
CLOSE_S_MAX = 5.0
SAY_CHARS_MAX = 2000

_WITHDRAWN = "The caller spoke before your goodbye was over, so the call goes on. Hang up again when it is time."


class CallControl:
    """One call's steering. Everything on it is bounded in time and safe to call at any moment, also after the end."""

    def __init__(
        self,
        transport: TwilioTransport,
        details: CallDetails,
        *,
        rest: TransferRest | None = None,
        settings: ControlSettings | None = None,
        transfers: Transfers | None = None,
    ) -> None:
        """`rest` None: there is no way to Twilio's API; a hang-up closes the stream, and transfers are refused. `transfers`
        None, or no `public_url` in the settings: warm transfers are."""
        self.details = details
        self.settings = settings = settings or ControlSettings()
        self.ending: str | None = None  # why we ended the call; None: we did not
        self._transport = transport
        self._rest = rest
        self._session: RealtimeSession | None = None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        now = self._clock()
        self._activity = Activity(now)
        self._silence = SilencePolicy(settings.silence)
        self._length = CallLength(settings.length, now)
        self._ending = Ending(
            goodbye=settings.goodbye,
            seconds_max=settings.goodbye_s_max,
            wait_s=settings.goodbye_wait_s,
            rest_s_max=settings.rest_s_max + 1.0,
        )
        self._hang_ups: set[asyncio.Future[bool]] = set()
        self._keys = KeyDesk(self, settings.digits)
        self._speech = SpeechDesk(self)
        self.recording = RecordingDesk(self, self._speech, settings.recording)
        self._hold_until: float | None = None
        self._free_since: float | None = now  # nothing of the steering's has been under way
        self._playing = 0  # pieces of our own audio that are being heard
        self._transfers = transfers
        self._desk = TransferDesk(self, details, settings, rest=rest, transfers=transfers)
        self._machine = MachineMessage(self)
        self._jobs: set[asyncio.Task[None]] = set()
        self._begun = False  # the session has told something: it can be asked to speak
        self._over = False
        self._alarm = Alarm(lambda: self._step(self._clock()))

    def attach(self, session: RealtimeSession) -> None:
        """Steer this session, on whose events all else depends. Once, before it is entered."""
        if self._session is not None:
            raise MisuseError("a control steers one session; make another one")
        self._session = session
        session.on(None, self._on_event)

    async def close(self) -> None:
        """The call is over: what is left to be done at Twilio's is done, or well under way. Idempotent."""
        self._line_over()
        until = self._clock() + CLOSE_S_MAX
        while (jobs := self._jobs - {asyncio.current_task()}) and self._clock() < until:
            await asyncio.wait(jobs, timeout=until - self._clock(), return_when=asyncio.FIRST_COMPLETED)
        if jobs:  # a request to Twilio, such as the one that ends the other call of a transfer; it has its own limits
            log.warning("call %s: %d steps of its steering take long", self.details.call_sid, len(jobs))

    # ---- what Twilio says ------------------------------------------------------------------------------------------------

    def transfer_asked(self, transfer_id: str, form: Mapping[str, str]) -> str | None:
        """A webhook about a transfer of this call: TwiML for the person's call. None: that transfer is over."""
        return None if self._transfers is None else self._transfers.answer(transfer_id, form)

    def transfer_told(self, transfer_id: str, form: Mapping[str, str]) -> None:
        """How the call to the person goes."""
        if self._transfers is not None:
            self._transfers.status(transfer_id, form)

    # ---- what agents and operators may do ----------------------------------------------------------------------------

    def begin_hang_up(self, request: HangUp) -> None:
        """End the call, without waiting for it; see `HangUp` and `ending`."""
        if self._over or self._session is None:
            return
        self._desk.caller_gone()
        self.take_line_back()
        self.recording.cannot_announce("the call was ended before the notice was over")
        now = self._clock()
        talks, answered = self._activity.agent_talks(now), self._activity.agent_has_answered
        self._end(self._ending.begin(request, now, talks=talks, has_answered=answered))

    async def hang_up(
        self,
        reason: str = "hung up by the agent",
        *,
        after_goodbye: bool = True,
        words: str | None = None,
        final: bool = False,
    ) -> bool:
        """End the call, and wait until it is over; False when the caller spoke into the goodbye, so that it goes on.

        `after_goodbye`: let the caller hear what the agent is saying, or these `words`, or a standard goodbye. `final`:
        the caller cannot hold it up. Takes `goodbye_s_max` and a few seconds at most.
        """
        if self._over:
            return True
        done: asyncio.Future[bool] = self._loop.create_future()
        self._hang_ups.add(done)
        self.begin_hang_up(HangUp(reason=reason, words=words, after_goodbye=after_goodbye, final=final))
        return await asyncio.shield(done)

    async def transfer(self, to: str, *, warm: bool = False, summary: str | None = None) -> TransferResult:
        """Pass the caller on to a person (E.164). Cold: Twilio dials, and the agent is gone.

        Warm: the caller is on hold while the person hears `summary` and decides; declined, unanswered or failed, the
        caller is with the agent again. Returns how it went; never raises for that.
        """
        if self._over or self._ending.in_progress:
            return not_possible("The call is ending.")
        return await self._desk.transfer(to, warm=warm, summary=summary or "")

    async def say(self, text: str, *, interrupt: bool = False) -> bool:
        """The agent says exactly this next, after what it is saying, or at once (`interrupt`). True: it was heard.

        Raises MisuseError for an empty or very long text.
        """
        if not 0 < len(text.strip()) <= SAY_CHARS_MAX:
            raise MisuseError(f"say: 1 to {SAY_CHARS_MAX} characters")
        return await self._speech.say(text, interrupt=interrupt, hear=True) == "said"

    async def play(self, mulaw: bytes, seconds_max: float | None = None) -> bool:
        """The caller hears this recording (mu-law, 8 kHz) after what the agent is saying. True: to its end."""
        if self._over:
            return False
        ahead_s = max(0.0, self._transport.plays_until() - self._clock()) + len(mulaw) / 8000
        over = self._transport.play(mulaw)
        self._playing += bool(mulaw)
        try:
            async with asyncio.timeout(min(ahead_s + HEARD_S_MAX, seconds_max or inf)):
                return await asyncio.shield(over)
        except TimeoutError:
            return False
        finally:
            self._playing -= bool(mulaw)
            self.rearm()

    async def press(self, digits: str) -> bool:
        """Press keys, as tones the far end hears: 0-9 * # A-D, `w` or `,` for half a second of pause, `W` for a whole.

        Raises MisuseError for others.
        """
        return await self.play(tones.keypad_tones(digits))

    async def collect_digits(
        self,
        *,
        digits_max: int = 16,
        timeout_s: float = 10.0,
        terminator: str = "#",
        pause_s: float | None = None,
        secret: bool = False,
    ) -> str:
        """The keys that the caller presses next, which the model is not told of: up to `digits_max`, or the terminator
        (which is left out), or until no key comes for `pause_s`. "" when none comes within `timeout_s` of the agent's
        last word. `secret`: nothing is recorded meanwhile. Raises MisuseError while other keys are being waited for.
        """
        if self._over:
            return ""
        with self.recording.secret(secret):
            return await self._keys.collect(
                digits_max=digits_max, timeout_s=timeout_s, terminator=terminator, pause_s=pause_s
            )

    async def hold(self) -> None:
        """Put the caller on hold, once what the agent is saying has been heard; `hold_s_max` at most."""
        if not self._over and self._hold_until is None:
            await self.all_heard(BEFORE_HOLD_S_MAX)
            self.hold_line()

    async def resume(self) -> None:
        """Take the caller off hold; a transfer that the caller waits for is called off."""
        self._desk.withdraw()
        if not self._desk.in_progress:
            self.take_line_back()

    async def mute(self, muted: bool = True) -> None:
        """While muted, the model hears silence instead of the caller, who is not asked why they are silent."""
        self._activity.muted["caller"] = muted
        self.rearm()
        if self._session is not None and not self.recording.announces:
            await self._session.mute(muted)

    async def mute_agent(self, muted: bool = True) -> None:
        """While muted, the caller hears nothing of the agent; what it says is not heard later either."""
        self._activity.muted["agent"] = muted
        self.rearm()
        self._transport.mute_agent(muted)

    async def machine_detected(self, answered_by: str) -> None:
        """Answering-machine detection has come to a result (`AnsweredBy`); see `MachineSettings`."""
        await self._machine.detected(answered_by)

    async def leave_message(
        self, message: str | bytes, *, announcement_over: bool = True, pause_s: float = 0.0
    ) -> None:
        """Say this to an answering machine (text, or mu-law to play), and hang up when it is on it.

        `announcement_over` False: wait until the machine has been silent for a while. `pause_s`: wait so long first.
        """
        if not self._over:
            self._silence.switch_off()
            self.recording.cannot_announce("an answering machine answered")
            await self._machine.leave(message, announcement_over=announcement_over, pause_s=pause_s)

    # ---- for tools, transfers and messages: what the steering is made of -----------------------------------------------

    @property
    def over(self) -> bool:
        return self._over

    @property
    def on_hold(self) -> bool:
        return self._hold_until is not None

    def caller_quiet_s(self) -> float:
        """How long the far end has been silent."""
        now = self._clock()
        return 0.0 if self._activity.caller_speaks(now) else now - self._activity.caller_spoke_at

    async def interrupt(self) -> None:
        if self._session is not None and not self._over:
            await self._session.interrupt()

    async def all_heard(self, seconds_max: float | None = None) -> bool:
        """Wait until the caller has heard all that was sent so far. False: not, or not for certain."""
        return await self.play(b"", seconds_max)

    def when_heard(self, then: Callable[[], None]) -> None:
        async def wait() -> None:
            await self.all_heard()
            then()

        self.in_background(wait())

    def hear_caller(self, heard: bool) -> None:
        self._transport.set_muted(not heard or self._activity.muted["caller"])

    def hold_line(self) -> None:
        if self._hold_until is None and not self._over:
            self._transport.hold(tones.hold_music() if self.settings.hold_sound == "music" else b"")
        self._hold_until = self._clock() + self.settings.hold_s_max
        self.rearm()

    def take_line_back(self) -> None:
        if self._hold_until is not None:
            self._hold_until = None
            self._transport.end_hold()
            self.rearm()

    def transferred(self) -> None:
        """The caller has been passed on; the end of our stream is no hang-up."""
        self.ending = TRANSFERRED
        if self._transfers is not None and self._session is not None:
            self._transfers.caller_leaves(self.details.call_sid, self._session.history)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        job = self._loop.create_task(self._safely(work), name=f"steering of {self.details.call_sid}")
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _safely(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("call %s: a step of its steering has failed", self.details.call_sid)

    # ---- what happens in the call --------------------------------------------------------------------------------------

    def _on_event(self, event: events.SessionEvent) -> None:
        now = self._clock()
        if isinstance(event, events.SessionEnd):
            self._line_over()
            return
        if not self._begun:
            self._session_begins(now)
        self._speech.happened(event, now)
        self._keys.happened(event, now)
        changed = self._activity.handle(event, now)
        match event:
            case events.Dtmf():
                self._silence.caller_was_heard()
            case events.AudioInterrupted(by="speech"):
                self._end(self._ending.caller_spoke_into_it())
            case events.TransportEventSeen(event=server.InputAudioBufferSpeechStarted()):
                self._silence.caller_was_heard()
                if self._ending.before_its_words_are_out:
                    self._end(self._ending.caller_spoke_into_it())
        if changed or self._speech.waits:
            self._step(now)

    def _session_begins(self, now: float) -> None:
        self._begun = True
        if self._session is not None:
            self._speech.begin(self._session)
            self.recording.begin(self._session)
            before = () if self._transfers is None else self._transfers.said_before(self.details.call_sid)
            if before:
                self.in_background(self._session.update_history(lambda history: (*before, *history)))
        self._step(now)

    def _step(self, now: float) -> None:
        """All that is due."""
        if self._over or not self._begun:
            return
        self._speech.due(now)
        self.recording.due(now)
        self._desk.due(now)
        self._keys.due(now)
        if self._hold_until is not None and now >= self._hold_until and not self._desk.in_progress:
            self._hold_is_over()
        if self._ending.in_progress:
            if not self._activity.agent_talks(now):
                self._end(self._ending.fell_silent(has_answered=self._activity.agent_has_answered))
            self._end(self._ending.due(self._activity.agent_silent_since(now), now))
        self._policies(now)
        self.rearm()

    def _policies(self, now: float) -> None:
        length = self._length.due(now)
        if length == "warn":
            self.in_background(self._speech.say_surely(self.settings.length.warning))
        elif length == "end":
            self.begin_hang_up(HangUp(reason="the call's time was up", words=self.settings.length.goodbye, final=True))
        step = self._silence.due(self._still_since(now), now)
        if isinstance(step, Prompt):
            self.in_background(self._speech.say_surely(step.text, tries=1))
        elif step is not None:
            self.begin_hang_up(HangUp(reason="the caller was silent", words=step.text))

    def _still_since(self, now: float) -> float | None:
        """Since when the caller could have spoken, and nobody has."""
        steered = self.on_hold or self._desk.in_progress or self._ending.in_progress
        if steered or self._playing or self._keys.waited_for or self._speech.waits:
            self._free_since = None
            return None
        if self._free_since is None:
            self._free_since = now
        still_since = self._activity.still_since(now)
        return None if still_since is None else max(still_since, self._free_since)

    def rearm(self) -> None:
        """Set the timer for whatever comes next."""
        if self._over or not self._begun:
            return
        now = self._clock()
        deadlines = (
            self._silence.due_at(self._still_since(now)),
            self._length.next_deadline(),
            self._ending.next_deadline(self._activity.agent_silent_since(now)),
            self._activity.next_deadline(now),
            self._keys.next_deadline(),
            self._desk.next_deadline(),
            self._hold_until if self._hold_until is not None and not self._desk.in_progress else inf,
            self._speech.next_deadline(),
            self.recording.next_deadline(),
        )
        self._alarm.set(at if (at := min(deadlines)) < inf else None)

    def _hold_is_over(self) -> None:
        self.take_line_back()
        waited = f"The caller has waited on hold for {self.settings.hold_s_max:.0f} seconds and is back on the line."
        self.in_background(self._tell(f"{waited} Tell them how things stand.", respond=True))

    def stop_agent(self) -> None:
        """See `control_keys.Steering`."""
        if self._activity.agent_talks(self._clock()) and not (self._ending.in_progress or self.recording.announces):
            self.in_background(self.interrupt())

    def tell_as_caller(self, message: str) -> None:
        """See `control_keys.Steering`."""
        self.in_background(self._tell(message, role="user", respond=True))

    async def _tell(self, message: str, *, role: Role = "system", respond: bool) -> None:
        if self._session is not None and not self._over:
            await self._session.send_message(message, role=role, respond=respond)

    # ---- the end ---------------------------------------------------------------------------------------------------------

    def _end(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case SayWords(text=text):
                    self.in_background(self._say_goodbye(text))
                case Do.STOP_LISTENING:
                    self.in_background(self.mute())
                case Do.MARK:
                    self.when_heard(lambda: self._end(self._ending.heard(self._clock())))
                case Do.END_CALL:
                    assert self._ending.request is not None
                    self.ending = self._ending.request.reason
                    log.info("call %s: hanging up: %s", self.details.call_sid, self.ending)
                    self.in_background(self._end_call())
                case Do.CLOSE_STREAM:
                    self.in_background(self._transport.close(self.ending or "hung up"))
                case Do.WITHDRAW:
                    self._silence.go_on()
                    self._settle_hang_ups(ended=False)
                    self.in_background(self._tell(_WITHDRAWN, respond=False))
        if commands:
            self.rearm()

    async def _say_goodbye(self, text: str) -> None:
        await self._speech.say(text)
        self._end(self._ending.said())

    async def _end_call(self) -> None:
        by_twilio = False
        if self._rest is not None:
            try:
                async with asyncio.timeout(self.settings.rest_s_max):
                    await self._rest.update_call(self.details.call_sid, status="completed")
                by_twilio = True
            except (TransportError, TimeoutError) as e:
                by_twilio = isinstance(e, TwilioRestError) and e.kind == "over"
                if not by_twilio:
                    log.warning("call %s: Twilio did not end it, its stream is closed: %s", self.details.call_sid, e)
        self._end(self._ending.ended(self._clock(), by_twilio=by_twilio))

    def _settle_hang_ups(self, *, ended: bool) -> None:
        for done in self._hang_ups:
            if not done.done():
                done.set_result(ended)
        self._hang_ups.clear()

    def _line_over(self) -> None:
        """The stream is over, whoever ended it. Nobody is left waiting."""
        if self._over:
            return
        self._over = True
        self._alarm.cancel()
        self._ending.line_closed()
        self._desk.caller_gone()
        self._settle_hang_ups(ended=True)
        self._keys.end()
        self._speech.end()
        self.recording.end()
