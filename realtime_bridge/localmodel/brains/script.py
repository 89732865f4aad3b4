"""A brain that follows a dialogue script (`script_format` tells how one is written).

It remembers nothing: where a conversation stands in its script is worked out from the conversation each time, so it goes
on unharmed when the conversation moves to a fresh connection.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from realtime_bridge.localmodel.brains.instructions import sentence_ordered, words_dictated
from realtime_bridge.localmodel.brains.phrases import Fit, fit
from realtime_bridge.localmodel.brains.reading import (
    Answered,
    Called,
    Happening,
    Heard,
    Spoken,
    Told,
    function_tools,
    happenings,
    has_begun,
    unanswered_from,
)
from realtime_bridge.localmodel.brains.script_format import PLACEHOLDER, START, AgentPart, Rule, Script
from realtime_bridge.localmodel.brains.telling import aloud, read_output, result_sentence
from realtime_bridge.localmodel.parts import CallTool, Deed, Say, Turn

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a conversation stands: the state, and what slots have captured."""

    state: str = START
    captured: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Step:
    deeds: tuple[Deed, ...]
    place: _Place


class _UnfilledError(Exception):
    """A placeholder has no value."""


class ScriptBrain:
    """A `Brain`."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def respond(self, turn: Turn) -> AsyncIterator[Deed]:
        for deed in _Performance(self._script, turn).respond():
            yield deed


class _Performance:
    """One response."""

    def __init__(self, script: Script, turn: Turn) -> None:
        self._script = script
        self._turn = turn
        self._agent = _active_agent(script, turn)
        self._rules = (*(self._agent.rules if self._agent else ()), *script.rules)
        self._callable = {str(tool["name"]) for tool in function_tools(turn)}
        self._declared = {str(tool.get("name")) for tool in turn.tools}

    @property
    def _greeting(self) -> str:
        return (self._agent.greeting if self._agent else None) or self._script.greeting

    @property
    def _fallback(self) -> str:
        return (self._agent.fallback if self._agent else None) or self._script.fallback

    def respond(self) -> Sequence[Deed]:
        story = happenings(self._turn.items)
        begin = unanswered_from(story)
        answer = self._answer(story, begin)
        if not answer:
            return self._unprompted(story, begin)
        heard = any(isinstance(happening, Heard) for happening in story[begin:])
        return answer if heard else [*self._rest_of_the_last(story[:begin]), *answer]

    def _answer(self, story: Sequence[Happening], begin: int) -> list[Deed]:
        """To all that is in the story from `begin` on."""
        place = _Place()
        for happening in story[self._since_handoff(story) : begin]:
            place = self._step(happening, place).place
        deeds: list[Deed] = []
        for happening in story[begin:]:
            step = self._step(happening, place)
            deeds, place = [*deeds, *step.deeds], step.place
        return deeds

    def _unprompted(self, story: Sequence[Happening], begin: int) -> Sequence[Deed]:
        """Nothing was heard that has an answer: the call begins, the caller is silent, the program wants something."""
        if not has_begun(story, self._greeting):
            return [Say(words_dictated(self._turn.instructions) or self._greeting)]
        if any(isinstance(happening, Heard) for happening in story[begin:]):
            return [Say(self._fallback)]
        ordered = sentence_ordered(self._turn.instructions)
        return [Say(ordered)] if ordered else self._rest_of_the_last(story[:begin])

    def _rest_of_the_last(self, story: Sequence[Happening]) -> Sequence[Deed]:
        """Where an answer was cut off with the connection, and nothing has been said since: what is missing of it."""
        spoken = story[-1] if story else None
        if not isinstance(spoken, Spoken) or not spoken.unfinished:
            return []
        said = list(takewhile(lambda happening: isinstance(happening, Spoken), reversed(story)))  # in one answer
        before = story[: len(story) - len(said)]
        answer = self._answer(before, unanswered_from(before)) or self._unprompted(before, len(before))
        for number, deed in enumerate(answer):
            if isinstance(deed, Say) and deed.text.startswith(spoken.text):
                rest = deed.text.removeprefix(spoken.text).strip()
                return [*([Say(rest)] if rest else []), *answer[number + 1 :]]
        return []

    def _since_handoff(self, story: Sequence[Happening]) -> int:
        """What came before the last call of a tool that this agent does not have was another agent's talk."""
        foreign = [
            index
            for index, happening in enumerate(story)
            if isinstance(happening, Called) and happening.tool not in self._declared
        ]
        return foreign[-1] + 1 if foreign else 0

    def _step(self, happening: Happening, place: _Place) -> _Step:
        match happening:
            case Heard() if happening.text:
                texts = {happening.text, *(text for text in happening.messages[-1:] if text)}
                step = self._on_phrase([rule for rule in self._rules if rule.heard], texts, place)
                return step or _Step((Say(self._fallback),), place)
            case Told():
                return self._on_phrase([rule for rule in self._rules if rule.told], {happening.text}, place) or _Step(
                    (), place
                )
            case Answered():
                return self._on_result(happening, place)
            case _:
                return _Step((), place)

    def _on_phrase(self, rules: Sequence[Rule], texts: set[str], place: _Place) -> _Step | None:
        """The rule whose phrase fits best, if one does. A phrase that takes any words comes after all others."""
        fitting: list[tuple[tuple[bool, float], Rule, Fit]] = []
        for rule in rules:
            if rule.applies_in(place.state):
                fits = [((not phrase.takes_anything, found.score), found) for phrase in rule.phrases
                        for found in (fit(phrase, text) for text in sorted(texts))]  # fmt: skip
                rank, found = max(fits, key=lambda each: each[0])
                if found.score >= self._script.threshold:
                    fitting.append((rank, rule, found))
        for _, rule, found in sorted(fitting, key=lambda each: each[0], reverse=True):  # stable: ties keep their order
            try:
                return self._perform(rule, replace(place, captured={**place.captured, **found.captured}), {})
            except _UnfilledError as e:
                _log.info("script: a rule does not apply, %s has no value yet", e)
        return None

    def _on_result(self, answered: Answered, place: _Place) -> _Step:
        value = read_output(answered.output)
        result = {"result": value, "result_text": answered.output}
        for rule in self._rules:
            if rule.after == answered.tool and rule.applies_in(place.state) and _holds(rule.only_if, value):
                try:
                    return self._perform(rule, place, result)
                except _UnfilledError as e:
                    _log.info("script: a rule after %s does not apply, the result has no %s", answered.tool, e)
        if answered.tool not in self._declared:  # a hand-off brought the call here
            return _Step((Say(self._greeting),), place)
        return _Step((Say(result_sentence(answered.output)),), place)

    def _perform(self, rule: Rule, place: _Place, result: Mapping[str, Any]) -> _Step:
        values = {**place.captured, **result}
        deeds: list[Deed] = [Say(_filled(rule.say, values))] if rule.say else []
        arguments = _argument(rule.arguments, values)
        if rule.call in self._callable:
            deeds.append(CallTool(rule.call, arguments))
        elif rule.call is not None and self._turn.tool_choice != "none":
            _log.warning("script: tool %s is not among the session's tools, so it is not called", rule.call)
        return _Step(tuple(deeds), replace(place, state=rule.next or place.state))


def _active_agent(script: Script, turn: Turn) -> AgentPart | None:
    names = {str(tool.get("name")) for tool in turn.tools}
    instructions = turn.instructions.casefold()
    for agent in script.agents:
        if set(agent.when.tools) <= names and agent.when.instructions.casefold() in instructions:
            return agent
    return None


def _holds(only_if: Mapping[str, Any], result: Any) -> bool:
    try:
        return all(_field(result, name) == wanted for name, wanted in only_if.items())
    except _UnfilledError:
        return False


def _field(value: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise _UnfilledError(path)
    return value


def _value(name: str, values: Mapping[str, Any]) -> Any:
    if name == "result":
        return values["result_text"] if "result_text" in values else _field({}, name)
    return _field(values, name)


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return PLACEHOLDER.sub(lambda match: aloud(_value(match[1], values)), text)


def _argument(value: Any, values: Mapping[str, Any]) -> Any:
    """`value` with its placeholders filled; one that stands alone keeps its type."""
    if isinstance(value, dict):
        return {key: _argument(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_argument(each, values) for each in value]
    if not isinstance(value, str):
        return value
    alone = PLACEHOLDER.fullmatch(value.strip())
    return _value(alone[1], values) if alone else _filled(value, values)
