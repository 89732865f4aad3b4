"""A brain that needs no script: given only an agent's instructions and tools, it still makes sense.

It greets, says back what it understood, calls the tool that fits the caller's words, asks for what is missing, and reads
the result out. No language model: rules and fuzzy matching, in English, the same answer to the same conversation. What
it knows of a conversation it reads from its items each time, so it goes on in the middle of one as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from realtime_bridge.localmodel.brains.choosing import STRONG_FIT_MIN, Choice, best_tool
from realtime_bridge.localmodel.brains.instructions import greeting_in, sentence_ordered, words_dictated
from realtime_bridge.localmodel.brains.parameters import Kind, Parameter, Tool, read_tool
from realtime_bridge.localmodel.brains.reading import (
    Answered,
    Called,
    Happening,
    Heard,
    Spoken,
    function_tools,
    happenings,
    has_begun,
    unanswered_from,
)
from realtime_bridge.localmodel.brains.smalltalk import Talk, small_talk
from realtime_bridge.localmodel.brains.telling import listed, question_for, result_sentence, understood
from realtime_bridge.localmodel.brains.values import find_values
from realtime_bridge.localmodel.brains.words import spoken_name, utterance
from realtime_bridge.localmodel.parts import CallTool, Deed, Say, Turn

_log = logging.getLogger(__name__)

QUESTIONS_MAX = 3  # for the same value, before the request is given up

_REPLAYED_MAX = 120  # happenings; a request that has been open for longer is forgotten
_GREETING = "Hello, how can I help you?"
_ANYTHING_ELSE = "Is there anything else I can do for you?"
_HANG_UP = ("end_call", "hang_up", "hangup", "end_conversation", "finish_call")


@dataclass(frozen=True, slots=True)
class _Request:
    """A tool the caller wants, and what is known of its arguments. `asked`: the value that was asked for last, for the
    `questions`-th time; None: nothing is missing, but the caller spoke before the call went out. `said`: all the caller
    said about it."""

    tool: Tool
    values: dict[tuple[str, ...], Any] = field(default_factory=dict)
    asked: Parameter | None = None
    questions: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What to do, the request that is open afterwards, and what the log should know."""

    deeds: tuple[Deed, ...]
    request: _Request | None = None
    problem: str = ""


def _local_now() -> datetime:
    return datetime.now().astimezone()


class AgentBrain:
    """A `Brain`. `now`: the callers' local time with its zone, from which "tomorrow" counts."""

    def __init__(self, now: Callable[[], datetime] = _local_now) -> None:
        self._now = now

    async def respond(self, turn: Turn) -> AsyncIterator[Deed]:
        for deed in _Dialogue(turn, self._now()).respond():
            yield deed


class _Dialogue:
    """One response."""

    def __init__(self, turn: Turn, now: datetime) -> None:
        self._turn = turn
        self._now = now
        self._story = happenings(turn.items)
        self._tools = [read_tool(tool) for tool in function_tools(turn)]
        self._must_call = turn.tool_choice == "required" or isinstance(turn.tool_choice, dict)

    def respond(self) -> Sequence[Deed]:
        begin = unanswered_from(self._story)
        new = self._story[begin:]
        words = [happening for happening in new if isinstance(happening, Heard) and happening.text]
        results = [happening for happening in new if isinstance(happening, Answered)]
        if not words and not results:
            return self._unprompted(new)
        deeds: list[Deed] = []
        request = self._open_request(begin)
        for happening in new:
            answer = self._step(happening, request)
            deeds, request = [*deeds, *answer.deeds], answer.request
            if answer.problem:
                _log.warning("%s", answer.problem)
        last = deeds[-1] if results and not words and request is None and deeds else None
        if isinstance(last, Say) and not last.text.endswith("?"):
            deeds.append(Say(_ANYTHING_ELSE))
        return deeds

    def _step(self, happening: Happening, request: _Request | None) -> _Answer:
        if isinstance(happening, Answered):
            return self._on_result(happening, request)
        if isinstance(happening, Heard) and happening.text:
            return self._on_words(happening.text, request)
        return _Answer((), request)

    def _unprompted(self, new: Sequence[Happening]) -> Sequence[Deed]:
        """A response is wanted though nothing was said: the call begins, the caller is silent, a tool takes its time."""
        ordered = sentence_ordered(self._turn.instructions)
        greeting = greeting_in(self._turn.instructions) or ordered or _GREETING
        if not has_begun(self._story, greeting):
            return [Say(words_dictated(self._turn.instructions) or greeting)]
        if any(isinstance(happening, Heard) for happening in new):
            request = self._open_request(unanswered_from(self._story))
            if request is not None and request.asked is not None:
                return [Say(question_for(request.asked, again=True))]
            return [Say("I am sorry, I did not hear you. Are you still there?")]
        if ordered:
            return [Say(ordered)]
        answered = {happening.call_id for happening in self._story if isinstance(happening, Answered)}
        waiting = any(isinstance(happening, Called) and happening.call_id not in answered for happening in self._story)
        return [Say("One moment, please." if waiting else "Are you still there?")] if not new else []

    def _open_request(self, end: int) -> _Request | None:
        """What the conversation up to `end` left open: gone through again since the last tool call, which closed all."""
        calls = [index for index, happening in enumerate(self._story[:end]) if isinstance(happening, Called)]
        request = None
        for happening in self._story[max(calls[-1] + 1 if calls else 0, end - _REPLAYED_MAX) : end]:
            request = self._step(happening, request).request
        return request

    def _on_result(self, result: Answered, request: _Request | None) -> _Answer:
        declared = {str(tool.get("name")) for tool in self._turn.tools}
        if result.tool.startswith("transfer_to_") and result.tool not in declared:
            return self._on_arrival(result)
        if result.tool in _HANG_UP:
            return _Answer((), request)
        return _Answer((Say(result_sentence(result.output)),), request)

    def _on_arrival(self, transfer: Answered) -> _Answer:
        """The call was just handed to this agent: greet, and go on with what the caller wanted."""
        greeting = greeting_in(self._turn.instructions) or f"Hello, this is {_agent_name(transfer)}."
        called = self._story.index(Called(transfer.tool, transfer.call_id))
        heard = [
            happening.text for happening in self._story[:called] if isinstance(happening, Heard) and happening.text
        ]
        own = [tool for tool in self._tools if not tool.is_handoff]  # never straight on to the next
        choice = best_tool(own, heard[-1], fit_min=STRONG_FIT_MIN) if heard else None
        if choice is None or not choice.tool.can_be_filled:
            return _Answer((Say(greeting if greeting.endswith("?") else f"{greeting} How can I help you?"),))
        answer = self._proceed(_Request(choice.tool), heard[-1])
        return replace(answer, deeds=(Say(greeting), *answer.deeds))

    def _on_words(self, text: str, request: _Request | None) -> _Answer:
        talk = small_talk(utterance(text))
        if request is not None:
            return self._on_answer(request, text, talk)
        choice = self._choose(text)
        if choice is not None and (talk is None or choice.fit >= STRONG_FIT_MIN or self._must_call):
            return self._begin(choice.tool, text)
        return self._on_talk(talk, text)

    def _choose(self, text: str) -> Choice | None:
        if self._must_call:
            return best_tool([tool for tool in self._tools if tool.can_be_filled], text, fit_min=0.0)
        return best_tool(self._tools, text)

    def _begin(self, tool: Tool, text: str) -> _Answer:
        if not tool.can_be_filled:
            problem = f"tool {tool.name} requires arguments that cannot be asked for in words"
            return _Answer(
                (Say(f"I am sorry, I cannot do that by voice: {tool.title}. {_ANYTHING_ELSE}"),), None, problem
            )
        return self._proceed(_Request(tool), text)

    def _on_answer(self, request: _Request, text: str, talk: Talk | None) -> _Answer:
        asked = request.asked
        if asked is None:
            return self._on_interruption(request, text, talk)
        is_plain = asked.kind is Kind.TEXT  # takes any answer, so what is no answer must be told apart first
        understood_it = not is_plain and asked.path in self._found(request, text)
        if not understood_it:
            if talk in (Talk.GOODBYE, Talk.NEVER_MIND):
                return self._on_talk(talk, text)
            if talk in (Talk.PARDON, Talk.UNSURE):
                return self._ask_again(request)
            rival = best_tool([t for t in self._tools if t.name != request.tool.name], text, fit_min=STRONG_FIT_MIN)
            if rival is not None:
                return self._begin(rival.tool, text)
        return self._proceed(request, text)

    def _on_interruption(self, request: _Request, text: str, talk: Talk | None) -> _Answer:
        """The caller spoke into "One moment, please", so the call did not go out: do it now, unless they mean otherwise."""
        if talk in (Talk.GOODBYE, Talk.NEVER_MIND, Talk.NO):
            return self._on_talk(Talk.NEVER_MIND if talk is Talk.NO else talk, text)
        choice = best_tool(self._tools, text)
        if choice is not None and choice.tool.name != request.tool.name:
            return self._begin(choice.tool, text)
        corrected = find_values(request.tool.parameters, text, now=self._now)
        return self._call(replace(request, values=request.values | corrected))

    def _found(self, request: _Request, text: str) -> dict[tuple[str, ...], Any]:
        wanted = [p for p in request.tool.parameters if p.path not in request.values and p.kind is not Kind.OTHER]
        found = find_values(wanted, text, now=self._now, asked=request.asked, insist=request.questions > 1)
        asked = request.asked
        if asked is not None and asked.kind is Kind.MOMENT and asked.path not in found:
            # "Tomorrow." - "At what time?" - "At three.": the parts come one by one.
            found |= find_values([asked], f"{request.said}, {text}", now=self._now, asked=asked)
        return found

    def _proceed(self, request: _Request, text: str) -> _Answer:
        """Take what was said; then call the tool, or ask for the first value that is missing."""
        tool = request.tool
        values = request.values | self._found(request, text)
        missing = next((parameter for parameter in tool.needed if parameter.path not in values), None)
        if missing is None:
            return self._call(replace(request, values=values, asked=None))
        said = f"{request.said}, {text}".strip(", ")
        if missing is request.asked:
            return self._ask_again(replace(request, values=values, said=said))
        question = question_for(missing, again=False)
        if request.asked is None:
            question = f"All right, {_ended(understood(tool, values))} {question}"
        return _Answer((Say(question),), replace(request, values=values, asked=missing, questions=1, said=said))

    def _ask_again(self, request: _Request) -> _Answer:
        assert request.asked is not None
        if request.questions >= QUESTIONS_MAX:
            return _Answer((Say("I am sorry, I cannot make that out. Let us leave it. What else can I do for you?"),))
        return _Answer(
            (Say(question_for(request.asked, again=True)),), replace(request, questions=request.questions + 1)
        )

    def _call(self, request: _Request) -> _Answer:
        tool, values = request.tool, request.values
        needed = {parameter.path for parameter in tool.needed}
        for chosen in (values, {path: value for path, value in values.items() if path in needed}):
            arguments = tool.arguments(chosen)
            if tool.accepts(arguments):
                return _Answer((Say(_announcement(tool, chosen)), CallTool(tool.name, arguments)), request)
        problem = f"tool {tool.name}: its schema refuses what the caller said, or is no JSON schema"
        return _Answer((Say(f"I am sorry, I cannot do that just now: {tool.title}. {_ANYTHING_ELSE}"),), None, problem)

    def _on_talk(self, talk: Talk | None, text: str) -> _Answer:
        match talk:
            case Talk.GOODBYE:
                return self._goodbye()
            case Talk.THANKS:
                return _Answer((Say(f"You are welcome. {_ANYTHING_ELSE}"),))
            case Talk.NEVER_MIND:
                return _Answer((Say("All right. What else can I do for you?"),))
            case Talk.PARDON:
                spoken = [
                    happening.text for happening in self._story if isinstance(happening, Spoken) and happening.text
                ]
                return _Answer((Say(spoken[-1] if spoken else _GREETING),))
            case Talk.ABILITIES | Talk.UNSURE:
                return _Answer((Say(self._abilities() or _GREETING),))
            case Talk.HELLO:
                return _Answer((Say(_GREETING),))
            case Talk.YES:
                return _Answer((Say("What can I do for you?"),))
            case Talk.NO:
                return _Answer((Say("All right. Thank you for calling. Goodbye!"),))
            case None:
                said = text.strip().rstrip(".!?…")
                return _Answer((Say(f"I understood: {said}. {self._abilities() or 'How can I help you with that?'}"),))

    def _goodbye(self) -> _Answer:
        farewell = Say("Thank you for calling. Goodbye!")
        hang_up = next((tool for tool in self._tools if tool.name in _HANG_UP and not tool.needed), None)
        if hang_up is None:
            return _Answer((farewell,))
        arguments = hang_up.arguments({})
        return _Answer((farewell, CallTool(hang_up.name, arguments)) if hang_up.accepts(arguments) else (farewell,))

    def _abilities(self) -> str:
        able = [
            tool.title
            for tool in self._tools
            if tool.can_be_filled and not tool.is_handoff and tool.name not in _HANG_UP
        ]
        others = [tool.title.removeprefix("transfer to ") for tool in self._tools if tool.is_handoff]
        offers = [f"help with {listed(able[:3], 'or')}"] if able else []
        offers += [f"put you through to {listed(others[:3], 'or')}"] if others else []
        return f"I can {listed(offers, 'or')}. What would you like?" if offers else ""


def _announcement(tool: Tool, values: dict[tuple[str, ...], Any]) -> str:
    if tool.is_handoff:
        return f"I am putting you through to {tool.title.removeprefix('transfer to ')}."
    return f"I understood: {_ended(understood(tool, values))} One moment, please."


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."


def _agent_name(transfer: Answered) -> str:
    """From the transfer message of OpenAI's SDKs, `{"assistant": "Billing"}`, else from the tool's name."""
    try:
        message = json.loads(transfer.output)
    except ValueError:
        message = None
    if isinstance(message, dict) and isinstance(message.get("assistant"), str) and message["assistant"].strip():
        return str(message["assistant"]).strip()
    return spoken_name(transfer.tool.removeprefix("transfer_to_"))
