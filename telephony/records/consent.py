"""What may be kept of a call's words: nothing of a recording that was deleted, nothing of its pauses, nothing that the
rules of redaction blacken. Pure.

The tape and the recording are sound; they are silent in pauses, but no rule can blacken what was said aloud in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from telephony.records.record import CallRecord, KeyPress, Line, RecordingNotice, RecordingPause, ToolUse
from telephony.word_redaction import BLACK, WordRedactor

REMOVED: Final = 3 * BLACK
PAUSING_MS_MAX: Final = (
    50  # from a tool's beginning to that of the pause that it makes; their clocks may differ a little
)


class NoticeGiven(msgspec.Struct, frozen=True):
    """Times are the bridge's clock."""

    text: str
    began_at: float
    ended_at: float
    heard: bool


class PauseMade(msgspec.Struct, frozen=True):
    """`ended_at` None: it lasts. `reason`: as in `RecordingPause`."""

    began_at: float
    ended_at: float | None
    reason: Any


class Consent(msgspec.Struct, frozen=True):
    """How a call's recording was steered. `deleted_because`: None where it was kept."""

    notices: tuple[NoticeGiven, ...] = ()
    pauses: tuple[PauseMade, ...] = ()
    deleted_because: str | None = None


def as_agreed(
    record: CallRecord, consent: Consent, redactor: WordRedactor, at_ms: Callable[[float], float]
) -> CallRecord:
    """What may be written down of this record. `at_ms`: the bridge's clock to the record's."""
    pauses = tuple(
        RecordingPause(
            start_ms=round(at_ms(pause.began_at)),
            end_ms=None if pause.ended_at is None else round(at_ms(pause.ended_at)),
            reason=pause.reason,
        )
        for pause in consent.pauses
    )
    record = msgspec.structs.replace(
        record,
        notices=tuple(
            RecordingNotice(
                text=notice.text,
                start_ms=round(at_ms(notice.began_at)),
                end_ms=round(at_ms(notice.ended_at)),
                heard=notice.heard,
            )
            for notice in consent.notices
        ),
        pauses=pauses,
        problems=tuple(redactor.text(problem) for problem in record.problems),
    )
    if consent.deleted_because is not None:
        return msgspec.structs.replace(
            record,
            transcript=(),
            tools=(),
            keys=(),
            barge_ins=(),
            recording="deleted",
            problems=(*record.problems, f"not recorded: {consent.deleted_because}"),
        )
    silent = [pause for pause in pauses if pause.reason != "notice"]
    return msgspec.structs.replace(
        record,
        transcript=tuple(_line(line, silent, redactor) for line in record.transcript),
        tools=tuple(_tool(tool, silent, redactor) for tool in record.tools),
        keys=tuple(_key(press, silent) for press in record.keys),
    )


def _line(line: Line, silent: Sequence[RecordingPause], redactor: WordRedactor) -> Line:
    if line.start_ms is not None:
        # What the agent had begun to say before a pause holds nothing that it was told in it.
        end_ms = line.start_ms if line.role == "assistant" else line.end_ms
        if _overlaps(silent, line.start_ms, end_ms):
            return msgspec.structs.replace(line, text=REMOVED, unheard=REMOVED if line.unheard else "")
    return msgspec.structs.replace(line, text=redactor.text(line.text), unheard=redactor.text(line.unheard))


def _tool(tool: ToolUse, silent: Sequence[RecordingPause], redactor: WordRedactor) -> ToolUse:
    began_ms = max(0, tool.start_ms - PAUSING_MS_MAX)  # the one that began the pause is not in it
    if _overlaps(silent, began_ms, began_ms):
        return msgspec.structs.replace(
            tool, arguments=dict.fromkeys(tool.arguments, REMOVED), output=tool.output and REMOVED
        )
    return msgspec.structs.replace(
        tool,
        arguments=redactor.value(tool.arguments),
        output=None if tool.output is None else redactor.text(tool.output),
    )


def _key(press: KeyPress, silent: Sequence[RecordingPause]) -> KeyPress:
    # The last key of an entry ends the pause.
    around = press.at_ms - PAUSING_MS_MAX, press.at_ms + PAUSING_MS_MAX
    return msgspec.structs.replace(press, key=BLACK) if _overlaps(silent, *around) else press


def _overlaps(silent: Sequence[RecordingPause], start_ms: int, end_ms: int | None) -> bool:
    """Whether something that was said or done then falls into a pause. `end_ms` None: it lasts."""
    return any(
        (end_ms is None or pause.start_ms < max(end_ms, start_ms + 1))
        and (pause.end_ms is None or start_ms < pause.end_ms)
        for pause in silent
    )
