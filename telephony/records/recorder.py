"""Writes one call down while it goes on: the tape, the recording, and what call.json will say.

It sees what passes through the bridge (as its `CallTap`) and through the session's core (as its `SessionTap`) and what
the session tells (as a listener), and never slows or stops them: files are written in the background, and a disk that
fails ends the recording, not the call.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import platform
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import floor
from typing import Literal

import msgspec

from realtime_bridge.audio.transcode import AudioKind
from realtime_bridge.session import events
from realtime_bridge.session.commands import Command
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.journal import Record, encode_command, encode_record, hide_secrets_in_frame
from realtime_bridge.session.usage import Tokens
from realtime_bridge.tape import Source, TapeFile
from realtime_bridge.transport.base import PlaybackFinished, PlaybackInterrupted, PlaybackStarted
from realtime_bridge.wire import encode, server
from telephony.bridge_commands import ToModel, ToPhone
from telephony.bridge_inputs import ProgramInput, Tick
from telephony.latency import Latencies
from telephony.playout import PlayedSpan
from telephony.records.consent import Consent, as_agreed
from telephony.records.folder import CallFolder
from telephony.records.phone_clock import PhoneClock
from telephony.records.record import Approval, BargeIn, CallRecord, Handoff, Line, ToolUse
from telephony.records.recording import SAMPLES_PER_MS
from telephony.records.recording_file import RecordingFile
from telephony.twilio.media_stream import decode_command
from telephony.twilio.messages import Dtmf, Mark, Media, PlayMedia, Stop
from telephony.word_redaction import WordRedactor

log = logging.getLogger(__name__)

OUTPUT_BYTES_WHOLE = 512  # longer outputs are audio, mostly: their digest tells whether a replay differs
OUTPUT_BYTES_SHOWN = 40  # of those: how they begin
PROBLEMS_MAX = 100
STREAM_AGE_S_MAX = 10.0  # of a stream, when its call is answered
ARGUMENTS_DEPTH_MAX = 64  # of a tool's arguments
_CLEAR = b'{"event":"clear"'
_OUTCOMES: dict[str, Literal["done", "failed", "rejected", "cancelled"]] = {
    "ok": "done",
    "rejected": "rejected",
    "cancelled": "cancelled",
}


class CallHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when the call begins; the tape's metadata. Numbers masked, where they shall be.

    `clock_s`: what our monotonic clock showed at the tape's time 0. A replay needs it to reckon with the same floats.
    The versions are filled in by the recorder.
    """

    call_sid: str
    stream_sid: str
    direction: Literal["inbound", "outbound"]
    from_number: str
    to_number: str
    agent: str
    model: str
    audio: AudioKind
    clock_s: float
    package_version: str = ""
    python_version: str = ""


class CallRecorder:
    """A `CallTap` and a `SessionTap`; `session_event` is a session's listener. End with `close`."""

    def __init__(
        self,
        head: CallHead,
        folder: CallFolder,
        disk: Executor,
        *,
        clock: Callable[[], float],
        redactor: WordRedactor | None = None,
    ) -> None:
        """Makes the call's directory. `clock`: the bridge's. `redactor`: blackens words of the record, not of the tape.

        Raises OSError when the directory cannot be made.
        """
        folder.create()
        self._head = head = msgspec.structs.replace(
            head, package_version=_package_version(), python_version=platform.python_version()
        )
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._redactor = redactor or WordRedactor()
        self._began = head.clock_s
        self._started_at = datetime.now(UTC)
        self._problems: list[str] = []
        self._tape = TapeFile(
            folder.tape,
            disk,
            created_at=self._started_at,
            metadata=msgspec.to_builtins(head),
            on_problem=self._problem,
        )
        self._recording = RecordingFile(folder.recording, disk, on_problem=self._problem)
        self._phone_clock = PhoneClock(self._began)
        self._wild_stamp = False  # a broken phone's timestamps have been told of
        self._caller_to_model = Latencies()
        self._model_to_caller = Latencies()
        self._barge_in_to_clear = Latencies()
        self._input: Literal["phone", "model", "program"] = "program"
        self._spoken: dict[str, tuple[int, int | None]] = {}  # item -> when it was said or heard, ms
        self._tools: dict[str, ToolUse] = {}
        self._approvals: dict[str, Approval] = {}
        self._handoffs: list[Handoff] = []
        self._barge_ins: list[BargeIn] = []
        self._cost: float | None = None
        self.item_wire_start: dict[str, int] = {}  # where each item that was heard begins in all audio ever sent

    @property
    def place(self) -> str:
        """Where the records lie, below the data directory."""
        return self._folder.place

    # ---- what passes through the bridge: CallTap ---------------------------------------------------------------------

    def phone_message(self, message: Media | Dtmf | Mark | Stop, frame: bytes, now: float) -> None:
        self._input = "phone"
        self._tape.append(now - self._began, Source.PHONE, frame)
        if type(message) is Media:
            self._caller_audio(message, now)

    def _caller_audio(self, media: Media, now: float) -> None:
        zero = now - media.timestamp_ms / 1000
        if zero < self._began - STREAM_AGE_S_MAX:
            if not self._wild_stamp:
                self._problem(f"caller audio was stamped {media.timestamp_ms} ms, long before that: not recorded")
            self._wild_stamp = True
            return
        self._phone_clock.heard(media.timestamp_ms, len(media.mulaw) / SAMPLES_PER_MS, now)
        self._recording.caller_audio(media.timestamp_ms, media.mulaw)

    def model_frame(self, frame: bytes, now: float) -> None:
        self._input = "model"
        self._tape.append(now - self._began, Source.MODEL, hide_secrets_in_frame(frame))

    def program_input(self, event: ProgramInput | Tick, now: float) -> None:
        self._input = "program"
        source = Source.TIMER if type(event) is Tick else Source.PROGRAM
        self._tape.append(now - self._began, source, hide_secrets_in_frame(encode(event)))

    def command(self, command: ToPhone | ToModel, now: float) -> None:
        took_ms = (self._clock() - now) * 1000
        if type(command) is ToModel:
            self._tape.append(now - self._began, Source.TO_MODEL, on_tape(command.frame))
            if self._input == "phone":
                self._caller_to_model.add(took_ms)
            return
        self._tape.append(now - self._began, Source.TO_PHONE, on_tape(command.frame))
        if self._input == "model":
            is_clear = command.frame.startswith(_CLEAR)
            (self._barge_in_to_clear if is_clear else self._model_to_caller).add(took_ms)
        sent = decode_command(command.frame)
        if isinstance(sent, PlayMedia):
            self._recording.agent_audio(sent.mulaw)

    def played(self, spans: list[PlayedSpan], round_trip_ms: float) -> None:
        for span in spans:
            # Sent at our time, played one way later; the phone's audio took the other way to us: a round trip together.
            at_ms = self._phone_clock.at_ms(span.played_at) + round_trip_ms
            self._recording.agent_played(span.wire_start, span.wire_end, at_ms)
            self.item_wire_start.setdefault(span.key.item_id, span.wire_start)

    # ---- what passes through the session's core: SessionTap --------------------------------------------------------------

    def session_input(self, record: Record, now: float) -> None:
        try:
            payload = encode_record(record)
        except (TypeError, ValueError, RecursionError) as e:
            self._tape.give_up(f"{type(record).__name__} cannot be written: {e}")
        else:
            self._tape.append(now - self._began, Source.SESSION, payload)

    def session_commands(self, commands: Sequence[Command], now: float) -> None:
        try:
            payloads = [on_tape(encode_command(command)) for command in commands]
        except (TypeError, ValueError, RecursionError) as e:
            self._tape.give_up(f"what the session said cannot be written: {e}")
            return
        for payload in payloads:
            self._tape.append(now - self._began, Source.FROM_SESSION, payload)

    def note(self, kind: str, now: float, **more: object) -> None:
        """Something that people look for on a tape: any JSON."""
        self._tape.append(now - self._began, Source.NOTE, msgspec.json.encode({"kind": kind, **more}))

    # ---- what the session tells --------------------------------------------------------------------------------------

    def session_event(self, event: events.SessionEvent) -> None:
        at_ms = self._now_ms()
        match event:
            case events.TransportEventSeen():
                self._transport_event(event.event, at_ms)
            case events.AgentToolStart():
                self._tools[event.call_id] = ToolUse(
                    call_id=event.call_id,
                    name=event.tool,
                    arguments=_object(event.arguments),
                    start_ms=at_ms,
                    approved=self._approved(event.call_id),
                    agent=event.agent,
                )
            case events.AgentToolEnd():
                self._tool_ended(event, at_ms)
            case events.ToolApprovalRequested(request=request):
                self._approvals[request.call_id] = Approval(call_id=request.call_id, tool=request.tool, start_ms=at_ms)
            case events.ToolApprovalResolved():
                self._approval_resolved(event, at_ms)
            case events.AgentHandoff():
                handoff = Handoff(from_agent=event.from_agent, to_agent=event.to_agent, at_ms=at_ms)
                self._handoffs.append(handoff)
            case events.UsageUpdated():
                self._cost = event.cost
            case events.SessionError():
                self._problem(event.message)

    def _transport_event(self, event: object, at_ms: int) -> None:
        match event:
            case server.InputAudioBufferSpeechStarted():
                self._spoken[event.item_id] = (at_ms, None)
            case server.InputAudioBufferSpeechStopped():
                start_ms, _ = self._spoken.get(event.item_id, (at_ms, None))
                self._spoken[event.item_id] = (start_ms, at_ms)
            case PlaybackStarted():
                self._spoken[event.item_id] = (at_ms, None)
            case PlaybackFinished():
                start_ms, _ = self._spoken.get(event.item_id, (at_ms, None))
                self._spoken[event.item_id] = (start_ms, at_ms)
            case PlaybackInterrupted(cuts=cuts):
                for cut in cuts:
                    if cut.item_id in self._spoken:
                        self._spoken[cut.item_id] = (self._spoken[cut.item_id][0], at_ms)
                if cuts and event.by == "speech":
                    first = cuts[0]
                    self._barge_ins.append(BargeIn(item_id=first.item_id, audio_end_ms=first.heard_ms, at_ms=at_ms))

    def _tool_ended(self, event: events.AgentToolEnd, at_ms: int) -> None:
        use = self._tools.get(event.call_id) or ToolUse(
            call_id=event.call_id,
            name=event.tool,
            arguments=_object(event.arguments),
            start_ms=at_ms,
            agent=event.agent,
        )
        self._tools[event.call_id] = msgspec.structs.replace(
            use,
            end_ms=at_ms,
            outcome=_OUTCOMES.get(event.outcome, "failed"),
            output=event.output,
            approved=self._approved(event.call_id),
        )

    def _approval_resolved(self, event: events.ToolApprovalResolved, at_ms: int) -> None:
        call_id = event.request.call_id
        approval = self._approvals.get(call_id) or Approval(call_id=call_id, tool=event.request.tool, start_ms=at_ms)
        decision: Literal["approved", "rejected", "expired", "cancelled"] = "rejected"
        if event.by in ("session_end", "model_lost"):
            decision = "cancelled"
        elif event.approved:
            decision = "approved"
        elif event.by == "timeout":
            decision = "expired"
        by = event.by if event.by == "program" else None
        self._approvals[call_id] = msgspec.structs.replace(approval, end_ms=at_ms, decision=decision, by=by)

    def _approved(self, call_id: str) -> bool | None:
        approval = self._approvals.get(call_id)
        return None if approval is None else approval.decision == "approved"

    # ---- the end -----------------------------------------------------------------------------------------------------

    def delete(self, now: float) -> None:
        """Keep nothing of what was said: the files lose their names at once, and end with the call. Pause first."""
        del now
        self._disk.submit(self._unlink)

    def _unlink(self) -> None:
        for path in (self._folder.tape, self._folder.recording):
            try:
                path.unlink(missing_ok=True)
            except OSError as e:
                log.exception("call %s: %s cannot be deleted", self._head.call_sid, path.name)
                self._problem(f"{path.name} could not be deleted: {e.strerror}")

    async def close(
        self,
        history: tuple[HistoryItem, ...],
        usage: Tokens,
        reason: str,
        consent: Consent = Consent(),  # noqa: B008 - frozen
    ) -> CallRecord:
        """Write everything to its end; returns what call.json says. A disk that fails is in its `problems`.

        `consent`: how the recording was steered; what was not to be kept is left out.
        """
        await self._tape.close()
        await self._recording.close()
        record = CallRecord(
            call_sid=self._head.call_sid,
            direction=self._head.direction,
            from_number=self._head.from_number,
            to_number=self._head.to_number,
            started_at=self._started_at,
            ended_at=self._started_at + timedelta(seconds=self._clock() - self._began),
            duration_ms=self._now_ms(),
            agent=self._head.agent,
            model=self._head.model,
            disposition=reason,
            transcript=tuple(self._line(item) for item in history if _is_said(item)),
            tools=tuple(self._tools.values()),
            approvals=tuple(self._approvals.values()),
            handoffs=tuple(self._handoffs),
            barge_ins=tuple(self._barge_ins),
            latency_ms={
                **self._caller_to_model.summary("caller_to_model"),
                **self._model_to_caller.summary("model_to_caller"),
                **self._barge_in_to_clear.summary("barge_in_to_clear"),
            },
            usage=usage,
            cost_usd=self._cost,
            problems=tuple(self._problems),
        )
        record = as_agreed(record, consent, self._redactor, self._phone_clock.at_ms)
        loop = asyncio.get_running_loop()
        known = len(self._problems)
        for write in (self._folder.write_record, self._folder.write_timeline):
            try:
                await loop.run_in_executor(self._disk, partial(write, record))
            except Exception as e:
                log.exception("call %s: %s could not be written", self._head.call_sid, write.__name__)
                self._problem(f"{write.__name__}: {e}")
        return msgspec.structs.replace(record, problems=(*record.problems, *self._problems[known:]))

    def _line(self, item: HistoryItem) -> Line:
        start_ms, end_ms = self._spoken.get(item.item_id, (None, None))
        return Line(
            role="user" if item.role == "user" else "assistant",
            text=item.text,
            cut=item.cut,
            unheard=item.unheard,
            agent=item.agent,
            start_ms=start_ms,
            end_ms=end_ms if end_ms is not None or start_ms is None else self._now_ms(),
        )

    # ---- time and trouble ----------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        """On the phone's clock, which the recording is on."""
        return round(self._phone_clock.at_ms(self._clock()))

    def _problem(self, message: str) -> None:
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(message)


def tape_zero(clock_s: float) -> float:
    """The tape's time 0, less than a microsecond before this: so round a number that every later time, less it and plus
    it again, is the same float as before. (Both are multiples of the later time's last bit, and so is what lies between.)"""
    return floor(clock_s * 2**20) / 2**20


def _package_version() -> str:
    try:
        return version("realtime-bridge")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return ""


def on_tape(frame: bytes) -> bytes:
    """An output as the tape keeps it: whole; or, of a long one, `#`, its digest, and how it begins. No credentials."""
    frame = hide_secrets_in_frame(frame)
    if len(frame) <= OUTPUT_BYTES_WHOLE:
        return frame
    digest = hashlib.blake2b(frame, digest_size=16).hexdigest().encode()
    return b"#%b %b" % (digest, frame[:OUTPUT_BYTES_SHOWN])


def _is_said(item: HistoryItem) -> bool:
    """Lines of the transcript: what somebody said, and what was cut before its first word."""
    return item.type == "message" and item.role in ("user", "assistant") and bool(item.text or item.unheard)


def _object(arguments: str) -> dict[str, object]:
    try:
        decoded = msgspec.json.decode(arguments, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return {"malformed": arguments}
    return decoded if _is_shallow(decoded) else {"malformed": arguments}


def _is_shallow(arguments: object) -> bool:
    """Is it nested so little that whoever writes or draws the record can follow?"""
    layer = [arguments]
    for _ in range(ARGUMENTS_DEPTH_MAX):
        layer = [child for value in layer for child in _children(value)]
        if not layer:
            return True
    return False


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
