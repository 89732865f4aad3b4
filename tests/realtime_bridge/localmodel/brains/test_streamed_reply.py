from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import ProtocolError
from realtime_bridge.localmodel.brains.streamed_reply import (
    ARGUMENTS_CHARACTERS_MAX,
    TOOL_CALLS_MAX,
    CallPiece,
    SentenceCutter,
    ToolCalls,
)
from realtime_bridge.localmodel.spoken_text import sentences

TEXT = "Hello there! Dr. Smith comes at 3.30 p.m. tomorrow. <think>Is that so? Yes.</think> Shall I book it?\nGood…"
SPOKEN = ["Hello there!", "Dr. Smith comes at 3.30 p.m. tomorrow.", "Shall I book it?", "Good…"]


def cut(pieces):
    cutter = SentenceCutter()
    return [sentence for piece in pieces for sentence in cutter.push(piece)] + cutter.finish()


@given(st.lists(st.integers(0, len(TEXT)), max_size=40))
def test_a_text_is_cut_the_same_however_it_arrives(ends):
    marks = [0, *sorted(ends), len(TEXT)]
    assert cut(TEXT[a:b] for a, b in pairwise(marks)) == SPOKEN


@given(st.lists(st.text(alphabet="ab .!?\n<,-…é", max_size=60), max_size=10))
def test_no_word_is_lost_or_said_twice(pieces):
    whole = "".join(pieces)
    assert "".join("".join(cut(pieces)).split()) == "".join("".join(sentences(whole)).split())


def test_thoughts_that_never_end_are_never_spoken():
    assert cut(["Sure. <think>Wait, is", " that", " so? No."]) == ["Sure."]


def test_a_sentence_is_whole_as_soon_as_the_next_begins():
    cutter = SentenceCutter()
    assert cutter.push("We are open") == []
    assert cutter.push(". ") == []
    assert cutter.push("A") == ["We are open."]


def test_endless_arguments_are_refused():
    calls = ToolCalls()
    half = CallPiece(0, "x", "a", "." * (ARGUMENTS_CHARACTERS_MAX // 2))
    calls.push(half)
    calls.push(half)
    with pytest.raises(ProtocolError, match="arguments of 'a' longer than"):
        calls.push(half)


def test_endless_calls_are_refused():
    calls = ToolCalls()
    for index in range(TOOL_CALLS_MAX):
        calls.push(CallPiece(index, str(index), "a", ""))
    with pytest.raises(ProtocolError, match="more than 32 tool calls"):
        calls.push(CallPiece(TOOL_CALLS_MAX, "x", "a", ""))
