from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.localmodel.spoken_text import SENTENCE_CHARACTERS_MAX, as_spoken, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("Hello. How are you?  Fine!", ["Hello.", "How are you?", "Fine!"]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("Dr. Smith met J. Doe. They spoke.", ["Dr. Smith met J. Doe.", "They spoke."]),
        ("No. 5 is alive. No. Really?", ["No. 5 is alive.", "No.", "Really?"]),
        ("Come at 3 p.m. tomorrow.", ["Come at 3 p.m. tomorrow."]),
        ("It costs $42.50 or 3.14.", ["It costs $42.50 or 3.14."]),
        ("First line\nsecond line", ["First line", "second line"]),
        ("Hello. ... 😀 Bye.", ["Hello. ...", "😀 Bye."]),
        ("Hello there. 😀", ["Hello there. 😀"]),
        ("... Well.", ["... Well."]),
    ],
)
def test_text_is_cut_where_a_speaker_would_stop(text, expected):
    assert sentences(text) == expected


def test_an_endless_sentence_is_cut_at_a_comma_or_a_space():
    by_commas = sentences("one two three four, " * 40)
    assert all(piece.endswith(",") and len(piece) <= SENTENCE_CHARACTERS_MAX for piece in by_commas)
    by_spaces = sentences("word " * 100)
    assert all(piece.endswith("word") and len(piece) <= SENTENCE_CHARACTERS_MAX for piece in by_spaces)


def test_a_long_row_of_dots_takes_no_time():
    assert sentences("." * 100_000 + "'" * 100_000)


@given(st.text() | st.text(alphabet="ab.?! \n\"'(),5", max_size=400))
def test_nothing_is_lost_but_white_space(text):
    pieces = sentences(text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece == piece.strip() != "" for piece in pieces)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Call 415-555-0100.", "Call 4 1 5, 5 5 5, 0 1 0 0."),
        ("Call (415) 555-0100 now", "Call 4 1 5, 5 5 5, 0 1 0 0 now"),
        ("1-800-555-0199", "1, 8 0 0, 5 5 5, 0 1 9 9"),
        ("+1 415 555 0100", "plus 1, 4 1 5, 5 5 5, 0 1 0 0"),
        ("+44 20 7946 0000", "plus 4 4, 2 0, 7 9 4 6, 0 0 0 0"),
        ("Your PIN is 0042.", "Your PIN is 0 0 4 2."),
        ("tracking 940011020088", "tracking 9 4 0, 0 1 1, 0 2 0, 0 8 8"),
        ("order A-1042", "order A. 1042"),
        ("code AB12", "code A. B. 12"),
        ("ORD-0077", "ORD 0 0 7 7"),
        ("COVID-19", "COVID 19"),
        ("open 9am-5pm", "open 9 a.m. to 5 p.m."),
        ("10:30-11:00", "10:30 to 11:00"),
        ("write to ann@example.com.", "write to ann at example dot com."),
        ("see https://www.example.com/help.", "see example dot com slash help."),
        ("No. 5, Ext. 42", "Number 5, Extension 42"),
        ("\u2777 of \u0663, \uff21\uff22, \u00bd", "2 of 3, AB, 1/2"),
    ],
)
def test_what_a_voice_reads_wrongly_is_rewritten(written, spoken):
    assert as_spoken(written) == spoken


@pytest.mark.parametrize(
    "sentence",
    [
        "It costs $42.50, or $1,234,567.89 a year.",
        "It is 0.5 percent of 1000000.",
        "On 2026-03-05 at 09:30, or 05/06/2026.",
        "Come at 3 p.m. on March 5th, 2026.",
        "Flight 285 leaves from gate 12.",
        "No. Thank you!",
        "A cat and I.",
    ],
)
def test_what_a_voice_reads_rightly_stays(sentence):
    assert as_spoken(sentence) == sentence
