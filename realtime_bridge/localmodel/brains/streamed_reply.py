"""Pieces of a streamed chat completion put together: whole sentences as soon as they are there, tool calls at the end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from realtime_bridge.errors import ProtocolError
from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.spoken_text import sentences

ARGUMENTS_CHARACTERS_MAX = 100_000
TOOL_CALLS_MAX = 32

_THINK_BEGIN, _THINK_END = "<think>", "</think>"
_MARKUP = re.compile(r"\*\*|__|`|^#+ ", re.MULTILINE)


class SentenceCutter:
    """Cuts a growing text. A sentence is whole once the next one begins; what stands in <think> tags is left out
    (models served without a reasoning parser put their thoughts there)."""

    def __init__(self) -> None:
        self._raw = ""
        self._text = ""
        self._thinking = False

    def push(self, piece: str) -> list[str]:
        """Sentences that are now whole."""
        self._raw += piece
        self._text += self._visible()
        *whole, _ = sentences(self._text) or [""]
        if whole:
            self._text = _behind(self._text, "".join("".join(whole).split()))
        return [spoken for sentence in whole if (spoken := _MARKUP.sub("", sentence).strip())]

    def finish(self) -> list[str]:
        """What is left, when the text is over."""
        rest = self._text if self._thinking else self._text + self._raw
        self._raw = self._text = ""
        return [spoken for sentence in sentences(rest) if (spoken := _MARKUP.sub("", sentence).strip())]

    def _visible(self) -> str:
        """Take from the raw text what is certainly no thought."""
        shown = ""
        while True:
            tag = _THINK_END if self._thinking else _THINK_BEGIN
            before, found, behind = self._raw.partition(tag)
            if not found:
                kept = _begun(self._raw, tag)
                shown += "" if self._thinking else self._raw[: len(self._raw) - kept]
                self._raw = self._raw[len(self._raw) - kept :]
                return shown
            shown += "" if self._thinking else before
            self._thinking = not self._thinking
            self._raw = behind


def _begun(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((length for length in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-length:])), 0)


def _behind(text: str, letters: str) -> str:
    """`text` from behind these letters, white space aside."""
    count = len(letters)
    for index, character in enumerate(text):
        if count == 0:
            return text[index:]
        count -= not character.isspace()
    return ""


@dataclass(slots=True)
class _Call:
    call_id: str | None = None
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a tool call; what is not in it is None or ""."""

    index: int | None
    call_id: str | None
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ReplyPiece:
    """What one chunk adds. `is_last`: the reply is complete with it."""

    text: str
    calls: tuple[CallPiece, ...]
    is_last: bool


def read_chunk(chunk: Any) -> ReplyPiece:
    """`chunk`: a `ChatCompletionChunk` by its type, but the client fills it with whatever JSON the endpoint sends.

    Raises ProtocolError.
    """
    try:
        if not chunk.choices:  # usage, or a sign of life
            return ReplyPiece("", (), is_last=False)
        choice = chunk.choices[0]
        calls = tuple(
            CallPiece(
                piece.index if isinstance(piece.index, int) else None,
                piece.id,
                str(piece.function.name or "") if piece.function else "",
                str(piece.function.arguments or "") if piece.function else "",
            )
            for piece in choice.delta.tool_calls or ()
        )
        return ReplyPiece(str(choice.delta.content or ""), calls, is_last=choice.finish_reason is not None)
    except (AttributeError, TypeError, LookupError) as e:
        raise ProtocolError(f"not a chunk of a chat completion: {e}", where="$.choices") from e


class ToolCalls:
    """Assembles `delta.tool_calls`. Some servers leave out the index and send each call whole; then the id tells."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}

    def push(self, piece: CallPiece) -> None:
        """Raises ProtocolError beyond the limits."""
        last = max(self._calls, default=-1)
        index = piece.index
        if index is None:
            begins = last < 0 or (piece.call_id is not None and piece.call_id != self._calls[last].call_id)
            index = last + 1 if begins else last
        if len(self._calls) >= TOOL_CALLS_MAX and index not in self._calls:
            raise ProtocolError(
                f"more than {TOOL_CALLS_MAX} tool calls in one reply", where="$.choices[0].delta.tool_calls"
            )
        call = self._calls.setdefault(index, _Call())
        call.call_id = call.call_id or piece.call_id
        call.name = call.name or piece.name  # some servers repeat it in every piece
        call.arguments += piece.arguments
        if len(call.arguments) > ARGUMENTS_CHARACTERS_MAX:
            raise ProtocolError(f"arguments of {call.name!r} longer than {ARGUMENTS_CHARACTERS_MAX:,} characters")

    def finish(self, allowed: set[str]) -> list[CallTool]:
        """The calls, in order. Raises ProtocolError for a tool not in `allowed` and for arguments that are no object."""
        return [CallTool(_checked_name(call.name, allowed), _object(call)) for _, call in sorted(self._calls.items())]


def _checked_name(name: str, allowed: set[str]) -> str:
    if name not in allowed:
        raise ProtocolError(f"a call of a tool that was not offered: {name[:64]!r}")
    return name


def _object(call: _Call) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError as e:
        raise ProtocolError(f"the arguments of {call.name!r} are not JSON: {e}") from e
    if not isinstance(arguments, dict):
        raise ProtocolError(f"the arguments of {call.name!r} are no JSON object")
    return arguments
