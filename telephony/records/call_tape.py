"""A call on its tape: what its machines were given and what they answered, as it may be kept.

Credentials are left out. Long answers, which are audio mostly, are kept as a digest. While the recording is paused words
are blotted out and audio is silence (`blanking`), and the answers are those of machines that were given what the tape has
(`shadow`): so the whole tape replays, and nothing on it tells what was said in the pause.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
from telephony.records.shadow import BridgeShadow, SessionShadow

OUTPUT_BYTES_WHOLE: Final = 512  # longer outputs are audio, mostly: their digest tells whether a replay differs
OUTPUT_BYTES_SHOWN: Final = 40  # of those: how they begin
LOOK_AFTER_S: Final = 0.5


class CallTape:
    """Writes a call's tape; `began`: its time 0 on the machines' clock. Never raises, and ends with `close`."""

    def __init__(self, file: TapeFile, blanking: Blanking, *, began: float) -> None:
        self._file = file
        self._began = began
        self._blanking = blanking
        self._bridge: Bridge | None = None
        self._machine: SessionMachine | None = None
        self._bridge_shadow: BridgeShadow | None = None
        self._session_shadow: SessionShadow | None = None
        self._said: list[Command] = []  # by the session's copy, to the newest input
        self._stand_ins: dict[int, tuple[ClientEvent, ClientEvent]] = {}  # what was sent -> what its copy sent
        self._bridge_look = _Look()
        self._session_look = _Look()

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

    def pause(self, being_said: Iterable[str] = ()) -> None:
        """From here on nothing that is said is kept, nor anything of these items, which may be told of after the pause.
        Idempotent."""
        for item_id in being_said:
            self._blanking.remember(item_id)
        self._blanking.paused = True

    def resume(self) -> None:
        """What is said from here on is kept again. Idempotent."""
        self._blanking.paused = False

    # ---- the bridge ------------------------------------------------------------------------------------------------------

    def phone_frame(self, frame: bytes, now: float, *, hide: bool = False) -> None:
        """`hide`: it is of a pause that is over."""
        kept = self._blanking.frame(frame, hide=hide) if hide or self._blanking.paused else frame
        self._bridge_input(Source.PHONE, frame, kept, now)

    def model_frame(self, frame: bytes, now: float) -> None:
        frame = hide_secrets_in_frame(frame)
        self._bridge_input(Source.MODEL, frame, self._blanking.frame(frame), now)

    def program_input(self, event: ProgramInput | Tick, now: float) -> None:
        if type(event) is Tick:
            frame = encode(event)
            self._bridge_input(Source.TIMER, frame, frame, now)
            return
        frame = kept = hide_secrets_in_frame(encode(event))
        if self._stand_ins and id(event) in self._stand_ins:
            kept = hide_secrets_in_frame(encode(self._stand_ins[id(event)][1]))
        self._bridge_input(Source.PROGRAM, frame, self._blanking.frame(kept), now)

    def _bridge_input(self, source: Source, frame: bytes, kept: bytes, now: float) -> None:
        """`kept`: the frame as it goes onto the tape. The bridge has not been given it yet."""
        if not self._file.is_open:
            return
        try:
            answers = self._bridge_answers(source, kept, now, changed=kept != frame)
        except Exception as e:  # noqa: BLE001 - whatever a copy comes to ends the tape, not the call
            self._file.give_up(f"the bridge cannot be copied: {e!r}")
            return
        self._file.append(now - self._began, source, kept)
        for answer in answers:
            self._answer(answer, now - self._began)

    def _bridge_answers(self, source: Source, kept: bytes, now: float, *, changed: bool) -> list[ToPhone | ToModel]:
        """What the copy answers, if there is one, or must be from here on."""
        shadow, bridge = self._bridge_shadow, self._bridge
        if shadow is None and not changed:
            return []
        assert bridge is not None
        if shadow is None:
            shadow = self._bridge_shadow = BridgeShadow(bridge)
        elif not changed and self._bridge_look.is_due(now) and shadow.is_like(bridge):
            self._bridge_shadow = None
            self._bridge_look = _Look()
            return []
        return shadow.answers(source, kept, now)

    def bridge_answer(self, command: ToPhone | ToModel, now: float) -> None:
        """What the bridge sent; of no interest while a copy answers in its place."""
        if self._bridge_shadow is None:
            self._answer(command, now - self._began)

    def _answer(self, command: ToPhone | ToModel, time: float) -> None:
        source = Source.TO_PHONE if type(command) is ToPhone else Source.TO_MODEL
        self._file.append(time, source, on_tape(command.frame))

    # ---- the session -----------------------------------------------------------------------------------------------------

    def session_input(self, record: Record, now: float) -> None:
        """Before the core is given it."""
        self._stand_ins.clear()
        if not self._file.is_open:
            return
        try:
            payload = encode_record(record)
            kept = self._blanking.frame(payload)
            self._said = self._session_answers(kept, now, changed=kept != payload)
        except Exception as e:  # noqa: BLE001 - as in `_bridge_input`; a program's values may be no JSON
            self._file.give_up(f"{type(record).__name__} cannot be written: {e!r}")
            return
        self._file.append(now - self._began, Source.SESSION, kept)
        self._commands(self._said, now)

    def _session_answers(self, kept: bytes, now: float, *, changed: bool) -> list[Command]:
        shadow = self._session_shadow
        if shadow is None and not changed:
            return []
        if shadow is None:
            shadow = self._session_shadow = SessionShadow(self._machine)
        elif not changed and self._session_look.is_due(now) and shadow.is_like(self._machine):
            self._session_shadow = None
            self._session_look = _Look()
            return []
        return shadow.answers(decode_record(kept), now)

    def session_commands(self, commands: Sequence[Command], now: float) -> None:
        """What the session's core said to that; while a copy speaks in its place, what is to be sent is looked up there."""
        if self._session_shadow is None:
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
        self._bridge_shadow = self._session_shadow = None
        self._file.end()

    async def close(self) -> None:
        """Write it to its end; bounded, idempotent."""
        self._bridge_shadow = self._session_shadow = self._bridge = self._machine = None
        await self._file.close()


class _Look:
    """When to look next whether a copy is still needed; less and less often, since a look takes a millisecond."""

    def __init__(self) -> None:
        self._next: float | None = None
        self._pause_s = LOOK_AFTER_S

    def is_due(self, now: float) -> bool:
        if self._next is None:
            self._next = now + self._pause_s
        if now < self._next:
            return False
        self._pause_s *= 2
        self._next = now + self._pause_s
        return True


def on_tape(frame: bytes) -> bytes:
    """An output as the tape keeps it: whole; or, of a long one, `#`, its digest, and how it begins. No credentials."""
    frame = hide_secrets_in_frame(frame)
    if len(frame) <= OUTPUT_BYTES_WHOLE:
        return frame
    digest = hashlib.blake2b(frame, digest_size=16).hexdigest().encode()
    return b"#%b %b" % (digest, frame[:OUTPUT_BYTES_SHOWN])
