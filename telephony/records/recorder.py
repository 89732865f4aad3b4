"""Writes one call down while it goes on: the tape, the recording, and what call.json will say.

It sees what passes through the bridge (as its `CallTap`) and through the session's core (as its `SessionTap`) and what
the session tells (as a listener), and never slows or stops them: files are written in the background, and a disk that
fails ends the recording, not the call.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import floor
from typing import Literal, TypeVar

import msgspec

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.audio.transcode import AudioKind
from realtime_bridge.session import events
from realtime_bridge.session.commands import Command
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.journal import Record
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.usage import Tokens
from realtime_bridge.tape import TapeFile
from telephony.bridge import Bridge
from telephony.bridge_commands import ToModel, ToPhone
from telephony.bridge_inputs import ProgramInput, Tick
from telephony.latency import Latencies
from telephony.playout import PlayedSpan
from telephony.records.blanking import Blanking
from telephony.records.call_tape import CallTape
from telephony.records.consent import Consent, as_agreed
from telephony.records.folder import CallFolder
from telephony.records.heard import as_heard
from telephony.records.phone_clock import PhoneClock
from telephony.records.record import CallRecord
from telephony.records.recording import SAMPLES_PER_MS
from telephony.records.recording_file import RecordingFile
from telephony.records.story import CallStory
from telephony.twilio.media_stream import decode_command
from telephony.twilio.messages import Dtmf, Mark, Media, PlayMedia, Stop
from telephony.word_redaction import WordRedactor

log = logging.getLogger(__name__)

PROBLEMS_MAX = 100
STREAM_AGE_S_MAX = 10.0  # of a stream, when its call is answered
_Done = TypeVar("_Done")
_CLEAR = b'{"event":"clear"'


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
        The folder's key, if it has one, seals everything.

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
        file = TapeFile(
            folder.tape,
            disk,
            created_at=self._started_at,
            metadata=msgspec.to_builtins(head),
            on_problem=self._problem,
            key=folder.key,
        )
        self._tape = CallTape(file, Blanking(head.audio), began=self._began)
        self._recording = RecordingFile(folder.recording, disk, on_problem=self._problem, key=folder.key)
        self._caller_hidden = False
        self._kept_from_ms = 0.0  # on the phone's clock: caller audio from before is of a pause
        self._phone_clock = PhoneClock(self._began)
        self._wild_stamp = False  # a broken phone's timestamps have been told of
        self._caller_to_model = Latencies()
        self._model_to_caller = Latencies()
        self._barge_in_to_clear = Latencies()
        self._input: Literal["phone", "model", "program"] = "program"
        self._story = CallStory(on_problem=self._problem)
        self.item_wire_start: dict[str, int] = {}  # where each item that was heard begins in all audio ever sent

    @property
    def place(self) -> str:
        """Where the records lie, below the data directory."""
        return self._folder.place

    # ---- what passes through the bridge: CallTap ---------------------------------------------------------------------

    def bridge_made(self, bridge: Bridge) -> None:
        self._tape.bridge_made(bridge)

    def phone_message(self, message: Media | Dtmf | Mark | Stop, frame: bytes, now: float) -> None:
        self._input = "phone"
        hide = type(message) is Media and (self._caller_hidden or message.timestamp_ms < self._kept_from_ms)
        self._tape.phone_frame(frame, now, hide=hide)
        if type(message) is Media:
            self._caller_audio(message, now)
        elif type(message) is Dtmf:
            self._story.key_pressed(message.digit, self._now_ms())

    def _caller_audio(self, media: Media, now: float) -> None:
        zero = now - media.timestamp_ms / 1000
        if zero < self._began - STREAM_AGE_S_MAX:
            if not self._wild_stamp:
                self._problem(f"caller audio was stamped {media.timestamp_ms} ms, long before that: not recorded")
            self._wild_stamp = True
            return
        self._phone_clock.heard(media.timestamp_ms, len(media.mulaw) / SAMPLES_PER_MS, now)
        if not self._caller_hidden:
            self._recording.caller_audio(media.timestamp_ms, media.mulaw)

    def model_frame(self, frame: bytes, now: float) -> None:
        self._input = "model"
        self._tape.model_frame(frame, now)

    def program_input(self, event: ProgramInput | Tick, now: float) -> None:
        self._input = "program"
        self._tape.program_input(event, now)

    def command(self, command: ToPhone | ToModel, now: float) -> None:
        took_ms = (self._clock() - now) * 1000
        self._tape.bridge_answer(command, now)
        if type(command) is ToModel:
            if self._input == "phone":
                self._caller_to_model.add(took_ms)
            return
        if self._input == "model":
            is_clear = command.frame.startswith(_CLEAR)
            (self._barge_in_to_clear if is_clear else self._model_to_caller).add(took_ms)
        sent = decode_command(command.frame)
        if isinstance(sent, PlayMedia):
            audio = MULAW_SILENCE * len(sent.mulaw) if self._tape.paused else sent.mulaw
            self._recording.agent_audio(audio)

    def played(self, spans: list[PlayedSpan], round_trip_ms: float) -> None:
        for span in spans:
            # Sent at our time, played one way later; the phone's audio took the other way to us: a round trip together.
            at_ms = self._phone_clock.at_ms(span.played_at) + round_trip_ms
            self._recording.agent_played(span.wire_start, span.wire_end, at_ms)
            ends_ms = at_ms + (span.wire_end - span.wire_start) / SAMPLES_PER_MS
            self._story.played(span.key.item_id, at_ms, ends_ms)
            self.item_wire_start.setdefault(span.key.item_id, span.wire_start)

    # ---- what passes through the session's core: SessionTap --------------------------------------------------------------

    def session_made(self, machine: SessionMachine) -> None:
        self._tape.session_made(machine)

    def session_input(self, record: Record, now: float) -> None:
        self._tape.session_input(record, now)

    def session_commands(self, commands: Sequence[Command], now: float) -> None:
        self._tape.session_commands(commands, now)

    def note(self, kind: str, now: float, **more: object) -> None:
        """Something that people look for on a tape: any JSON."""
        self._tape.note(kind, now, **more)

    # ---- what is not to be kept ------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._tape.paused

    def pause(self, now: float) -> None:
        """From here on nothing that is said is kept: tape and recording are silent, words are dots. Idempotent."""
        if not self._tape.paused:
            self._tape.pause(self._story.being_said)
            self._recording.silence_from(self._phone_clock.at_ms(now))

    def resume(self, now: float) -> None:
        """What is said from here on is kept again. Idempotent."""
        if self._tape.paused:
            self._tape.resume()
            self._kept_from_ms = self._phone_clock.at_ms(now)
            self._recording.sound_from(self._kept_from_ms)

    def hide_caller(self, hidden: bool) -> None:
        """While hidden, nothing of the caller's sound is kept. Only while the model is given none of it either (`Mute`):
        then the tape replays all the same."""
        self._caller_hidden = hidden

    def delete(self) -> None:
        """Keep nothing of what was said, neither so far nor from here on: the files lose their names at once."""
        self._tape.end()
        self._recording.end()
        self._disk.submit(self._unlink)

    def _unlink(self) -> None:
        for path in (self._folder.tape, self._folder.recording):
            try:
                path.unlink(missing_ok=True)
            except OSError as e:
                log.exception("call %s: %s cannot be deleted", self._head.call_sid, path.name)
                self._problem(f"{path.name} could not be deleted: {e.strerror}")

    # ---- what the session tells --------------------------------------------------------------------------------------

    def session_event(self, event: events.SessionEvent) -> None:
        self._story.told(event, self._now_ms())

    # ---- the end -----------------------------------------------------------------------------------------------------

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
            transcript=self._story.transcript(history, self._now_ms()),
            tools=self._story.tools,
            approvals=self._story.approvals,
            handoffs=tuple(self._story.handoffs),
            barge_ins=tuple(self._story.barge_ins),
            reconnects=tuple(self._story.reconnects),
            keys=tuple(self._story.keys),
            latency_ms={
                **self._caller_to_model.summary("caller_to_model"),
                **self._model_to_caller.summary("model_to_caller"),
                **self._barge_in_to_clear.summary("barge_in_to_clear"),
            },
            usage=usage,
            cost_usd=self._story.cost_usd,
            package_version=self._head.package_version,
            problems=tuple(self._problems),
        )
        known = len(self._problems)
        # By the times that were told: what is heard of a line that reaches into a pause lies outside of it.
        record = as_agreed(record, consent, self._redactor, self._phone_clock.at_ms)
        if (sound := await self._on_disk(self._folder.read_loudness)) is not None:
            record = as_heard(record, *sound)
        await self._on_disk(partial(self._folder.write_record, record))
        await self._on_disk(partial(self._folder.write_timeline, record, sound))
        return msgspec.structs.replace(record, problems=(*record.problems, *self._problems[known:]))

    async def _on_disk(self, do: Callable[[], _Done]) -> _Done | None:
        """Do it in the background; None when it failed, which is told."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, do)
        except Exception as e:
            name = getattr(getattr(do, "func", do), "__name__", "")
            log.exception("call %s: %s failed", self._head.call_sid, name)
            self._problem(f"{name}: {e}")
            return None

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
