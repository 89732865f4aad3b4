"""What of a call's inputs is not kept while its recording is paused.

Words become dots, letter by letter, and audio silence of the same length, so that everything else can be kept: who spoke
when, what was interrupted, which tool ran. What was said in a pause may come back after it (a transcript that is late, a
reply that is told whole once it is done, a conversation that is told to a fresh model): it goes by its ids.

Pure.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import pybase64

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.audio.transcode import AudioKind

BLANK: Final = "•"
SILENT_KEY: Final = "0"  # a key that was pressed, which must remain one
# Fields that hold what somebody said, typed, was told or shown; in events, items, tool calls and program inputs.
_WORDS: Final = frozenset(
    {
        *("text", "transcript", "delta", "unheard", "image_url", "instructions", "message"),
        *("arguments", "output", "refusal", "error", "errors", "feedback", "info"),
    }
)
_LEFT_OUT: Final = frozenset({"logprobs"})  # the words again, in pieces
_KEPT_WHOLE: Final = frozenset({"agent", "session", "settings", "tools", "usage"})  # how the program is made
_IDS: Final = ("id", "item_id", "call_id", "response_id")
_LETTER = re.compile(r"\w")
_encode = msgspec.json.Encoder().encode


class Blanking:
    """Frames in, frames out. `audio`: what the model speaks and hears."""

    def __init__(self, audio: AudioKind) -> None:
        self.paused = False
        self._model_silence = MULAW_SILENCE if audio == "pcmu" else b"\0"
        self._ids: set[str] = set()  # of what was said in a pause

    def remember(self, item_id: str) -> None:
        """Nothing of this item, call or response is to be kept."""
        self._ids.add(item_id)

    def frame(self, frame: bytes, *, hide: bool = False) -> bytes:
        """A frame of JSON as it may be kept: itself, where nothing of it is to be hidden. What is no JSON may be kept as
        long as nothing is hidden. `hide`: as if paused."""
        hide = hide or self.paused
        if not hide and not self._ids:
            return frame
        try:
            event = msgspec.json.decode(frame)
            kept = self._walk(event, hide=hide)
            return frame if kept == event else _encode(kept)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return b"" if hide else frame

    def _walk(self, value: Any, *, hide: bool) -> Any:
        if isinstance(value, list):
            return [self._walk(each, hide=hide) for each in value]
        if not isinstance(value, dict):
            return value
        ids = [value[name] for name in _IDS if isinstance(value.get(name), str)]
        if self.paused:
            self._ids.update(ids)
        elif not hide:
            hide = not self._ids.isdisjoint(ids)
        return {
            name: self._field(name, child, str(value.get("type", "")), hide=hide)
            for name, child in value.items()
            if not (hide and name in _LEFT_OUT)
        }

    def _field(self, name: str, value: Any, kind: str, *, hide: bool) -> Any:
        if name in _KEPT_WHOLE:
            return value
        if hide and isinstance(value, str):
            if name == "audio" or (name == "delta" and kind.endswith("audio.delta")):
                return _silent(value, self._model_silence)
            if name in ("payload", "mulaw"):
                return _silent(value, MULAW_SILENCE)
            if name == "digit" or kind.endswith("dtmf_event_received"):
                return value if name in ("type", "event_id") else SILENT_KEY
            if name in _WORDS:
                return _LETTER.sub(BLANK, value)
        if hide and isinstance(value, list) and name in _WORDS:
            return [self._field(name, each, kind, hide=hide) for each in value]
        return self._walk(value, hide=hide)


def _silent(audio: str, silence: bytes) -> str:
    """As much silence as this base64 is audio; none for what is no base64."""
    try:
        size = len(pybase64.b64decode(audio, None, True))
    except ValueError:
        return ""
    return pybase64.b64encode_as_string(silence * size)
