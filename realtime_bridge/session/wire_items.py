"""From the wire's conversation items to the history's, and back where the conversation has to be told to a model again."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from realtime_bridge.session.items import HistoryItem, ItemKind
from realtime_bridge.wire import ContentPart, Item
from realtime_bridge.wire.items import ItemStatus

_PART_TYPES = {
    "text": "output_text",
    "audio": "output_audio",
}  # `response.content_part.*` says it shorter than items do
_KINDS: dict[str, ItemKind] = {"message": "message", "function_call": "function_call", "mcp_call": "mcp_call"}


def kind_of(item: Item) -> ItemKind | None:
    """Its kind in the history; None for items that are none of the conversation's own (results, lists, approvals)."""
    return _KINDS.get(item.type)


def merged(known: HistoryItem, item: Item, *, keep_audio: bool) -> HistoryItem:
    """`known`, with what `item` adds. Words that are known are never lost to an item that comes without them."""
    content = merged_parts(known.content, item.content or (), keep_audio=keep_audio)
    return msgspec.structs.replace(
        known,
        type=kind_of(item) or known.type,
        status=item.status or known.status,
        role=item.role or known.role,
        content=content,
        call_id=item.call_id or known.call_id,
        name=item.name or known.name,
        arguments=item.arguments if item.arguments is not None else known.arguments,
        output=item.output if item.output is not None else known.output,
        server_label=item.server_label or known.server_label,
    )


def merged_parts(
    known: tuple[ContentPart, ...], new: tuple[ContentPart, ...], *, keep_audio: bool
) -> tuple[ContentPart, ...]:
    parts = list(known)
    for index, part in enumerate(new):
        old = known[index] if index < len(known) else ContentPart(type=part.type)
        mixed = ContentPart(
            type=_PART_TYPES.get(part.type, part.type),
            text=part.text or old.text,
            transcript=part.transcript or old.transcript,
            audio=(part.audio or old.audio) if keep_audio else None,
            image_url=part.image_url or old.image_url,
            detail=part.detail or old.detail,
        )
        parts[index : index + 1] = [mixed]
    return tuple(parts)


def with_part(item: HistoryItem, index: int, part: ContentPart) -> HistoryItem:
    """The item with its content part at `index` set; parts before it that are not there yet come empty."""
    parts = list(item.content)
    while len(parts) <= index:
        parts.append(ContentPart(type=part.type))
    parts[index] = part
    return msgspec.structs.replace(item, content=tuple(parts))


def to_create(item: HistoryItem, output_id: str | None) -> list[Item]:
    """The wire items that tell a model about this one; none where there is nothing to tell (unheard, not understood).

    "Restored assistant turns are sent as output_text; assistant audio cannot be re-created": so spoken words become
    text, the caller's too unless the audio itself was kept. A call's result becomes an item `output_id` of its own.
    """
    if item.type == "message":
        content = tuple(_part_to_create(item, part) for part in item.content)
        told = tuple(part for part in content if part is not None)
        # "Has no effect on the conversation"; but whoever reads it may see that the agent was cut off.
        cut_off = item.role == "assistant" and item.status == "incomplete"
        status: ItemStatus | None = "incomplete" if cut_off else None
        return [Item(type="message", id=item.item_id, role=item.role, content=told, status=status)] if told else []
    if item.type == "mcp_call":
        return [
            Item(
                type="mcp_call",
                id=item.item_id,
                server_label=item.server_label,
                name=item.name,
                arguments=item.arguments or "{}",
                output=item.output,
            )
        ]
    call = Item(
        type="function_call", id=item.item_id, call_id=item.call_id, name=item.name, arguments=item.arguments or "{}"
    )
    if item.output is None:
        return [call]
    return [call, Item(type="function_call_output", id=output_id, call_id=item.call_id, output=item.output)]


def _part_to_create(item: HistoryItem, part: ContentPart) -> ContentPart | None:
    if item.role == "assistant":
        words = part.text or part.transcript
        return ContentPart(type="output_text", text=words) if words else None
    if part.type == "input_image":
        return part if part.image_url else None
    if part.type == "input_audio" and part.audio:
        return part
    words = part.text or part.transcript
    return ContentPart(type="input_text", text=words) if words else None


def joined(items: Iterable[HistoryItem]) -> str:
    """The items' words, for one response's output."""
    return " ".join(text for item in items if (text := item.text))
