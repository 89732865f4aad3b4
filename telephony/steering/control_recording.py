"""The recording of one call, as agents, operators and keys may steer it, and the notice that comes before it.

The notice is spoken by the agent's own voice, and its words are compared with what was to be said. From the call's start
until the caller has heard it the model hears silence instead of them, so that nobody talks into it, and the recording
does, too; then the greeting follows.
What is decided, and when, lies in `recording`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any, Final, Literal, Protocol

import msgspec

from realtime_bridge.errors import MisuseError
from realtime_bridge.realtime import RealtimeSession
from telephony.records.consent import Consent, NoticeGiven, PauseMade
from telephony.steering.control_settings import RecordingSettings
from telephony.steering.control_speech import SpeechDesk
from telephony.steering.recording import Do, RecordingSwitch, State

log = logging.getLogger(__name__)

NOTICE_TRIES: Final = 2
DIGITS_S_MAX: Final = 240.0  # longer than keys are ever waited for

NOT_HEARD: Final = "the caller did not hear the notice to its end"


class Recorder(Protocol):
    """What is steered: the call's `CallRecorder`."""

    def pause(self, now: float) -> None: ...

    def resume(self, now: float) -> None: ...

    def hide_caller(self, hidden: bool) -> None: ...

    def delete(self) -> None: ...

    def note(self, kind: str, now: float, **more: object) -> None: ...


class Steering(Protocol):
    """What the notice asks of the call's steering."""

    @property
    def over(self) -> bool: ...

    def hear_caller(self, heard: bool) -> None:
        """Whether the agent hears the caller, unless an operator has muted them."""
        ...

    def in_background(self, work: Coroutine[Any, Any, None]) -> None: ...

    def rearm(self) -> None: ...


class RecordingDesk:
    """Without a recorder, the call is not recorded, and there is nothing to steer."""

    def __init__(self, steering: Steering, speech: SpeechDesk, settings: RecordingSettings) -> None:
        self._steering = steering
        self._speech = speech
        self._settings = settings
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._switch = RecordingSwitch()
        self._recorder: Recorder | None = None
        self._notice = ""
        self._greeting: Mapping[str, Any] | None = None
        self._greets = True
        self._notices: list[NoticeGiven] = []
        self._pauses: list[PauseMade] = []
        self._deleted_because: str | None = None

    def attach(self, recorder: Recorder, *, notice: str = "", greeting: Mapping[str, Any] | None = None) -> None:
        """Before the session is entered. With a `notice`, the session must not greet by itself: the agent does so
        afterwards, with these parameters of `response.create`."""
        self._recorder = recorder
        self._notice, self._greeting = notice, greeting
        if notice:
            self._do(self._switch.announce())

    @property
    def state(self) -> State | Literal["off"]:
        return "off" if self._recorder is None else self._switch.state

    @property
    def announces(self) -> bool:
        """The notice is being spoken, and must not be interrupted."""
        return self._recorder is not None and self._switch.announcing

    def consent(self) -> Consent:
        """What came of it all; times as the loop has them."""
        return Consent(tuple(self._notices), tuple(self._pauses), self._deleted_because)

    # ---- what agents and operators may do ----------------------------------------------------------------------------

    def pause(self, seconds: float | None = None) -> State:
        """Silence in the recording, and no words, for so long or as long as `RecordingSettings` allow at most.

        Raises MisuseError when there is nothing to pause.
        """
        if seconds is not None and not 1 <= seconds <= self._settings.pause_s_max:
            raise MisuseError(f"a pause lasts 1 to {self._settings.pause_s_max:g} s")
        self._must_be_recorded()
        self._do(self._switch.pause("asked", self._clock() + (seconds or self._settings.pause_s_max)))
        return self._switch.state

    def resume(self) -> State:
        """End a pause. Raises MisuseError, as above."""
        self._must_be_recorded()
        self._do(self._switch.resume("asked"))
        return self._switch.state

    def stop(self, *, delete: bool, because: str) -> State:
        """Record no more of this call. `delete`: and keep nothing of it. Raises MisuseError for a call that is not
        recorded at all."""
        if self._recorder is None:
            raise MisuseError("this call is not recorded")
        if delete and self._deleted_because is None:
            self._deleted_because = because
        self._do(self._switch.stop(delete=delete))
        return self._switch.state

    @contextmanager
    def secret(self, is_secret: bool = True) -> Iterator[None]:
        """Nothing is recorded meanwhile."""
        if not is_secret:
            yield
            return
        self._do(self._switch.pause("digits", self._clock() + DIGITS_S_MAX))
        try:
            yield
        finally:
            self._do(self._switch.resume("digits"))

    def _must_be_recorded(self) -> None:
        if self.state in ("off", "stopped", "deleted"):
            raise MisuseError("this call is not recorded" if self.state == "off" else "its recording has ended")

    # ---- the notice --------------------------------------------------------------------------------------------------

    def begin(self, session: RealtimeSession) -> None:
        """This session can be asked to speak now."""
        if self._notice:
            self._steering.in_background(self._announce(session))

    def cannot_announce(self, because: str) -> None:
        """The agent has something else to say, or nobody hears it."""
        self._greets = False
        self._announced(heard=False, because=because)

    def _announced(self, *, heard: bool, because: str) -> None:
        if not heard and self.announces and self._deleted_because is None:
            self._deleted_because = because
        self._do(self._switch.announced(heard=heard))

    async def _announce(self, session: RealtimeSession) -> None:
        try:
            async with asyncio.timeout(self._settings.notice_s_max):
                heard = await self._is_heard(session)
        except TimeoutError:
            heard = False
        self._announced(heard=heard, because=NOT_HEARD)
        if self._greets:
            await session.create_response(self._greeting)

    async def _is_heard(self, session: RealtimeSession) -> bool:
        for _ in range(NOTICE_TRIES):
            began_at = self._clock()
            outcome = await self._speech.say(self._notice, hear=True)
            spoken = next((item.text for item in reversed(session.history) if item.role == "assistant"), "")
            heard = outcome == "said" and is_said(self._notice, spoken)
            self._notices.append(NoticeGiven(self._notice, began_at, self._clock(), heard))
            if heard:
                return True
            if not self.announces or self._steering.over:
                return False
            log.warning(
                "the notice of the recording was not spoken: %s", outcome if outcome != "said" else "other words"
            )
        return False

    # ---- time, and the end -------------------------------------------------------------------------------------------

    def due(self, now: float) -> None:
        if now >= self._switch.next_deadline():
            self._do(self._switch.due(now))

    def next_deadline(self) -> float:
        return inf if self._recorder is None else self._switch.next_deadline()

    def end(self) -> None:
        """The call is over."""
        self.cannot_announce(NOT_HEARD)
        self._end_pause(self._clock())

    def _do(self, commands: list[Do]) -> None:
        if self._recorder is None:
            return
        now = self._clock()
        reason = self._switch.reason
        for command in commands:
            match command:
                case Do.PAUSE:
                    self._recorder.pause(now)
                case Do.RESUME:
                    self._recorder.resume(now)
                case Do.HIDE_CALLER | Do.SHOW_CALLER:
                    self._recorder.hide_caller(command is Do.HIDE_CALLER)
                    self._steering.hear_caller(command is Do.SHOW_CALLER)
                case Do.DELETE:
                    log.warning("the call is not recorded: %s", self._deleted_because)
                    self._recorder.delete()
        if reason != (self._pauses[-1].reason if self._pauses and self._pauses[-1].ended_at is None else None):
            self._end_pause(now)
            if reason is not None:
                self._pauses.append(PauseMade(now, None, reason))
            self._recorder.note("recording", now, state=self._switch.state, reason=reason)
            log.info("the recording is %s", self._switch.state)
        self._steering.rearm()

    def _end_pause(self, now: float) -> None:
        if self._pauses and self._pauses[-1].ended_at is None:
            self._pauses[-1] = msgspec.structs.replace(self._pauses[-1], ended_at=now)


def is_said(text: str, spoken: str) -> bool:
    """Whether a voice said this text, as its transcript tells: all its words in a row, whatever came before and after.

    No likeness will do: "this call is not recorded" is very like "this call is recorded".
    """
    wanted, said = _words(text), _words(spoken)
    length = len(wanted)
    return length > 0 and any(said[at : at + length] == wanted for at in range(len(said) - length + 1))


def _words(text: str) -> list[str]:
    bare = "".join(char if char.isalnum() else "" if char in "'\u2019" else " " for char in text.casefold())
    return bare.split()
