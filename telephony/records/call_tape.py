"""A call on its tape: what its machines were given and what they answered, as it may be kept.

Credentials are left out. Long answers, which are audio mostly, are kept as a digest. While the recording is paused words
are blotted out and audio is silence (`blanking`), and from the first pause on the answers are those of machines that were
given what the tape has (`shadow`): so the whole tape replays, and nothing on it tells of the pause.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from realtime_bridge.session.commands import Command, Send
from realtime_bridge.session.journal import (
    Record,
    decode_record,
    encode_command,
    encode_record,
    hide_secrets_in_frame,
)
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.tape import Source, TapeFile
from realtime_bridge.wire import ClientEvent, client, encode
from telephony.bridge import Bridge
from telephony.bridge_commands import ToModel, ToPhone
from telephony.bridge_inputs import ProgramInput, Tick
from telephony.records.blanking import Blanking
from telephony.records.shadow import Shadow

OUTPUT_BYTES_WHOLE: Final = 512  # longer outputs are audio, mostly: their digest tells whether a replay differs
OUTPUT_BYTES_SHOWN: Final = 40  # of those: how they begin


class CallTape:
    """Writes a call's tape; `began`: its time 0 on the machines' clock. Never raises, and ends with `close`."""

    def __init__(self, file: TapeFile, blanking: Blanking, *, began: float) -> None:
        self._file = file
        self._began = began
        self._blanking = blanking
        self._bridge: Bridge | None = None
        self._machine: SessionMachine | None = None
        self._shadow: Shadow | None = None
        self._bridge_shadowed = self._session_shadowed = False
        self._said: list[Command] = []  # by the session's copy, to the newest input
        self._stand_ins: dict[int, tuple[ClientEvent, ClientEvent]] = {}  # what was sent -> what its copy sent

    @property
    def paused(self) -> bool:
        return self._blanking.paused

    # ---- the machines ----------------------------------------------------------------------------------------------------

    def bridge_made(self, bridge: Bridge) -> None:
        """The bridge, to be copied; before it is given anything."""
        self._bridge = bridge

    def session_made(self, machine: SessionMachine) -> None:
        """The session's core, likewise."""
        self._machine = machine

    def pause(self) -> None:
        """From here on nothing that is said is kept. Idempotent."""
        if self._blanking.paused:
            return
        self._blanking.paused = True
        if self._shadow is None and self._file.is_open:
            try:
                self._shadow = Shadow(self._bridge, self._machine)
            except Exception as e:  # noqa: BLE001 - whatever keeps a machine from being copied ends the tape, not the call
                self._file.give_up(f"the recording cannot be paused: {e!r}")

    def resume(self) -> None:
        """What is said from here on is kept again. Idempotent."""
        self._blanking.paused = False

    # ---- the bridge ------------------------------------------------------------------------------------------------------

    def phone_frame(self, frame: bytes, now: float, *, hide: bool = False) -> None:
        """`hide`: it is of a pause that is over, or the bridge does not look at what is in it."""
        self._bridge_input(Source.PHONE, frame, now, hide=hide)

    def model_frame(self, frame: bytes, now: float) -> None:
        self._bridge_input(Source.MODEL, hide_secrets_in_frame(frame), now)

    def program_input(self, event: ProgramInput | Tick, now: float) -> None:
        source = Source.TIMER if type(event) is Tick else Source.PROGRAM
        if self._stand_ins and id(event) in self._stand_ins:
            event = self._stand_ins[id(event)][1]
        self._bridge_input(source, hide_secrets_in_frame(encode(event)), now)

    def _bridge_input(self, source: Source, frame: bytes, now: float, *, hide: bool = False) -> None:
        time = now - self._began
        if self._shadow is None:
            self._file.append(time, source, self._blanking.frame(frame, hide=True) if hide else frame)
            return
        self._bridge_shadowed = True
        try:
            frame = self._blanking.frame(frame, hide=hide)
            answers = self._shadow.bridge(source, frame, now)
        except Exception as e:  # noqa: BLE001 - as in `pause`
            self._file.give_up(f"the bridge's copy failed: {e!r}")
            return
        self._file.append(time, source, frame)
        for answer in answers:
            self._answer(answer, time)

    def bridge_answer(self, command: ToPhone | ToModel, now: float) -> None:
        """What the bridge sent; of no interest once a copy answers in its place."""
        if not self._bridge_shadowed:
            self._answer(command, now - self._began)

    def _answer(self, command: ToPhone | ToModel, time: float) -> None:
        source = Source.TO_PHONE if type(command) is ToPhone else Source.TO_MODEL
        self._file.append(time, source, on_tape(command.frame))

    # ---- the session -----------------------------------------------------------------------------------------------------

    def session_input(self, record: Record, now: float) -> None:
        try:
            payload = encode_record(record)
            if self._shadow is not None:
                payload = self._blanking.frame(payload)
        except (TypeError, ValueError, RecursionError) as e:
            self._file.give_up(f"{type(record).__name__} cannot be written: {e}")
            return
        self._file.append(now - self._began, Source.SESSION, payload)
        if self._shadow is not None:
            self._session_shadowed = True
            self._stand_ins.clear()
            try:
                self._said = self._shadow.session(decode_record(payload), now)
            except Exception as e:  # noqa: BLE001 - as in `pause`
                self._said = []
                self._file.give_up(f"the session's copy failed: {e!r}")
            self._commands(self._said, now)

    def session_commands(self, commands: Sequence[Command], now: float) -> None:
        """What the session's core said to that; once a copy speaks in its place, what is to be sent is looked up there."""
        if not self._session_shadowed:
            self._commands(commands, now)
            return
        for command, shadow in zip(commands, self._said, strict=False):  # a copy may have gone another way
            if isinstance(command, Send) and isinstance(shadow, Send):
                self._stand_in(command.event, shadow.event)

    def _stand_in(self, event: ClientEvent, copy: ClientEvent) -> None:
        self._stand_ins[id(event)] = (event, copy)  # both are kept, so that the id stays the event's own
        if isinstance(event, client.ConversationItemCreate) and event.item.id is not None and event != copy:
            self._blanking.remember(event.item.id)  # the model will tell of it

    def _commands(self, commands: Sequence[Command], now: float) -> None:
        try:
            payloads = [on_tape(encode_command(command)) for command in commands]
        except (TypeError, ValueError, RecursionError) as e:
            self._file.give_up(f"what the session said cannot be written: {e}")
            return
        for payload in payloads:
            self._file.append(now - self._began, Source.FROM_SESSION, payload)

    # ---- the rest --------------------------------------------------------------------------------------------------------

    def note(self, kind: str, now: float, **more: object) -> None:
        """Something that people look for on a tape: any JSON."""
        self._file.append(now - self._began, Source.NOTE, msgspec.json.encode({"kind": kind, **more}))

    def end(self) -> None:
        """Write no more: nobody is to read it."""
        self._shadow = None
        self._file.end()

    async def close(self) -> None:
        """Write it to its end; bounded, idempotent."""
        self._shadow = self._bridge = self._machine = None
        await self._file.close()


def on_tape(frame: bytes) -> bytes:
    """An output as the tape keeps it: whole; or, of a long one, `#`, its digest, and how it begins. No credentials."""
    frame = hide_secrets_in_frame(frame)
    if len(frame) <= OUTPUT_BYTES_WHOLE:
        return frame
    digest = hashlib.blake2b(frame, digest_size=16).hexdigest().encode()
    return b"#%b %b" % (digest, frame[:OUTPUT_BYTES_SHOWN])
