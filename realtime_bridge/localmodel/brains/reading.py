"""A conversation, read as what happened in it.

Brains decide from a list of such happenings alone and remember nothing between responses, so a conversation that moves
to a fresh connection goes on where it was: nothing is greeted, asked or called a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from realtime_bridge.localmodel.parts import Turn
from realtime_bridge.wire import Item


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller said, in one or several messages in a row; "" where nothing was understood."""

    messages: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(message for message in self.messages if message)


@dataclass(frozen=True, slots=True)
class Told:
    """A system message: the program tells the model something, such as a key the caller pressed."""

    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the model said, as far as the caller heard it. `unfinished`: it was cut off."""

    text: str
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """The model called a tool."""

    tool: str
    call_id: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A tool's result, as its text. `tool` is "" when the call itself is not in the conversation."""

    tool: str
    call_id: str
    output: str


Happening: TypeAlias = Heard | Told | Spoken | Called | Answered


def happenings(items: Sequence[Item]) -> list[Happening]:
    """The conversation in order; user messages in a row are one `Heard`. Items of other types are left out."""
    tools = {item.call_id: item.name or "" for item in items if item.type == "function_call"}
    result: list[Happening] = []
    for item in items:
        happening = _happening(item, tools)
        if isinstance(happening, Heard) and result and isinstance(result[-1], Heard):
            result[-1] = Heard((*result[-1].messages, *happening.messages))
        elif happening is not None:
            result.append(happening)
    return result


def _happening(item: Item, tools: dict[str | None, str]) -> Happening | None:
    if item.type == "function_call":
        return Called(item.name or "", item.call_id or "")
    if item.type == "function_call_output":
        return Answered(tools.get(item.call_id, ""), item.call_id or "", item.output or "")
    if item.type != "message":
        return None
    if item.role == "assistant":
        return Spoken(words_of(item), unfinished=item.status == "incomplete")
    return Told(words_of(item)) if item.role == "system" else Heard((words_of(item),))


def words_of(item: Item) -> str:
    """Text and transcripts of a message, whatever its kind of content."""
    parts = [part.text if part.text is not None else part.transcript for part in item.content or ()]
    return " ".join(part.strip() for part in parts if part and part.strip())


def unanswered_from(story: Sequence[Happening]) -> int:
    """Index of the first happening after the model's last word or call: what a response now must answer."""
    own = [index for index, happening in enumerate(story) if isinstance(happening, Spoken | Called)]
    return own[-1] + 1 if own else 0


def has_begun(story: Sequence[Happening], greeting: str) -> bool:
    """Whether there is anything that a greeting would come too late for. A notice that came before it is none."""
    if any(isinstance(happening, Called) for happening in story):
        return True
    spoken = [happening.text for happening in story if isinstance(happening, Spoken)]
    more = len(spoken) not in (0, len(story))
    return more or len(spoken) > 1 or any(greeting.startswith(text) or text.startswith(greeting) for text in spoken)


def function_tools(turn: Turn) -> tuple[dict[str, Any], ...]:
    """The functions that may be called in this response: those of the turn, as `tool_choice` narrows them."""
    tools = tuple(tool for tool in turn.tools if tool.get("type", "function") == "function" and tool.get("name"))
    if turn.tool_choice == "none":
        return ()
    if isinstance(turn.tool_choice, dict) and turn.tool_choice.get("type") == "function":
        return tuple(tool for tool in tools if tool["name"] == turn.tool_choice.get("name"))
    return tools
