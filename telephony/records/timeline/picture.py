"""The picture as a whole, and its rows: fifteen seconds each, to be read like lines of text.

In each row, from top to bottom: the caller's words and sound; how long an answer took, and who interrupted; the agent's
sound and words; tools, approvals and hand-offs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from telephony.records.heard import STEP_MS, Loudness
from telephony.records.record import CallRecord
from telephony.records.timeline.events import draw_events, draw_lane, draw_uprights, events_of, reply_waits
from telephony.records.timeline.header import draw_header, facts
from telephony.records.timeline.layout import BOLD, LEFT, MS_WIDE, RIGHT, ROW_MS, shorten, x_at
from telephony.records.timeline.svg import WIDTH, clock, document, element, group, number, path, text
from telephony.records.timeline.words import draw_words, spoken_lines

ROWS_MAX = 480  # two hours; what comes after is not drawn
PAD = 10.0
AXIS = 26.0
WAVE = 46.0  # height of one side's sound
BAR_MS = 40  # it is drawn as bars, one for each of these
LOUD_MIN = 0.08  # a side that never gets louder is not blown up to full height


@dataclass(frozen=True, slots=True, eq=False)
class CallTimeline:
    """What the picture shows: the record of a call, and each side's loudness, a peak (0 to 1) for every `STEP_MS`."""

    record: CallRecord
    caller: Loudness
    agent: Loudness

    @property
    def duration_ms(self) -> int:
        """As long as the longest of what is known of the call."""
        sound_ms = max(len(self.caller), len(self.agent)) * STEP_MS
        return max(self.record.duration_ms, sound_ms, *(line.end_ms or 0 for line in self.record.transcript))


def draw_timeline(timeline: CallTimeline) -> str:
    """The picture as an SVG document, 1200 units wide and as high as the call is long."""
    rows = _Rows(timeline)
    parts, y = draw_header(timeline.record, timeline.duration_ms, rows.reply_waits_ms)
    count = max(1, math.ceil(timeline.duration_ms / ROW_MS))
    for index in range(min(count, ROWS_MAX)):
        drawn, height = rows.draw(index * ROW_MS)
        parts.append(group(drawn, down=y))
        y += height + PAD
    if count > ROWS_MAX:
        parts.append(text(LEFT, y + 14, f"The call went on until {clock(timeline.duration_ms)}.", "label muted"))
        y += 20
    title = f"Call with {timeline.record.agent}"
    return document(parts, y + PAD, title, facts(timeline.record, timeline.duration_ms))


class _Rows:
    """Draws row by row, each from its own 0 downwards; what is the same for all is worked out once."""

    def __init__(self, timeline: CallTimeline) -> None:
        self._record = timeline.record
        self._duration_ms = timeline.duration_ms
        self._lines = spoken_lines(timeline.record.transcript)
        self._waits = reply_waits(self._lines)
        self._events = events_of(timeline.record, timeline.duration_ms)
        self._caller = _heights(timeline.caller)
        self._agent = _heights(timeline.agent)

    @property
    def reply_waits_ms(self) -> list[int]:
        return [end - start for start, end in self._waits]

    def draw(self, row_ms: int) -> tuple[str, float]:
        """The row that begins at this moment, and its height."""
        above, above_height = draw_words(self._lines, "user", row_ms)
        lane, lane_height = draw_lane(self._waits, self._record.barge_ins, row_ms)
        below, below_height = draw_words(self._lines, "assistant", row_ms)
        events, events_height = draw_events(self._events, row_ms)

        caller_top = AXIS + above_height
        lane_top = caller_top + WAVE
        agent_top = lane_top + lane_height
        below_top = agent_top + WAVE
        events_top = below_top + below_height + PAD / 2
        height = events_top + events_height + PAD / 2
        uprights = draw_uprights(
            self._record, row_ms, caller_top=caller_top, agent_top=agent_top, events_top=events_top, wave=WAVE
        )
        drawn = [
            element("rect", "panel", x=12, y=0, width=WIDTH - 24, height=height, rx=10),
            self._axis(row_ms, height),
            _name("Caller", "caller", caller_top),
            _name(self._agent_at(row_ms), "agent", agent_top),
            self._sound(self._caller, "wave caller-line", row_ms, caller_top + WAVE / 2),
            self._sound(self._agent, "wave agent-line", row_ms, agent_top + WAVE / 2),
            uprights,
            group(above, down=caller_top),
            group(lane, down=lane_top),
            group(below, down=below_top),
            group(events, down=events_top),
        ]
        return "\n".join(drawn), height

    def _axis(self, row_ms: int, height: float) -> str:
        last_ms = min(row_ms + ROW_MS, self._duration_ms)
        parts = []
        for ms in range(row_ms, last_ms + 1, 1000):
            whole = ms % 5000 == 0
            x = x_at(ms, row_ms)
            parts.append(element("line", "tick" if whole else "grid", x1=x, x2=x, y1=AXIS - 6, y2=height - PAD / 2))
            if whole and ms < row_ms + ROW_MS:
                parts.append(text(x, AXIS - 10, clock(ms), "label muted middle"))
        if last_ms == self._duration_ms:
            x = x_at(last_ms, row_ms)
            parts.append(element("line", "wait", x1=x, x2=x, y1=AXIS - 6, y2=height - PAD / 2))
            if (last_ms - row_ms) % 5000 * MS_WIDE > 24:
                parts.append(text(min(x + 5, RIGHT - 20), AXIS - 10, "end", "label muted"))
        return "".join(parts)

    def _sound(self, heights: Loudness, css: str, row_ms: int, middle: float) -> str:
        """The bars of this row, over a line that says where silence is."""
        steps = []
        first = row_ms // BAR_MS
        for i, height in enumerate(heights[first : first + ROW_MS // BAR_MS]):
            if height >= 1:
                x = x_at((i + 0.5) * BAR_MS, 0)
                steps.append(f"M{number(x)} {number(middle - height / 2)}v{number(height)}")
        end = x_at(min(row_ms + ROW_MS, self._duration_ms), row_ms)
        return element("line", "rest", x1=LEFT, x2=end, y1=middle, y2=middle) + path(css, "".join(steps))

    def _agent_at(self, ms: int) -> str:
        """Who speaks for the house at this moment."""
        agent = self._record.agent
        for handoff in self._record.handoffs:
            if handoff.at_ms <= ms:
                agent = handoff.to_agent
        return agent


def _name(who: str, css: str, top: float) -> str:
    return text(LEFT - 14, top + WAVE / 2 + 4, shorten(who, (LEFT - 34) / BOLD, 12), f"name end {css}")


def _heights(loudness: Loudness) -> Loudness:
    """How high each bar is: full height for the loudest of this side, and quiet speech still to be seen."""
    if not loudness.any():
        return np.zeros(0)
    bars = np.maximum.reduceat(loudness, np.arange(0, len(loudness), BAR_MS // STEP_MS))
    loudest = max(float(np.percentile(bars[bars > 0], 98)), LOUD_MIN)
    heights: Loudness = WAVE * np.minimum(bars / loudest, 1.0) ** 0.7
    return heights
