"""The picture of a call: all that happened is in it, in its place, and nothing stands on anything else."""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.records.record import (
    Approval,
    BargeIn,
    CallRecord,
    Handoff,
    KeyPress,
    Line,
    Reconnect,
    RecordingNotice,
    RecordingPause,
    ToolUse,
)
from telephony.records.timeline import CallTimeline, draw_timeline
from telephony.records.timeline.layout import LEFT, RIGHT, Shelf, rows_of, shorten, text_width
from telephony.records.timeline.svg import SHEET

SVG = "{http://www.w3.org/2000/svg}"
ROW_MS = 15_000  # of a call of a minute or so
BAR_MS = 40
SIZES = {"label": 11.0, "name": 12.0, "title": 24.0, "figure": 20.0, "sub": 13.0}

EMPTY = CallRecord(
    call_sid="CA" + "0" * 32,
    direction="inbound",
    from_number="+1415•••0123",
    to_number="+1628•••0199",
    started_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    agent="Front desk",
    disposition="completed",
)
SILENCE = np.zeros(0)


def draw(caller_sound=SILENCE, agent_sound=SILENCE, **changes):
    record = msgspec.structs.replace(EMPTY, **changes)
    return draw_timeline(CallTimeline(record=record, caller=caller_sound, agent=agent_sound))


def said(role, text, start_ms, end_ms, **more):
    return Line(role=role, text=text, start_ms=start_ms, end_ms=end_ms, **more)


@dataclass
class Shown:
    """A piece of text as it stands in the picture."""

    content: str
    css: str
    left: float
    right: float
    baseline: float
    size: float


def texts(svg):
    return list(_texts(ET.fromstring(svg), 0.0, 0.0))


def _texts(element, right, down):
    if moved := re.fullmatch(r"translate\((.*) (.*)\)", element.get("transform", "")):
        right, down = right + float(moved[1]), down + float(moved[2])
    if element.tag == SVG + "text":
        css = element.get("class", "")
        content = "".join(element.itertext())
        size = next((SIZES[name] for name in css.split() if name in SIZES), 12.5)
        x, width = right + float(element.get("x")), text_width(content, size)
        left = x - width if "end" in css.split() else x - width / 2 if "middle" in css.split() else x
        yield Shown(content, css, left, left + width, down + float(element.get("y")), size)
    for child in element:
        yield from _texts(child, right, down)


def row_of(shown, svg):
    """Which row's panel this text stands in."""
    tops = [float(row.get("transform").removeprefix("translate(0 ").removesuffix(")")) for row in rows_in(svg)]
    return sum(top <= shown.baseline for top in tops) - 1


def rows_in(svg):
    _head, *rows = [e for e in ET.fromstring(svg).iter(SVG + "g") if e.get("class") == "block"]
    return rows


def find(svg, content):
    (found,) = [shown for shown in texts(svg) if content in shown.content]
    return found


def x_of(ms):
    return LEFT + ms % ROW_MS * (RIGHT - LEFT) / ROW_MS


def test_the_head_tells_whose_call_it_was():
    svg = draw(
        duration_ms=61_000, cost_usd=0.0412, latency_ms={"caller_to_model_p50": 0.21, "caller_to_model_p99": 1520}
    )
    assert find(svg, "Call with Front desk")
    assert find(svg, "inbound").content == (
        "inbound  ·  +1415•••0123 → +1628•••0199  ·  21 Nov 2026, 09:30 UTC  ·  1:01  ·  completed"
    )
    assert find(svg, "$0.0412")
    assert find(svg, "caller to model 0.21 ms (p99 1.5 s)")


def test_problems_are_shown_not_hidden():
    assert "failed" in find(draw(problems=("call.tape is not whole",)), "call.tape is not whole").css


def test_words_stand_where_they_were_said():
    svg = draw(
        duration_ms=20_000,
        transcript=(said("user", "Hello there", 2000, 3000), said("assistant", "Good morning", 16_000, 17_500)),
    )
    hello, morning = find(svg, "Hello there"), find(svg, "Good morning")
    assert hello.left == pytest.approx(x_of(2000), abs=0.1)
    assert morning.left == pytest.approx(x_of(16_000), abs=0.1)
    assert (row_of(hello, svg), row_of(morning, svg)) == (0, 1)


def test_a_sentence_that_crosses_rows_goes_on_in_the_next():
    svg = draw(
        duration_ms=30_000, transcript=(said("user", "one two three four five six seven eight", 14_000, 16_000),)
    )
    first, second = find(svg, "one"), find(svg, "eight")
    assert (row_of(first, svg), row_of(second, svg)) == (0, 1)
    assert second.left == LEFT


def test_what_was_never_heard_is_struck_through_behind_what_was():
    svg = draw(transcript=(said("assistant", "Could you tell me", 0, 2000, cut=True, unheard="the number?"),))
    assert find(svg, "Could you").content == "Could you tell me the"
    assert find(svg, "number?").content == "number?"
    cut = [e.text for e in ET.fromstring(svg).iter(SVG + "tspan") if e.get("class") == "cut"]
    assert " ".join(cut) == "the number?"
    assert ".cut{text-decoration:line-through}" in svg


def test_a_reply_of_which_nothing_was_heard_is_shown_as_cut():
    svg = draw(duration_ms=5000, transcript=(said("assistant", "", 3000, 3000, cut=True, unheard="Never said"),))
    assert find(svg, "Never said").left == pytest.approx(x_of(3000), abs=0.1)


def test_a_very_long_cut_is_shortened_and_whole_under_the_pointer():
    unheard = " ".join(f"w{i}" for i in range(100))
    svg = draw(transcript=(said("assistant", "Well,", 0, 500, cut=True, unheard=unheard),))
    assert "w99" not in " ".join(shown.content for shown in texts(svg))
    assert any(unheard in (title.text or "") for title in ET.fromstring(svg).iter(SVG + "title"))


def test_words_that_were_never_sound_are_left_out():
    assert "typed" not in draw(transcript=(Line(role="user", text="typed"),))


def test_a_barge_in_is_marked_with_what_was_heard():
    svg = draw(
        duration_ms=9000,
        barge_ins=(BargeIn(item_id="item_7", audio_end_ms=1240, at_ms=4000, heard_ms_true=1236.5),),
    )
    label = find(svg, "barge-in, 1.2 s heard")
    line = next(e for e in ET.fromstring(svg).iter(SVG + "line") if e.get("class") == "barge-line")
    assert float(line.get("x1")) == pytest.approx(x_of(4000), abs=0.1)
    assert label.left > x_of(4000)
    assert "1236.5 ms by the phone" in svg


def test_a_wait_for_an_answer_is_measured():
    svg = draw(transcript=(said("user", "Hi", 1000, 1500), said("assistant", "Hello", 2120, 3000, answer_ms=620)))
    figures = ["figure middle", "figure middle", "label answer"]
    assert [shown.css for shown in texts(svg) if shown.content == "620 ms"] == figures
    assert find(svg, "to answer, p50")
    assert find(svg, "slowest answer")


def test_an_answer_that_came_late_strikes_the_eye():
    svg = draw(transcript=(said("user", "Hi", 1000, 1500), said("assistant", "Hello", 4500, 5000, answer_ms=3000)))
    assert [shown.css for shown in texts(svg) if shown.content == "3.0 s"][-1] == "label slow"


def test_the_agents_own_next_sentence_is_no_answer():
    svg = draw(transcript=(said("assistant", "One", 0, 500), said("assistant", "two", 900, 1500)))
    assert not [shown for shown in texts(svg) if shown.content == "400 ms"]


def test_tools_approvals_and_handoffs_are_told():
    svg = draw(
        duration_ms=15_000,
        tools=(
            ToolUse(call_id="1", name="find", arguments={"id": "A-17"}, start_ms=1000, end_ms=1180, outcome="done"),
            ToolUse(call_id="2", name="send", arguments={}, start_ms=5000, end_ms=5100, outcome="failed"),
            ToolUse(call_id="3", name="wait", arguments={}, start_ms=7000),
        ),
        approvals=(
            Approval(call_id="2", tool="send", start_ms=2000, end_ms=4000, decision="approved", by="ann"),
            Approval(call_id="3", tool="wait", start_ms=6000, end_ms=7000, decision="expired"),
        ),
        handoffs=(Handoff(from_agent="Front desk", to_agent="Billing", at_ms=8000),),
    )
    assert find(svg, 'find(id="A-17") · 180 ms')
    assert find(svg, "send() · 100 ms · failed")
    assert find(svg, "wait() · not ended")
    assert find(svg, "send approved by ann after 2.0 s")
    assert find(svg, "wait expired after 1.0 s")
    assert find(svg, "Front desk → Billing")


def test_from_a_handoff_on_the_rows_name_the_new_agent():
    svg = draw(duration_ms=45_000, handoffs=(Handoff(from_agent="Front desk", to_agent="Billing", at_ms=20_000),))
    names = [shown.content for shown in texts(svg) if shown.css == "name end agent"]
    assert names == ["Front desk", "Front desk", "Billing"]


def test_sound_is_drawn_as_high_as_it_is_loud_and_silence_not_at_all():
    loud = np.repeat([1.0, 0.0, 0.25], [200, 200, 200])
    svg = draw(loud, np.zeros(600))
    (caller,) = [e.get("d") for e in ET.fromstring(svg).iter(SVG + "path") if "caller-line" in e.get("class")]
    bars = [(float(x), float(high)) for x, high in re.findall(r"M(\S+) \S+v([\d.]+)", caller)]
    assert len(bars) == 200
    assert bars[0] == (pytest.approx(x_of(BAR_MS / 2), abs=0.1), 46)
    assert bars[100][0] == pytest.approx(x_of(200.5 * BAR_MS), abs=0.1)
    assert 10 < bars[100][1] < 30
    assert not [e for e in ET.fromstring(svg).iter(SVG + "path") if "agent-line" in e.get("class") and e.get("d")]


def test_ten_minutes_are_an_overview_and_twenty_rows_of_moderate_size():
    rng = np.random.default_rng(1)
    lines = [said("user" if i % 2 else "assistant", "word " * 12, i * 5000, i * 5000 + 4500) for i in range(120)]
    svg = draw(rng.random(30_000), rng.random(30_000), transcript=tuple(lines))
    overview, *rows = rows_in(svg)
    assert "Whole call" in "".join(overview.itertext())
    assert len(rows) == 20
    assert len(svg) < 1_500_000
    assert sum(shown.content.count("word") for shown in texts(svg)) == 120 * 12


def test_a_call_of_a_day_has_an_end_in_the_picture():
    svg = draw(duration_ms=24 * 3600 * 1000)
    assert find(svg, "The call went on until 24:00:00.")
    assert len(svg) < 5_000_000


@given(st.integers(0, 4 * 3600 * 1000))
def test_rows_follow_each_other_through_the_whole_call_and_the_last_is_hardly_ever_nearly_empty(duration_ms):
    rows = rows_of(duration_ms)
    assert [row.start_ms for row in rows] == [i * rows[0].length_ms for i in range(len(rows))]
    assert rows[-1].start_ms < max(1, duration_ms) <= rows[-1].end_ms
    assert 15_000 <= rows[0].length_ms <= 34_000


def test_keys_reconnects_notices_and_pauses_are_told():
    svg = draw(
        duration_ms=15_000,
        keys=(KeyPress(key="5", at_ms=3000), KeyPress(key="#", at_ms=3050)),
        reconnects=(
            Reconnect(start_ms=4000, end_ms=4800, reason="closed"),
            Reconnect(start_ms=8000, end_ms=8200, planned=True),
            Reconnect(start_ms=14_000, reason="closed again"),
        ),
        notices=(RecordingNotice(text="This call is recorded.", start_ms=0, end_ms=900, heard=False),),
        pauses=(RecordingPause(start_ms=2000, end_ms=5000, reason="digits"),),
    )
    first, second = [shown for shown in texts(svg) if "key" in shown.css.split()]
    assert (first.content, second.content) == ("5", "#")
    assert first.right <= second.left
    assert (first.left + first.right) / 2 == pytest.approx(x_of(3000) + 7.5, abs=0.1)
    assert find(svg, "model lost: closed · back after 800 ms")
    assert find(svg, "model session changed · back after 200 ms")
    assert find(svg, "model lost: closed again · never back")
    assert find(svg, "notice: This call is recorded. · not heard to its end")
    assert find(svg, "recording paused for digits · 3.0 s")
    bands = [e for e in ET.fromstring(svg).iter(SVG + "rect") if "band" in e.get("class")]
    assert [e.get("class") for e in bands] == ["reconnect band", "reconnect band", "pause band"]
    assert float(bands[2].get("x")) == pytest.approx(x_of(2000), abs=0.1)


def test_on_paper_no_row_is_cut_by_the_end_of_a_sheet():
    svg = draw(
        duration_ms=600_000, transcript=tuple(said("user", "word " * 30, i * 9000, i * 9000 + 8000) for i in range(60))
    )
    shifts = {name: float(px) for name, px in re.findall(r"\.(s\d+){transform:translate\(0,([\d.]+)px\)}", svg)}
    root = ET.fromstring(svg)
    sheets = root.findall(SVG + "g")
    assert len(sheets) >= 5
    for sheet in sheets:
        shift = shifts.get(sheet.get("class"), 0.0)
        tops = [float(block.get("transform", "translate(0 0)")[12:-1]) + shift for block in sheet]
        for top, end in pairwise(tops):
            assert top // SHEET == (end - 0.1) // SHEET


def test_a_call_in_which_nothing_happened_has_a_picture():
    assert find(draw(), "Call with Front desk")


def test_the_picture_follows_light_and_dark_and_needs_nothing_from_elsewhere():
    svg = draw(transcript=(said("user", "Hi", 0, 500),))
    assert "@media screen and (prefers-color-scheme:dark)" in svg
    names = {e.tag.removeprefix(SVG) for e in ET.fromstring(svg).iter()}
    assert names <= {"svg", "title", "desc", "style", "g", "rect", "line", "path", "circle", "text", "tspan"}
    assert "href" not in svg
    assert "url(" not in svg


hostile = st.text(max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", '"><x', "]]>", "&lt;", "\x00\x1b\ufffe", "\ud800"]
)


@given(hostile)
@settings(max_examples=60)
def test_no_text_breaks_out_of_the_picture(words):
    svg = draw(
        agent=words,
        disposition=words,
        transcript=(said("user", words, 0, 900), said("assistant", words, 2000, 2500, cut=True, unheard=words)),
        handoffs=(Handoff(from_agent=words, to_agent=words, at_ms=100),),
        barge_ins=(BargeIn(item_id=words, audio_end_ms=1, at_ms=1),),
        keys=(KeyPress(key=words, at_ms=1),),
        reconnects=(Reconnect(start_ms=1, reason=words),),
        notices=(RecordingNotice(text=words, start_ms=1),),
        problems=(words,),
    )
    svg.encode()
    assert {e.tag for e in ET.fromstring(svg).iter()} <= {
        SVG + name for name in ("svg", "title", "desc", "style", "g", "rect", "line", "path", "circle", "text", "tspan")
    }


moments = st.integers(0, 59_000)
utterances = st.builds(
    lambda role, start, length, words, unheard: said(
        role, " ".join(words), start, start + length, cut=bool(unheard), unheard=" ".join(unheard)
    ),
    st.sampled_from(["user", "assistant"]),
    moments,
    st.integers(0, 12_000),
    st.lists(st.sampled_from(["a", "refund", "電話", "Donaudampfschifffahrtsgesellschaftskapitän"]), max_size=25),
    st.lists(st.sampled_from(["never", "heard"]), max_size=8),
)
tools = st.builds(
    lambda start, length, size: ToolUse(
        call_id="c", name="tool", arguments={"q": "x" * size}, start_ms=start, end_ms=start + length, outcome="done"
    ),
    moments,
    st.integers(0, 30_000),
    st.integers(0, 120),
)


@given(
    st.lists(utterances, max_size=12),
    st.lists(tools, max_size=8),
    st.lists(moments, max_size=5),
    st.lists(moments, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_nothing_stands_on_anything_else_or_outside(lines, tools, barge_ins, handoffs):
    svg = draw(
        duration_ms=60_000,
        transcript=tuple(lines),
        tools=tuple(tools),
        barge_ins=tuple(BargeIn(item_id="i", audio_end_ms=at, at_ms=at) for at in barge_ins),
        handoffs=tuple(Handoff(from_agent="Front desk", to_agent="B" * 99, at_ms=at) for at in handoffs),
    )
    height = float(ET.fromstring(svg).get("height"))
    shown = sorted((s for s in texts(svg) if s.content), key=lambda s: s.baseline)
    for i, a in enumerate(shown):
        assert a.left >= 0
        assert a.right <= 1200
        assert a.baseline <= height
        for b in shown[i + 1 :]:
            if b.baseline - a.baseline >= 10:
                break
            assert a.right <= b.left or b.right <= a.left, (a, b)


@given(st.lists(utterances, max_size=8))
@settings(max_examples=40, deadline=None)
def test_every_word_of_the_call_is_in_the_picture(lines):
    svg = draw(transcript=tuple(lines))
    words = " ".join(shown.content for shown in texts(svg)).split()
    for word in ("refund", "電話", "heard"):
        # "heard" stands in the legend, too.
        expected = sum((line.text + " " + line.unheard).split().count(word) for line in lines)
        in_legend = 1 + any(line.unheard for line in lines)
        assert words.count(word) == expected + in_legend * (word == "heard")


# ---- much of everything ------------------------------------------------------------------------------------------------------


@given(st.text(max_size=60), st.floats(0, 300), st.sampled_from([8.0, 12.5]))
def test_a_text_is_shortened_to_the_longest_beginning_that_fits(text, width, size):
    short = shorten(text, width, size)
    if text_width(text, size) <= width:
        assert short == text
        return
    assert short.endswith("…")
    kept = short.removesuffix("…")
    assert text.startswith(kept)
    assert kept == "" or text_width(short, size) <= width + 1e-6
    longer = text[: len(kept) + 1]
    assert longer.isspace() or longer != longer.rstrip() or text_width(longer + "…", size) > width - 1e-6


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 60), st.floats(1, 30)), max_size=40))
def test_boxes_on_a_shelf_stand_as_near_as_can_be_and_never_on_each_other(boxes):
    shelf = Shelf(gap=2.0)
    placed = []
    for left, width, height in boxes:
        offset = shelf.place(left, left + width, height)
        near = [(low, high) for x0, x1, low, high in placed if left < x1 + 2.0 and x0 < left + width + 2.0]
        free = [at for at in (0.0, *sorted(high for _, high in near))
                if all(at + height <= low or at >= high for low, high in near)]  # fmt: skip
        assert offset == free[0]
        placed.append((left, left + width, offset, offset + height))
    assert shelf.height == max((high for *_, high in placed), default=0.0)


WORDS = "lorem ipsum dolor sit amet "


def line(text, start_ms, end_ms):
    return said("assistant", text, start_ms, end_ms)


def tool_with(arguments):
    return ToolUse(call_id="c", name="find", arguments=arguments, start_ms=0, end_ms=60_000)


@pytest.mark.parametrize(
    ("lines", "tools"),
    [
        ([line(WORDS * 10_000, 0, 2_000)], []),
        ([line(WORDS * 5_000, 0, 600_000)], []),
        ([line("x" * 1_000_000, 0, 2_000)], []),
        ([line(WORDS * 4, n * 1_800, n * 1_800 + 1_500) for n in range(500)], []),
        ([line(WORDS, 0, 4_000) for _ in range(300)], []),
        ([line("hi", 0, 100)], [tool_with({"x": "y" * 1_000_000})]),
        ([line("hi", 0, 100)], [tool_with({"x": "y" * 4_000}) for _ in range(300)]),
    ],
    ids=["words at once", "words for long", "a word", "lines", "lines at once", "an argument", "tools"],
)  # fmt: skip
def test_much_of_anything_is_drawn_quickly_and_in_a_picture_of_some_size(lines, tools):
    began = time.process_time()
    picture = draw(transcript=tuple(lines), tools=tuple(tools), duration_ms=60_000)
    assert time.process_time() - began < 3.0, "it is a matter of tenths of a second"
    assert len(picture) < 2_000_000
