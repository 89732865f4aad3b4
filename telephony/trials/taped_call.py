"""What a tape knows of its call: the sound of both sides on the phone's clock, and what the agent did.

The bridge is run again from its inputs, and so is the session's core: what the phone played, when, and what was called,
decided and handed over comes from the machines that knew it in the call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.audio.transcode import AudioKind, transcoder
from realtime_bridge.errors import InternalError, ProtocolError
from realtime_bridge.session import events, inputs
from realtime_bridge.session.commands import Emit
from realtime_bridge.session.journal import Opening, decode_record
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.specs import SessionSettings
from realtime_bridge.tape import Source, TapeKeys, TapeRecord, read_tape
from realtime_bridge.wire import server
from telephony.bridge import Bridge
from telephony.bridge_inputs import LineEnded, Tick
from telephony.call_details import CallDetails
from telephony.playout import BYTES_PER_MS, PlayedSpan
from telephony.records.phone_clock import PhoneClock
from telephony.records.recorder import CallHead
from telephony.records.shadow import decode_bridge_input
from telephony.trials.caller_turns import CallSound, Span, Spoken
from telephony.twilio.messages import Digit, Dtmf, Media, Stop

AHEAD_MS_MAX: Final = 10_000  # of caller audio to the time of the tape: what is stamped later is nothing of a phone's

_INPUTS: Final = (Source.PHONE, Source.MODEL, Source.PROGRAM, Source.TIMER)


class _Note(msgspec.Struct, frozen=True):
    kind: str
    state: str | None = None  # of the recording


class TapedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call and its answer. `outcome` as of `AgentToolEnd`; `took_s`: from its beginning to its answer."""

    name: str
    arguments: dict[str, Any]
    output: str
    outcome: str = "ok"
    silent: bool = False
    took_s: float = 0.0


class TapedApproval(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of a call. `by` as of `ToolApprovalResolved`; `took_s`: from the question to the answer."""

    tool: str
    arguments: dict[str, Any]
    approved: bool
    by: str = "program"
    message: str | None = None  # for the model
    took_s: float = 0.0


class TapedDeeds(msgspec.Struct, frozen=True, kw_only=True):
    """What the agents did and said in a call, in order. `is_known` False: nobody knows, as of a WAV."""

    is_known: bool = True
    tools: tuple[TapedTool, ...] = ()
    approvals: tuple[TapedApproval, ...] = ()
    handoffs: tuple[tuple[str, str], ...] = ()  # from, to
    said: tuple[str, ...] = ()  # the agents' words, as the caller heard them


NOTHING_TAPED: Final = TapedDeeds(is_known=False)


class CallSetting(msgspec.Struct, frozen=True, kw_only=True):
    """How a call was made: the model's audio, the program's own fields of the `session.update` that are about the caller's
    audio, and what the agent was told of the call."""

    audio: AudioKind = "pcm"
    config: dict[str, Any] = {}
    details: CallDetails = CallDetails(call_sid="")


@dataclass(frozen=True, slots=True)
class TapedCall:
    sound: CallSound
    deeds: TapedDeeds
    setting: CallSetting
    seconds: float
    paused_ms: tuple[float, ...]  # when the recording was paused, on the phone's clock: what was said then is not known


def read_taped_call(path: Path, keys: TapeKeys | None = None) -> TapedCall:
    """The whole tape, or what is whole of it. Raises OSError and TapeError for a tape that cannot be read, ProtocolError
    for one that is not of a call, InternalError when a machine fails on it."""
    with path.open("rb") as file:
        tape = read_tape(file, keys=keys)
        try:
            head = msgspec.convert(tape.header.metadata, CallHead)
        except msgspec.ValidationError as e:
            raise ProtocolError(f"not the tape of a call: {e}", where="metadata") from e
        line, session = _Line(head), _Session(head)
        for record in tape:
            try:
                if record.source is Source.SESSION:
                    session.take(record)
                else:
                    line.take(record)
            except (ProtocolError, InternalError):
                raise
            except Exception as e:
                raise InternalError(f"a machine fails at {record.time:.3f} s of the tape: {e!r}") from e
    return TapedCall(line.sound(session), session.deeds(), session.setting(), line.seconds, line.paused_ms)


class _Line:
    """The bridge's side: sound and keys."""

    def __init__(self, head: CallHead) -> None:
        self.clock = PhoneClock(head.clock_s)
        self._clock_s = head.clock_s
        self._bridge = Bridge(head.stream_sid, transcoder(head.audio), now=head.clock_s)
        self._caller = bytearray()
        self._played: list[PlayedSpan] = []
        self._plans: list[tuple[float, float]] = []  # (our time, until when the phone would play)
        self._keys: list[tuple[float, Digit]] = []  # our time
        self._hung_up: float | None = None
        self._paused: list[float] = []  # our time
        self._now = head.clock_s

    def take(self, record: TapeRecord) -> None:
        now = self._clock_s + record.time
        if record.source is Source.NOTE:
            self._noted(_read_note(record), now)
        event = decode_bridge_input(record.source, record.payload) if record.source in _INPUTS else None
        if event is None:
            return
        self._now = now
        final = isinstance(event, LineEnded)
        if final:
            self._played += self._bridge.take_played(now, final=True)
        self._bridge.handle(event, now)
        match event:
            case Media():
                self._heard(event, record.time, now)
                self._plans.append((now, self._bridge.plays_until(now)))
            case Dtmf():
                self._keys.append((now, event.digit))
            case Stop():
                self._hung_up = now
            case Tick():
                self._played += self._bridge.take_played(now)
            case _:
                pass

    def _noted(self, note: _Note, now: float) -> None:
        if note.kind == "ending":
            self._hung_up = None  # the phone's `stop` was our doing
        elif note.kind == "recording" and note.state == "paused":
            self._paused.append(now)

    @property
    def seconds(self) -> float:
        return self._now - self._clock_s

    @property
    def paused_ms(self) -> tuple[float, ...]:
        return tuple(self.clock.at_ms(at) for at in self._paused)

    def sound(self, session: _Session) -> CallSound:
        """All that was heard. The phone's clock is known best at the end."""
        self._played += self._bridge.take_played(self._now, final=True)
        there_and_back_ms = self._bridge.round_trip_ms

        def played_ms(at: float) -> float:
            return self.clock.at_ms(at) + there_and_back_ms

        agent = []
        for span in self._played:
            start = played_ms(span.played_at)
            agent.append(Span(start, start + (span.wire_end - span.wire_start) / BYTES_PER_MS))
        at_ms = self.clock.at_ms
        return CallSound(
            caller=bytes(self._caller),
            agent=agent,
            planned=[(at_ms(now), played_ms(until)) for now, until in self._plans],
            keys=[(at_ms(at), digit) for at, digit in self._keys],
            spoken=session.spoken(at_ms),
            hung_up=None if self._hung_up is None else at_ms(self._hung_up),
        )

    def _heard(self, media: Media, time: float, now: float) -> None:
        if media.timestamp_ms > time * 1000 + AHEAD_MS_MAX:
            return
        self.clock.heard(media.timestamp_ms, len(media.mulaw) / BYTES_PER_MS, now)
        start = media.timestamp_ms * BYTES_PER_MS
        if start > len(self._caller):
            self._caller += MULAW_SILENCE * (start - len(self._caller))
        self._caller[start : start + len(media.mulaw)] = media.mulaw


@dataclass(slots=True)
class _Utterance:
    started: float
    stopped: float | None = None


@dataclass(slots=True)
class _Session:
    """The session core's side: words and deeds."""

    head: CallHead
    _machine: SessionMachine | None = None
    _settings: SessionSettings = field(default_factory=SessionSettings)
    _utterances: dict[str, _Utterance] = field(default_factory=dict)  # by item, our time
    _asked: dict[str, float] = field(default_factory=dict)  # by call, our time
    _begun: dict[str, float] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)
    _messages: dict[str, str | None] = field(default_factory=dict)
    _tools: list[TapedTool] = field(default_factory=list)
    _approvals: list[TapedApproval] = field(default_factory=list)
    _handoffs: list[tuple[str, str]] = field(default_factory=list)

    def take(self, record: TapeRecord) -> None:
        event, now = decode_record(record.payload), self.head.clock_s + record.time
        if isinstance(event, Opening):
            self._machine = SessionMachine(event.agent, event.settings)
            self._machine.first_update()
            self._settings = event.settings
            return
        if self._machine is None:
            raise ProtocolError(f"a session's input before its opening, at {record.time:.3f} s of the tape")
        match event:
            case server.InputAudioBufferSpeechStarted():
                self._utterances[event.item_id] = _Utterance(now)
            case server.InputAudioBufferSpeechStopped() if event.item_id in self._utterances:
                self._utterances[event.item_id].stopped = now
            case inputs.ToolFinished() if event.silent:
                self._silent.add(event.call_id)
            case inputs.ApprovalGiven():
                self._messages[event.call_id] = event.message
            case _:
                pass
        for command in self._machine.handle(event, now=now):
            if isinstance(command, Emit):
                self._told(command.event, now)

    def spoken(self, at_ms: Callable[[float], float]) -> list[Spoken]:
        texts = {} if self._machine is None else {item.item_id: item.text for item in self._machine.history}
        return [
            Spoken(
                Span(at_ms(heard.started), at_ms(heard.started if heard.stopped is None else heard.stopped)),
                texts.get(item_id, ""),
            )
            for item_id, heard in self._utterances.items()
        ]

    def deeds(self) -> TapedDeeds:
        history = () if self._machine is None else self._machine.history
        return TapedDeeds(
            is_known=self._machine is not None,
            tools=tuple(self._tools),
            approvals=tuple(self._approvals),
            handoffs=tuple(self._handoffs),
            said=tuple(i.text for i in history if i.type == "message" and i.role == "assistant" and i.text),
        )

    def setting(self) -> CallSetting:
        audio, greeting = self._settings.config.get("audio"), self._settings.greeting
        heard = audio.get("input") if isinstance(audio, dict) else None
        return CallSetting(
            audio=self.head.audio,
            config={"audio": {"input": heard}} if heard else {},
            details=CallDetails(
                call_sid=self.head.call_sid,
                direction=self.head.direction,
                caller=self.head.from_number,
                called=self.head.to_number,
                opening=greeting if isinstance(greeting, str) else "",
            ),
        )

    def _told(self, event: events.SessionEvent, now: float) -> None:
        match event:
            case events.AgentToolStart(call_id=call_id):
                self._begun[call_id] = now
            case events.AgentToolEnd(call_id=call_id):
                self._tools.append(
                    TapedTool(
                        name=event.tool,
                        arguments=json_object(event.arguments),
                        output=event.output,
                        outcome=event.outcome,
                        silent=call_id in self._silent,
                        took_s=now - self._begun.get(call_id, now),
                    )
                )
            case events.ToolApprovalRequested(request=request):
                self._asked[request.call_id] = now
            case events.ToolApprovalResolved(request=request):
                self._approvals.append(
                    TapedApproval(
                        tool=request.tool,
                        arguments=json_object(request.arguments),
                        approved=event.approved,
                        by=event.by,
                        message=self._messages.get(request.call_id),
                        took_s=now - self._asked.get(request.call_id, now),
                    )
                )
            case events.AgentHandoff():
                self._handoffs.append((event.from_agent, event.to_agent))
            case _:
                pass


def _read_note(record: TapeRecord) -> _Note:
    try:
        return msgspec.json.decode(record.payload, type=_Note)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise ProtocolError(f"a note at {record.time:.3f} s of the tape is not understood: {e}") from e


def json_object(text: str) -> dict[str, Any]:
    """A call's arguments; what is no JSON object, under a name of its own."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {"malformed": text}
