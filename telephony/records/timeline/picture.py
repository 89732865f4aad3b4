"""The picture as a whole: the head, a long call's overview, and rows to be read like lines of text.

In each row, from top to bottom: the caller's words and sound; how long an answer took, and who interrupted; the agent's
sound and words; tools, approvals and hand-offs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telephony.records.heard import STEP_MS, Loudness
from telephony.records.record import CallRecord
from telephony.records.timeline.events import Event, draw_events, events_of
from telephony.records.timeline.header import draw_header, facts
from telephony.records.timeline.layout import BOLD, LEFT, RIGHT, Row, rows_of, shorten, text_width
from telephony.records.timeline.overview import draw_overview
from telephony.records.timeline.svg import WIDTH, Block, clock, document, element, group, number, path, text
from telephony.records.timeline.turns import answers_of, draw_bands, draw_keys, draw_lane, draw_uprights
from telephony.records.timeline.words import draw_words, spoken_lines

ROWS_MAX = 480  # four hours; what comes after is not drawn
OVERVIEW_ABOVE_ROWS = 4
PAD = 10.0
AXIS = 26.0
WAVE = 46.0  # height of one side's sound
BARS = 375  # it is drawn as about so many bars in a row
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
    record, duration_ms = timeline.record, timeline.duration_ms
    answers = answers_of(record.transcript)
    events = events_of(record, duration_ms)
    head, height = draw_header(record, duration_ms, [end - start for start, end in answers])
    blocks = [Block("\n".join(head), height)]
    rows = rows_of(duration_ms)
    if len(rows) > OVERVIEW_ABOVE_ROWS:
        drawn, height = draw_overview(
            record,
            _levels(timeline.caller),
            _levels(timeline.agent),
            duration_ms=duration_ms,
            answers=answers,
            events=events,
        )
        blocks.append(Block(drawn, height + PAD))
    rest = _Rows(timeline, answers, events, rows[0].length_ms)
    for row in rows[:ROWS_MAX]:
        drawn, height = rest.draw(row)
        blocks.append(Block(drawn, height + PAD))
    if len(rows) > ROWS_MAX:
        blocks.append(Block(text(LEFT, 14, f"The call went on until {clock(duration_ms)}.", "label muted"), 20))
    return document(blocks, f"Call with {record.agent}", facts(record, duration_ms))


class _Rows:
    """Draws row by row, each from its own 0 downwards; what is the same for all is worked out once."""

    def __init__(
        self, timeline: CallTimeline, answers: list[tuple[int, int]], events: list[Event], row_length_ms: int
    ) -> None:
        self._record = timeline.record
        self._duration_ms = timeline.duration_ms
        self._lines = spoken_lines(timeline.record.transcript)
        self._answers = answers
        self._events = events
        self._bar_ms = STEP_MS * max(1, round(row_length_ms / BARS / STEP_MS))
        self._caller = self._bars(timeline.caller)
        self._agent = self._bars(timeline.agent)

    def draw(self, row: Row) -> tuple[str, float]:
        """The row, and its height."""
        record = self._record
        above, above_height = draw_words(self._lines, "user", row)
        lane, lane_height = draw_lane(self._answers, record.barge_ins, row)
        below, below_height = draw_words(self._lines, "assistant", row)
        events, events_height = draw_events(self._events, row)

        caller_top = AXIS + above_height
        lane_top = caller_top + WAVE
        agent_top = lane_top + lane_height
        below_top = agent_top + WAVE
        events_top = below_top + below_height + PAD / 2
        height = events_top + events_height + PAD / 2
        drawn = [
            element("rect", "panel", x=12, y=0, width=WIDTH - 24, height=height, rx=10),
            draw_bands(record, row, self._duration_ms, top=caller_top, bottom=below_top),
            self._axis(row, height),
            _name("Caller", "caller", caller_top),
            _name(self._agent_at(row.start_ms), "agent", agent_top),
            self._sound(self._caller, "wave caller-line", row, caller_top + WAVE / 2),
            self._sound(self._agent, "wave agent-line", row, agent_top + WAVE / 2),
            draw_keys(record.keys, row, caller_top + WAVE / 2),
            draw_uprights(record, row, caller_top=caller_top, agent_top=agent_top, events_top=events_top, wave=WAVE),
            group(above, down=caller_top, css="words"),
            group(lane, down=lane_top),
            group(below, down=below_top, css="words"),
            group(events, down=events_top),
        ]
        return "\n".join(drawn), height

    def _axis(self, row: Row, height: float) -> str:
        last_ms = min(row.end_ms, self._duration_ms)
        parts = []
        if row.start_ms % 5000:
            parts.append(text(LEFT - 14, AXIS - 10, clock(row.start_ms), "label muted end"))
        for ms in range(-(-row.start_ms // 1000) * 1000, last_ms + 1, 1000):
            whole = ms % 5000 == 0
            x = row.x(ms)
            parts.append(element("line", "tick" if whole else "grid", x1=x, x2=x, y1=AXIS - 6, y2=height - PAD / 2))
            if whole and ms < row.end_ms - 200:
                parts.append(text(x, AXIS - 10, clock(ms), "label muted middle"))
        if last_ms == self._duration_ms:
            x = row.x(last_ms)
            parts.append(element("line", "wait", x1=x, x2=x, y1=AXIS - 6, y2=height - PAD / 2))
            since_label_ms, until_label_ms = last_ms % 5000, -last_ms % 5000
            if since_label_ms * row.ms_wide > 24 and (x < RIGHT - 60 or until_label_ms * row.ms_wide > 60):
                parts.append(text(min(x + 5, RIGHT - 20), AXIS - 10, "end", "label muted"))
        return "".join(parts)

    def _bars(self, loudness: Loudness) -> Loudness:
        if not len(loudness):
            return loudness
        levels = np.maximum.reduceat(_levels(loudness), np.arange(0, len(loudness), self._bar_ms // STEP_MS))
        heights: Loudness = WAVE * levels
        return heights

    def _sound(self, heights: Loudness, css: str, row: Row, middle: float) -> str:
        """The bars of this row, over a line that says where silence is."""
        steps = []
        first, end = -(-row.start_ms // self._bar_ms), -(-row.end_ms // self._bar_ms)
        for i, height in enumerate(heights[first:end], first):
            if height >= 1:
                x = row.x((i + 0.5) * self._bar_ms)
                steps.append(f"M{number(x)} {number(middle - height / 2)}v{number(height)}")
        ends_at = row.x(min(row.end_ms, self._duration_ms))
        return element("line", "rest", x1=LEFT, x2=ends_at, y1=middle, y2=middle) + path(css, "".join(steps))

    def _agent_at(self, ms: int) -> str:
        """Who speaks for the house at this moment."""
        agent = self._record.agent
        for handoff in self._record.handoffs:
            if handoff.at_ms <= ms:
                agent = handoff.to_agent
        return agent


def _name(who: str, css: str, top: float) -> str:
    """In two lines, where one is too short and the name has two words."""
    room = (LEFT - 34) / BOLD
    first, _, second = who.partition(" ")
    lines = [first, second] if second and text_width(who, 12) > room else [who]
    y = top + WAVE / 2 + 4 - 7.5 * (len(lines) - 1)
    css = f"name end {css}"
    return "".join(text(LEFT - 14, y + 15 * i, shorten(line, room, 12), css) for i, line in enumerate(lines))


def _levels(loudness: Loudness) -> Loudness:
    """From 0 to 1: 1 for the loudest of this side, and quiet speech still to be seen."""
    if not loudness.any():
        return loudness
    loudest = max(float(np.percentile(loudness[loudness > 0], 98)), LOUD_MIN)
    levels: Loudness = np.minimum(loudness / loudest, 1.0) ** 0.7
    return levels
