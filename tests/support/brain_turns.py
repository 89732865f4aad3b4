"""Conversations for brains, written down as items, and one response of a brain as a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from realtime_bridge.localmodel.parts import Brain, CallTool, Deed, Say, Turn
from realtime_bridge.wire import ContentPart, Item


def caller(transcript: str | None) -> Item:
    """The caller's speech, as the recogniser wrote it; None: not understood."""
    return Item(type="message", role="user", content=(ContentPart(type="input_audio", transcript=transcript),))


def agent(transcript: str) -> Item:
    return Item(type="message", role="assistant", content=(ContentPart(type="output_audio", transcript=transcript),))


def system(text: str) -> Item:
    return Item(type="message", role="system", content=(ContentPart(type="input_text", text=text),))


def call(name: str, call_id: str = "call_1", **arguments: Any) -> Item:
    return Item(type="function_call", name=name, call_id=call_id, arguments=json.dumps(arguments))


def result(output: Any, call_id: str = "call_1") -> Item:
    text = output if isinstance(output, str) else json.dumps(output)
    return Item(type="function_call_output", call_id=call_id, output=text)


def function(
    name: str, description: str = "", required: Iterable[str] | None = None, **properties: Any
) -> dict[str, Any]:
    """A function tool; every property is required unless `required` says otherwise."""
    needed = list(properties if required is None else required)
    schema = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return {"type": "function", "name": name, "description": description, "parameters": schema}


def turn(
    items: Sequence[Item], tools: Sequence[dict[str, Any]] = (), instructions: str = "", tool_choice: Any = "auto"
) -> Turn:
    return Turn(instructions, tuple(tools), tool_choice, tuple(items))


async def _collect(brain: Brain, asked: Turn) -> list[Deed]:
    return [deed async for deed in brain.respond(asked)]


def deeds(brain: Brain, asked: Turn) -> list[Deed]:
    return asyncio.run(_collect(brain, asked))


def words(done: Iterable[Deed]) -> str:
    return " ".join(deed.text for deed in done if isinstance(deed, Say))


def calls(done: Iterable[Deed]) -> list[CallTool]:
    return [deed for deed in done if isinstance(deed, CallTool)]


class Talk:
    """A conversation that goes on: what the caller says goes in, what the brain does is added to it.

    Tools answer at once with `results[name]`.
    """

    def __init__(
        self,
        brain: Brain,
        tools: Sequence[dict[str, Any]] = (),
        instructions: str = "",
        results: dict[str, Any] | None = None,
    ) -> None:
        self.brain = brain
        self.tools = list(tools)
        self.instructions = instructions
        self.results = results or {}
        self.items: list[Item] = []
        self.called: list[CallTool] = []

    def hear(self, transcript: str | None) -> str:
        """Everything that is said until the caller's turn comes again."""
        self.items.append(caller(transcript))
        return self.answer()

    def answer(self) -> str:
        said: list[str] = []
        for _ in range(10):
            done = deeds(self.brain, turn(self.items, self.tools, self.instructions))
            for deed in done:
                self._add(deed)
            said.append(words(done))
            if not calls(done):
                return " ".join(text for text in said if text)
            for made in calls(done):
                self.items.append(result(self.results.get(made.name, "done"), f"call_{self.called.index(made)}"))
        raise AssertionError("ten tool calls without a turn of the caller")

    def _add(self, deed: Deed) -> None:
        if isinstance(deed, Say):
            self.items.append(agent(deed.text))
        else:
            self.called.append(deed)
            self.items.append(call(deed.name, f"call_{len(self.called) - 1}", **deed.arguments))
