from __future__ import annotations

import pytest

from realtime_bridge.localmodel.semantic import completeness, patience_ms, semantic_settings


@pytest.mark.parametrize(
    "text",
    [
        "I'd like to book a table for Friday.",
        "What time is it?",
        "Where are you from?",
        "Yes.",
        "no",
        "Yes, I do.",
        "Thank you, goodbye.",
        "My order number is A1042.",
        "A table for two.",
    ],
)
def test_sentences_and_answers_are_finished(text):
    assert completeness(text) == "finished"


@pytest.mark.parametrize(
    "text",
    [
        "I'd like to book a table for",
        "I would like to order the.",
        "My number is.",
        "It is for me and",
        "Um.",
        "So I was thinking, um,",
        "Well, because I don\u2019t\u2026",
        "Yes, the.",
        "Can you tell me -",
    ],
)
def test_what_breaks_off_is_unfinished(text):
    assert completeness(text) == "unfinished"


@pytest.mark.parametrize("text", ["", "...", "4 1 5", "It is four, one, five.", "Five.", "a table on Friday"])
def test_nothing_digits_and_words_without_a_full_stop_might_go_on(text):
    assert completeness(text) == "unclear"


@pytest.mark.parametrize("eagerness", ["low", "medium", "high", "auto"])
def test_the_more_finished_the_words_the_shorter_the_wait(eagerness):
    finished, unclear, unfinished = (patience_ms(text, eagerness) for text in ("Yes.", "", "and"))
    assert finished < unclear < unfinished == semantic_settings(eagerness).silence_duration_ms


def test_the_eager_wait_less():
    assert patience_ms("Yes.", "high") < patience_ms("Yes.", "medium") < patience_ms("Yes.", "low")
    assert patience_ms("Yes.", "auto") == patience_ms("Yes.", "medium")


def test_pauses_are_reported_before_the_shortest_wait_is_over():
    pause_ms = semantic_settings("high").pause_ms
    assert pause_ms is not None
    assert pause_ms < patience_ms("Yes.", "high")


@pytest.mark.parametrize(("eagerness", "max_ms"), [("low", 8000), ("medium", 4000), ("auto", 4000), ("high", 2000)])
def test_the_longest_wait_is_the_documented_one(eagerness, max_ms):
    assert semantic_settings(eagerness).silence_duration_ms == max_ms
