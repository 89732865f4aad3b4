"""One simulated call, from either side: its state and books, and how tests watch it.

    call = await twilio.ring("+15550100", "+15550199", steps=["Hello?", WaitForAgent(), HangUp()])
    await call.until_said("All our lines are busy")
    await call.until_status("completed")
    call.heard.mulaw, call.heard.audible, call.webhooks, call.history, call.streams

What a call does is in `interpreter` (TwiML) and `dialling` (from the first ring to the answer).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, Literal, TypeAlias

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Recognizer
from telephony.testing.script import ScriptedCaller
from telephony.testing.twilio.exchange import Exchange
from telephony.testing.twilio.line import Heard, Line
from telephony.testing.twilio.media import MediaStream
from telephony.testing.twilio.people import MachineRun, Person, begin, digits_of
from telephony.testing.twilio.records import FINAL_STATUSES, Alert, Executed, Recording, StatusChange, Webhook
from telephony.testing.twilio.sound import RATE, mix, silence
from telephony.testing.twilio.voices import words_of
from telephony.testing.twilio.webhooks import WebhookError

Direction = Literal["inbound", "outbound-api", "outbound-dial"]
Calls: TypeAlias = "dict[str, SimulatedCall]"  # by SID, in the order they came to be

WAIT_S: Final = 60.0  # of the `until` methods
UTTERANCE_PAUSE_S: Final = 0.6  # shorter pauses are within an utterance
TIME_LIMIT_S: Final = 4 * 3600.0  # of a call, unless it has one of its own
_EVENT_OF: Final = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}


@dataclass(frozen=True, slots=True)
class Callback:
    """Where progress is told. `events`: initiated, ringing, answered, completed."""

    url: str
    method: str = "POST"
    events: frozenset[str] = frozenset({"completed"})


@dataclass(frozen=True, slots=True)
class RecordingWish:
    """Record the call. `dual`: both sides apart."""

    callback: str = ""
    method: str = "POST"
    dual: bool = False


@dataclass(slots=True, eq=False, repr=False)
class SimulatedCall:
    """One leg. Times are of `time.monotonic`; `created`, `started` and `ended` are the wall clock's, as REST tells them."""

    exchange: Exchange
    calls: Calls  # all on this exchange; the new call enters itself
    from_: str
    to: str
    direction: Direction
    person: Person
    callback: Callback | None = None
    parent: SimulatedCall | None = None
    time_limit_s: float = TIME_LIMIT_S
    recording_wish: RecordingWish | None = None
    number_sid: str = ""
    sid: str = ""
    status: str = ""
    history: list[StatusChange] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    executed: list[Executed] = field(default_factory=list)
    streams: list[MediaStream] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    children: list[SimulatedCall] = field(default_factory=list)
    line: Line | None = None
    run: ScriptedCaller | MachineRun | None = None  # what the person does
    on_redirect: Callable[[], None] | None = None  # called when REST gives this leg a program of its own
    detached: bool = False  # from the <Dial> that made it: it lives on when that ends
    answered_by: str = ""
    sip_code: int = 200
    queue_s: float = 0.0
    answered_at: float | None = None
    ended_at: float | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    ended: datetime | None = None
    failure: Exception | None = None  # what a mistake in a script, or here, raised; `until` raises it again
    _sequence: int = 0
    _program: asyncio.Task[None] | None = None
    _limit: asyncio.TimerHandle | None = None
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)
    _ending: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sid = self.sid or self.exchange.new_sid("CA")
        self.calls[self.sid] = self
        if self.parent is not None:
            self.parent.children.append(self)

    def __repr__(self) -> str:
        return f"<{self.direction} call {self.sid} from {self.from_} to {self.to}: {self.status}>"

    # ---- for tests -----------------------------------------------------------------------------------------------------

    @property
    def heard(self) -> Heard:
        """What the person on this leg has heard. Raises MisuseError before the call is answered."""
        return self.live_line.heard

    @property
    def live_line(self) -> Line:
        if self.line is None:
            raise MisuseError(f"the call has not been answered: its status is {self.status}")
        return self.line

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def stream(self) -> MediaStream:
        """The latest media stream. Raises MisuseError when there was none."""
        if not self.streams:
            raise MisuseError("the call has had no media stream")
        return self.streams[-1]

    @property
    def message(self) -> bytes:
        """What an answering machine has recorded, as mu-law. Raises MisuseError where nobody has one."""
        if not isinstance(self.run, MachineRun):
            raise MisuseError("no answering machine has answered this call")
        return self.run.message

    @property
    def alerts(self) -> list[Alert]:
        return [alert for alert in self.exchange.ledger.alerts if alert.call_sid == self.sid]

    @property
    def verbs(self) -> list[str]:
        """The TwiML verbs that were begun, in order."""
        return [executed.verb for executed in self.executed]

    def sent(self, kind: str) -> list[Webhook]:
        """The webhooks of this kind that this call has sent."""
        return [webhook for webhook in self.webhooks if webhook.kind == kind]

    async def words(self, *, since: float = float("-inf"), recognizer: Recognizer | None = None) -> str:
        """What the person has heard, in words, whoever said it; a line for each utterance. `since`: of the monotonic clock.

        Offline recognition, right in some nineteen of twenty words. Raises MisuseError without the [local] extra, unless
        another `recognizer` is given.
        """
        heard = self.heard
        utterances: list[tuple[float, float]] = []
        for span in heard.audible:
            if span.end <= since:
                continue
            if utterances and span.start - utterances[-1][1] < UTTERANCE_PAUSE_S:
                utterances[-1] = (utterances[-1][0], span.end)
            else:
                utterances.append((max(span.start, since), span.end))
        sounds = [heard.heard(start - 0.1, round((end - start + 0.2) * RATE)) for start, end in utterances]
        lines = [await asyncio.to_thread(words_of, sound, recognizer) for sound in sounds]
        return "\n".join(line for line in lines if line)

    async def until(self, condition: Callable[[], object], what: str = "that", timeout_s: float = WAIT_S) -> None:
        """Wait until this is so; looked at whenever something happens. Raises TimeoutError, which says how things are."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self.failure is not None:
                        raise self.failure
                    waiting = loop.create_future()
                    self._waiting.append(waiting)
                    await waiting
        except TimeoutError:
            said = [said.text for said in self.line.heard.said] if self.line is not None else []
            raise TimeoutError(
                f"no {what} within {timeout_s:g} s: the call is {self.status}, its verbs {self.verbs}, "
                f"alerts {[alert.message for alert in self.alerts]}, the person was told {said}"
            ) from None

    async def until_status(self, *statuses: str, timeout_s: float = WAIT_S) -> str:
        """Wait until the call has, or has had, one of these; returns which."""

        def had() -> list[str]:
            return [change.status for change in self.history if change.status in statuses]

        await self.until(had, f"status {' or '.join(statuses)}", timeout_s)
        return had()[0]

    async def until_said(self, text: str, timeout_s: float = WAIT_S) -> None:
        """Wait until Twilio has begun to say this to the person, case aside."""
        await self.until(lambda: self.line is not None and self.line.heard.says(text), f"word of {text!r}", timeout_s)

    async def until_heard(self, seconds: float = 0.1, *, since: float | None = None, timeout_s: float = WAIT_S) -> None:
        """Wait until the person has heard sound for so long in all. `since`: of the monotonic clock; the answer."""

        def enough() -> bool:
            spans = self.line.heard.audible if self.line is not None else []
            start = since if since is not None else float("-inf")
            return sum(max(0.0, span.end - max(span.start, start)) for span in spans) >= seconds

        await self.until(enough, f"{seconds:g} s of sound", timeout_s)

    async def until_silent(self, seconds: float = 0.6, timeout_s: float = WAIT_S) -> None:
        """Wait until something was heard, and then nothing for so long."""

        def silent() -> bool:
            spans = self.line.heard.audible if self.line is not None else []
            return bool(spans) and time.monotonic() - spans[-1].end >= seconds

        await self.until(silent, f"{seconds:g} s of silence", timeout_s)

    async def until_stream(self, timeout_s: float = WAIT_S) -> MediaStream:
        """Wait for a media stream that has started and not ended."""

        def streams() -> bool:
            return bool(self.streams) and self.streams[-1].started_at is not None and self.streams[-1].ended_at is None

        await self.until(streams, "media stream", timeout_s)
        return self.streams[-1]

    async def until_webhook(self, kind: str, timeout_s: float = WAIT_S, **fields: str) -> Webhook:
        """Wait until a webhook of this kind with these fields has been answered, or has failed."""

        def found() -> list[Webhook]:
            return [w for w in self.sent(kind) if fields.items() <= w.form.items() and (w.status or w.error)]

        await self.until(found, f"{kind} webhook {fields or ''}", timeout_s)
        return found()[0]

    async def say(self, speech: str | bytes) -> None:
        """The person says this, after what they are saying: text, or mu-law. Returns when it has been said."""
        mulaw = speech if isinstance(speech, bytes) else await self.exchange.speech(speech)
        line = self.live_line
        behind_s = time.monotonic() - line.next_frame_at  # of a busy loop: words are not spoken into the past
        if behind_s > 0:
            line.speak(silence(behind_s * 1000))
        _, end = line.speak(mulaw)
        await self.until(lambda: self.is_over or time.monotonic() >= end, "end of speech", end - time.monotonic() + 5)

    async def press(self, digits: str, pause_s: float = 0.15) -> None:
        """The person presses keys."""
        for digit in digits_of(digits):
            self.live_line.press(digit, time.monotonic())
            await asyncio.sleep(pause_s)

    def hang_up(self) -> None:
        """The person hangs up; before the answer, a caller gives up."""
        self.finish("completed" if self.answered_at is not None else "no-answer")

    # ---- life ----------------------------------------------------------------------------------------------------------

    def start(self, program: Coroutine[Any, Any, None]) -> None:
        """Run this from now on, instead of what is running."""
        if self.on_redirect is not None:
            self.detached = True
            self.on_redirect()
        if self._program is not None and self._program is not asyncio.current_task():
            self._program.cancel()
        self._program = self.exchange.spawn(program)

    def set_status(self, status: str, *, callbacks: bool = True) -> None:
        self.status = status
        self.history.append(StatusChange(status, time.monotonic()))
        event = _EVENT_OF.get(status, "completed")
        if callbacks and self.callback is not None and event in self.callback.events and status != "queued":
            self._tell_status(self.callback)
        self.news()

    def answer(self) -> Line:
        """The person and Twilio are connected from now on; once."""
        if self.line is not None:
            return self.line
        now = time.monotonic()
        self.answered_at, self.started = now, datetime.now(UTC)
        self.line = Line(now, on_hang_up=self.hang_up)
        self.set_status("in-progress")
        self.run = begin(self.person, self.line, self.exchange.voice)
        loop = asyncio.get_running_loop()
        self._limit = loop.call_later(self.time_limit_s, self.finish, "completed")
        self.exchange.pacer.add(self.line.next_frame_at, self._step)
        return self.line

    def finish(self, status: str, *, callbacks: bool = True) -> None:
        """The leg is over; once."""
        if self.is_over:
            return
        self.ended_at, self.ended = time.monotonic(), datetime.now(UTC)
        if self._limit is not None:
            self._limit.cancel()
        for end in self._ending:
            end()
        if self._program is not None and self._program is not asyncio.current_task():
            self._program.cancel()
        if self.recording_wish is not None and self.line is not None and callbacks:
            self._keep_recording(self.recording_wish, self.line)
        self.set_status(status, callbacks=callbacks)

    def fail(self, error: Exception) -> None:
        """A script of the test's, or this simulator, has a mistake: the call is over, and `until` raises it."""
        self.failure = error
        self.finish("failed")

    def at_end(self, end: Callable[[], None]) -> Callable[[], None]:
        """Call this when the leg is over; returns what takes it back."""
        self._ending.append(end)

        def forget() -> None:
            if end in self._ending:
                self._ending.remove(end)

        return forget

    def news(self) -> None:
        """Something has happened: whoever waits looks again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _step(self, at: float) -> float | None:
        """The line's next 20 ms; returns when those after it are due."""
        if self.is_over:
            return None
        line = self.live_line
        try:
            line.advance(at)
        except Exception as e:  # noqa: BLE001 - whatever a script raises belongs to its call, not to the other lines
            self.fail(e)
        self.news()
        return line.next_frame_at

    # ---- webhooks ------------------------------------------------------------------------------------------------------

    def form(self, **extra: str) -> dict[str, str]:
        """The fields that each webhook about this call has."""
        fields = {
            "AccountSid": self.exchange.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self.sid,
            "CallStatus": self.status,
            "Called": self.to,
            "Caller": self.from_,
            "Direction": self.direction,
            "From": self.from_,
            "To": self.to,
            **self.person.carrier,
        }
        if self.parent is not None:
            fields["ParentCallSid"] = self.parent.sid
        if self.answered_by:
            fields["AnsweredBy"] = self.answered_by
        return {**fields, **extra}

    async def ask(self, kind: str, url: str, method: str, form: dict[str, str]) -> Webhook:
        """Send a webhook of this call; returns it with its answer. Raises WebhookError.

        Whoever waits for the answer may be cancelled, by a hang-up, say; the request goes on, as Twilio's do.
        """
        request = self.exchange.spawn(self.exchange.webhooks.request(kind, url, method, form, self.webhooks))
        request.add_done_callback(lambda _: self.news())
        return await asyncio.shield(request)

    def tell(self, kind: str, url: str, method: str, form: dict[str, str], delay_s: float = 0.0) -> None:
        """Send a webhook whose answer means nothing; a failure is an alert."""

        async def send() -> None:
            await asyncio.sleep(delay_s)
            try:
                await self.ask(kind, url, method, form)
            except WebhookError as e:
                self.exchange.alert(int(e.code or 0), str(e), self.sid)
                self.news()

        self.exchange.spawn(send())

    def _tell_status(self, callback: Callback) -> None:
        extra = {
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
            "Timestamp": format_datetime(datetime.now(UTC)),
        }
        self._sequence += 1
        if self.is_over:
            seconds = self.duration_s
            extra |= {"CallDuration": str(seconds), "Duration": str(-(-seconds // 60))}
            extra["SipResponseCode"] = str(self.sip_code)
        self.tell("status", callback.url, callback.method, self.form(**extra), self.exchange.timing.status_delay)

    @property
    def duration_s(self) -> int:
        """Whole seconds from the answer to the end; 0 for calls that were not answered, or go on."""
        if self.answered_at is None or self.ended_at is None:
            return 0
        return max(1, round(self.ended_at - self.answered_at))

    def _keep_recording(self, wish: RecordingWish, line: Line) -> None:
        sides = (bytes(line.spoken), bytes(line.heard.mulaw))
        length = min(len(side) for side in sides)
        sides = (sides[0][:length], sides[1][:length])
        channels = sides if wish.dual else (mix(list(sides)),)
        self.keep_recording(Recording(self.exchange.new_sid("RE"), self.sid, "OutboundAPI", line.started_at, channels))
        if wish.callback:
            self.tell("recording", wish.callback, wish.method, self.recording_form(self.recordings[-1]))

    def keep_recording(self, recording: Recording) -> None:
        recording.status = "completed"
        self.recordings.append(recording)
        self.exchange.ledger.recordings[recording.sid] = recording

    def recording_form(self, recording: Recording) -> dict[str, str]:
        """What a recording's callback tells."""
        return {
            "AccountSid": self.exchange.account_sid,
            "CallSid": self.sid,
            "RecordingSid": recording.sid,
            "RecordingUrl": self.recording_url(recording),
            "RecordingStatus": recording.status,
            "RecordingDuration": str(recording.duration_s),
            "RecordingChannels": str(len(recording.mulaw)),
            "RecordingSource": recording.source,
        }

    def recording_url(self, recording: Recording) -> str:
        exchange = self.exchange
        return f"{exchange.base_url}/2010-04-01/Accounts/{exchange.account_sid}/Recordings/{recording.sid}"
