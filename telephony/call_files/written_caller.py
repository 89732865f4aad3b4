"""A caller who follows what a test has written down, in the place of a recorded one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from realtime_bridge.session.events import SessionEvent
from telephony.call_files.agent_words import AgentWords
from telephony.testing.caller_script import AgentEar, CallerStep, CallerVoice, spoken_steps
from telephony.testing.script import Press, Step
from telephony.trials.recorded_caller import RecordedCaller


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCaller(RecordedCaller):
    """Calls as often as she is asked for her `steps`. `event` must be told what happens in each call."""

    written: tuple[CallerStep, ...]
    voice: CallerVoice
    words: AgentWords

    @classmethod
    def of_written(cls, script: Sequence[CallerStep], voice: CallerVoice, name: str = "") -> WrittenCaller:
        """Raises MisuseError for what is no script, or cannot be said."""
        caller = cls(turns=(), hangs_up=None, name=name, written=tuple(script), voice=voice, words=AgentWords())
        caller.steps()
        return caller

    @property
    def presses_keys(self) -> bool:
        return any(isinstance(step, Press) for step in self.written)

    def steps(self, is_busy: Callable[[], bool] | None = None) -> list[Step]:
        self.words.reset()
        return spoken_steps(self.written, self.voice, AgentEar(is_busy, self.words.has_said))

    def event(self, event: SessionEvent) -> None:
        self.words.event(event)
