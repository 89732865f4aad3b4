"""What a client brings into the conversation: its items and its audio, checked as the API checks them."""

from __future__ import annotations

import binascii
from collections.abc import Callable

import msgspec
import pybase64

from realtime_bridge.localmodel.conversation import Entry, Part, Sound
from realtime_bridge.localmodel.formats import FormatName, is_whole
from realtime_bridge.localmodel.refusals import Refusal, refusal_of, supported
from realtime_bridge.wire import ContentPart, Item

ITEM_ID_CHARACTERS_MAX = 32

_ITEM_TYPES = ("message", "function_call", "function_call_output")
_REQUIRED = {"function_call": ("name", "arguments"), "function_call_output": ("call_id", "output")}
_PART_TYPES: dict[str, tuple[str, ...]] = {
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text", "output_audio"),
    "system": ("input_text",),
}
# "cannot populate assistant audio messages" (conversation_item_create_event.py): what is missing of one is its text.
_PART_NEEDS = {
    "input_text": "text",
    "output_text": "text",
    "output_audio": "text",
    "input_audio": "audio",
    "input_image": "image_url",
}
_AUDIO_KINDS: dict[FormatName, str] = {
    "audio/pcm": "mono PCM16 at 24kHz",
    "audio/pcmu": "G.711 mu-law at 8kHz",
    "audio/pcma": "G.711 A-law at 8kHz",
}


def audio_bytes(base64: str, audio_format: FormatName, *, param: str) -> bytes:
    """Decode audio of a client event. Raises Refusal."""
    try:
        audio = pybase64.b64decode(base64, validate=True)
    except (binascii.Error, ValueError):
        audio = None
    if audio is None or not is_whole(audio, audio_format):
        kind = _AUDIO_KINDS[audio_format]
        message = f"Invalid 'audio'. Expected base64-encoded audio bytes ({kind}) but got an invalid value."
        raise Refusal(message, code="invalid_value", param=param)
    return audio


def entry_of(item: Item, audio_format: FormatName, new_id: Callable[[str], str], *, path: str = "item") -> Entry:
    """Make a conversation entry of an item. `path`: where the item lies in its event. Raises Refusal."""
    if item.type not in _ITEM_TYPES:
        message = f"Invalid value: '{item.type}'. Supported values are: {supported(_ITEM_TYPES)}."
        raise Refusal(message, code="invalid_value", param=f"{path}.type")
    if item.id is not None and not 0 < len(item.id) <= ITEM_ID_CHARACTERS_MAX:
        message = (
            f"Invalid '{path}.id': string too long. Expected a string with maximum length {ITEM_ID_CHARACTERS_MAX}."
        )
        raise Refusal(message, code="string_above_max_length", param=f"{path}.id")
    for field in _REQUIRED.get(item.type, ("role", "content")):
        _require(getattr(item, field), f"{path}.{field}")
    call_id = item.call_id or (new_id("call") if item.type == "function_call" else None)
    base = Item(
        type=item.type,
        id=item.id or new_id("item"),
        object="realtime.item",
        role=item.role,
        call_id=call_id,
        name=item.name,
        arguments=item.arguments,
        output=item.output,
    )
    parts = [
        _part(part, _PART_TYPES[item.role or "user"], audio_format, f"{path}.content[{index}]")
        for index, part in enumerate(item.content or ())
    ]
    return Entry(base, item.status or "completed", parts)


def item_from(raw: dict[str, object], *, path: str) -> Item:
    """An item that came as plain JSON. Raises Refusal."""
    try:
        return msgspec.convert(raw, Item)
    except msgspec.ValidationError as e:
        raise refusal_of(str(e), under=path) from e


def _part(part: ContentPart, allowed: tuple[str, ...], audio_format: FormatName, path: str) -> Part:
    if part.type not in allowed:
        expected = (
            f"Value must be '{allowed[0]}'" if len(allowed) == 1 else f"Supported values are: {supported(allowed)}"
        )
        raise Refusal(f"Invalid value: '{part.type}'. {expected}.", code="invalid_value", param=f"{path}.type")
    needed = _PART_NEEDS[part.type]
    _require(getattr(part, needed), f"{path}.{needed}")
    if part.type != "input_audio":
        return Part(part.type, text=part.text, image_url=part.image_url)
    audio = audio_bytes(part.audio or "", audio_format, param=f"{path}.audio")
    sound = Sound(audio_format, bytearray(audio), len(audio))
    return Part(part.type, transcript=part.transcript, sound=sound)


def _require(value: object, param: str) -> None:
    if value is None:
        raise Refusal(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)
