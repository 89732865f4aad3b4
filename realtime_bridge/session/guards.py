"""Output guardrails: when they run, what they have passed, and what a trip may still do.

They run on an item's words whenever these have grown by `every_chars`, and once on the whole. The first trip of a
response counts, later ones of the same response do not. While audio is held back (`holdback_ms`) they run as often as
verdicts come, and what has passed is released.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime_bridge.session.conversation import Key
from realtime_bridge.session.ids import Ids


@dataclass(slots=True)
class _Words:
    response_id: str
    agent: str
    text: str = ""
    asked_chars: int = 0  # how many characters the last run was given
    passed_chars: int = 0
    running: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One check of an item's words so far; `whole`: they are all of it."""

    run_id: str
    key: Key
    agent: str
    response_id: str
    text: str
    whole: bool


class Guards:
    def __init__(self, ids: Ids, *, every_chars: int, eager: bool) -> None:
        self._ids = ids
        self._every = every_chars
        self._eager = eager
        self._words: dict[Key, _Words] = {}
        self._runs: dict[str, Run] = {}
        self._tripped: set[str] = set()  # response ids

    def grew(self, key: Key, response_id: str, agent: str, text: str) -> Run | None:
        """An item's words are now `text`, and will grow."""
        words = self._words.setdefault(key, _Words(response_id, agent))
        words.text = text
        if response_id in self._tripped:
            return None
        if self._eager:
            return self._run(key, words) if words.running == 0 and len(text) > words.asked_chars else None
        if self._every and len(text) // self._every > words.asked_chars // self._every:
            return self._run(key, words)
        return None

    def ended(self, key: Key, response_id: str, agent: str, text: str) -> Run | None:
        """An item's words are all there."""
        words = self._words.setdefault(key, _Words(response_id, agent))
        words.text, words.whole = text, True
        if response_id in self._tripped or not text or words.asked_chars >= len(text):
            return None
        return self._run(key, words)

    def verdict(self, run_id: str, *, tripped: bool) -> tuple[Run, bool, Run | None] | None:
        """(the run, whether its trip counts, the next run). None for a run that is not known any more."""
        run = self._runs.pop(run_id, None)
        words = self._words.get(run.key) if run is not None else None
        if run is None or words is None:
            return None
        words.running -= 1
        if run.response_id in self._tripped:
            return run, False, None
        if tripped:
            self._tripped.add(run.response_id)
            return run, True, None
        words.passed_chars = max(words.passed_chars, len(run.text))
        more = self._eager and words.running == 0 and len(words.text) > words.asked_chars
        return run, False, self._run(run.key, words) if more else None

    def passed(self, key: Key) -> tuple[int, bool]:
        """(characters that have passed, whether that is all there will be)."""
        words = self._words.get(key)
        if words is None:
            return 0, False
        return words.passed_chars, words.whole and words.passed_chars >= len(words.text)

    def forget(self, response_id: str) -> None:
        """Long over: verdicts about it do not matter any more."""
        keys = [key for key, words in self._words.items() if words.response_id == response_id and not words.running]
        for key in keys:
            del self._words[key]

    def _run(self, key: Key, words: _Words) -> Run:
        run = Run(self._ids.new("guard"), key, words.agent, words.response_id, words.text, words.whole)
        words.asked_chars = len(words.text)
        words.running += 1
        self._runs[run.run_id] = run
        return run
