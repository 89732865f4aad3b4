"""A Realtime conversation as the messages and tools of a chat completion.

Source: openai/types/chat (`ChatCompletionMessageParam`, `ChatCompletionFunctionToolParam`). Chat endpoints are stricter
than the Realtime API: the results of tool calls must follow their calls at once, and every call must have one. Calls
that are still running get a placeholder.
"""

from __future__ import annotations

from typing import Any

from realtime_bridge.localmodel.brains.reading import function_tools, words_of
from realtime_bridge.localmodel.parts import Turn
from realtime_bridge.wire import Item

# The chat model writes for a screen unless it is told otherwise.
_SPOKEN = (
    "You are on the phone: everything you write is spoken. Answer in short plain sentences, without markup or lists."
)
_SILENCE = "(The caller said nothing that could be understood.)"
_CALL_BEGINS = "(The call has just been connected. Speak first.)"
_STILL_RUNNING = "(Still running; the result will follow.)"


def chat_messages(turn: Turn) -> list[dict[str, Any]]:
    """The whole conversation. There is always a user message, since many chat templates cannot do without."""
    system = f"{turn.instructions}\n\n{_SPOKEN}" if turn.instructions.strip() else _SPOKEN
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    outputs = {item.call_id: item.output or "" for item in turn.items if item.type == "function_call_output"}
    calls: list[Item] = []
    for item in turn.items:
        if item.type == "function_call":
            calls.append(item)
            continue
        if item.type == "message":
            messages += _calls_and_results(calls, outputs)
            calls = []
            messages.append(_message(item))
    messages += _calls_and_results(calls, outputs)
    if not any(message["role"] == "user" for message in messages):
        messages.append({"role": "user", "content": _CALL_BEGINS})
    return messages


def _message(item: Item) -> dict[str, Any]:
    text = words_of(item)
    if item.role in ("assistant", "system"):
        return {"role": item.role, "content": text}
    images = [part.image_url for part in item.content or () if part.type == "input_image" and part.image_url]
    if not images:
        return {"role": "user", "content": text or _SILENCE}
    words = [{"type": "text", "text": text}] if text else []
    return {"role": "user", "content": [*words, *({"type": "image_url", "image_url": {"url": url}} for url in images)]}


def _calls_and_results(calls: list[Item], outputs: dict[str | None, str]) -> list[dict[str, Any]]:
    """Calls made in one go are one message; their results follow in the same order."""
    if not calls:
        return []
    made = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
        for call in calls
    ]
    results = [
        {"role": "tool", "tool_call_id": call.call_id, "content": outputs.get(call.call_id, _STILL_RUNNING)}
        for call in calls
    ]
    return [{"role": "assistant", "content": None, "tool_calls": made}, *results]


def chat_tools(turn: Turn) -> dict[str, Any]:
    """The request's `tools` and `tool_choice`; nothing at all where no function may be called."""
    tools = [
        {
            "type": "function",
            "function": {key: tool[key] for key in ("name", "description", "parameters") if tool.get(key)},
        }
        for tool in function_tools(turn)
    ]
    if not tools:
        return {}
    chosen = turn.tool_choice
    if isinstance(chosen, dict):
        # function_tools has left the named one; choices among hosted tools are not for a chat endpoint
        named = chosen.get("type") == "function"
        chosen = {"type": "function", "function": {"name": chosen["name"]}} if named else "auto"
    return {"tools": tools, "tool_choice": chosen or "auto"}
