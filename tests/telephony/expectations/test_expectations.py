"""Expectations, held against records of calls."""

import pytest
from support.records import agent, caller, handoff, record, tool

from realtime_bridge.errors import MisuseError
from telephony.expectations import (
    ANYTHING,
    AnswerTimes,
    Ended,
    HandedOff,
    Interruptions,
    Like,
    Matches,
    NoDeadAir,
    NotHandedOff,
    NotSaid,
    OneOf,
    Question,
    Said,
    ToolCalled,
    ToolNotCalled,
    ToolsInOrder,
    Verdict,
    check,
    questions,
    require_expectations,
)

CALL = record(
    agent("Wren Street Telephones, how can I help you?", 0.2, 3),
    caller("Where is my order A1042?", 4, 6),
    tool("find_order", {"order_id": "A1042", "urgent": True, "items": [1, 2], "who": {"name": "Kim", "age": 30}}, 6.5),
    agent("It was shipped on Monday", 7, 9, unheard="and arrives on Tuesday"),
    caller("Let me speak with billing.", 9, 10),
    handoff("Desk", "Billing", 10.5),
    tool("refund", {"amount": 25.0}, 12, outcome="rejected", output="no", by="Billing"),
    agent("I can't do that, sorry.", 13, 15, name="Billing"),
    seconds=16,
    barge_ins=1,
)


def found(expectation, call=CALL, verdicts=None):
    """What was found instead; None when it holds."""
    failures = check([expectation], call, verdicts)
    return failures[0].found if failures else None


@pytest.mark.parametrize(
    "expectation",
    [
        ToolCalled("find_order"),
        ToolCalled("find_order", {"order_id": "A1042", "urgent": True}),
        ToolCalled(
            "find_order", {"order_id": Like("a 1042"), "items": [1, 2.0]}, times=1, agent="Desk", outcome="done"
        ),
        ToolCalled("find_order", {"order_id": Matches(r"^a\d{4}$"), "who": {"name": OneOf(("Kim", "Ann"))}}),
        ToolCalled("find_order", {"order_id": ANYTHING}),
        ToolCalled("refund", {"amount": 25}),
        ToolCalled("cancel", times=0),
        ToolNotCalled("cancel"),
        ToolNotCalled("find_order", {"order_id": "B7"}),
        ToolsInOrder(["find_order", "refund"]),
        ToolsInOrder([ToolCalled("find_order", {"order_id": "A1042"}), ToolCalled("refund", outcome="rejected")]),
        Said("It was shipped on Monday"),
        Said("it was shiped on monday!"),
        Said("was shipped"),
        Said(pattern=r"ship(ped|s)"),
        Said("I cannot do that", agent="Billing"),
        Said("where is my order a1042", by="caller"),
        NotSaid("guaranteed"),
        NotSaid("fund", by="caller"),
        NotSaid("shipped", agent="Billing"),
        HandedOff("Billing"),
        HandedOff("Billing", from_="Desk"),
        NotHandedOff("Sales"),
        Ended("caller hung up"),
        Interruptions(max=1, min=1),
        NoDeadAir(3.1),
    ],
    ids=repr,
)
def test_what_holds(expectation):
    assert found(expectation) is None


@pytest.mark.parametrize(
    ("expectation", "told"),
    [
        (ToolCalled("cancel"), "only these were called: find_order("),
        (ToolCalled("find_order", {"order_id": "A1043"}), "order_id was 'A1042'"),
        (ToolCalled("find_order", {"day": "Monday"}), "day was not given"),
        (ToolCalled("find_order", {"urgent": 1}), "urgent was True"),
        (ToolCalled("find_order", {"items": [1]}), "items was [1, 2]"),
        (ToolCalled("find_order", times=2), "it was called once"),
        (ToolCalled("refund", outcome="done"), "it was rejected"),
        (ToolCalled("refund", agent="Desk"), "by Billing"),
        (ToolNotCalled("refund"), "it was called: refund(amount=25.0)"),
        (ToolsInOrder(["refund", "find_order"]), "find_order was not called after refund; these were, in order: find"),
        (ToolsInOrder(["cancel", "refund"]), "cancel was not called; these"),
        (Said("arrives on Tuesday"), "the agent said nothing like it"),
        (Said("Grüezi mitenand"), "the agent said nothing like it"),
        (Said("It was stolen on Sunday"), "nearest to it, the agent said 'it was shipped on monday'"),
        (Said(pattern="tuesday"), "the agent said nothing like it"),
        (Said("shipped", agent="Sales"), "Sales said nothing at all"),
        (NotSaid("shipped"), "the agent said 'shipped'"),
        (NotSaid(pattern="tues"), "the agent said 'Tues'"),
        (HandedOff("Sales"), "the call went from Desk to Billing"),
        (HandedOff("Billing", from_="Sales"), "the call went from Desk to Billing"),
        (NotHandedOff(), "the call went from Desk to Billing"),
        (Ended("the agent hung up after a while"), "it ended: the caller hung up"),
        (Interruptions(max=0), "there were 1"),
        (Interruptions(min=2), "there were 1"),
        (NoDeadAir(1.9), "nobody spoke for 3.0 s, from 10.0 s on"),
    ],
    ids=repr,
)
def test_what_does_not_hold_says_what_was_found_instead(expectation, told):
    assert told in found(expectation)


def test_a_failure_shows_the_transcript_around_the_place():
    (failure,) = check([NotSaid("shipped on Monday")], CALL)
    assert failure.number == 0
    assert str(failure).splitlines() == [
        "expected: the agent does not say 'shipped on Monday'",
        "but: the agent said 'shipped on monday'",
        "     0.2 s  agent    Wren Street Telephones, how can I help you?",
        "     4.0 s  caller   Where is my order A1042?",
        "     6.5 s  tool     find_order(order_id='A1042', urgent=True, items=[1, 2], who={name: 'Kim', age: 30}) -> {}",
        ">    7.0 s  agent    It was shipped on Monday [cut: and arrives on Tuesday]",
        "     9.0 s  caller   Let me speak with billing.",
        "    10.5 s  hand-off from Desk to Billing",
        "    12.0 s  tool     refund(amount=25.0) -> no (rejected)",
        "          …",
        "    16.0 s  the end  the caller hung up",
    ]


def test_a_long_call_is_not_shown_whole():
    call = record(*(caller(f"This is line {number}.", number, number + 1) for number in range(200)), seconds=201)
    (failure,) = check([ToolCalled("refund")], call)
    assert len(failure.around.splitlines()) < 30


@pytest.mark.parametrize(
    ("phrase", "text", "holds"),
    [
        ("yes", "That was yesterday.", False),
        ("fund", "You will get a refund.", False),
        ("twenty five dollars", "That makes twenty-five dollars, please.", True),
        ("your order was shipped", "Your orders was shipt.", True),
        ("10:30", "We open at 10:30 tomorrow.", True),
        ("it's fine", "It\u2019s fine.", True),
        ("Grüezi", "GRÜEZI!", True),
        ("one two three four", "two", False),
    ],
)
def test_words_are_found_though_not_letter_for_letter(phrase, text, holds):
    assert (found(Said(phrase), record(agent(text))) is None) == holds


def test_words_are_found_across_the_agents_lines():
    call = record(agent("One moment."), agent("Your order"), agent("was shipped."))
    assert found(Said("your order was shipped"), call) is None


def test_meanings_are_asked_of_a_judge_once_and_decided_by_it():
    expected = [Said(meaning="offers help"), Said(meaning="offers help"), NotSaid(meaning="promises money")]
    offers, promises = questions(expected, CALL)
    assert offers.meaning == "offers help"
    assert offers.lines[1] == "It was shipped on Monday"
    assert promises.lines[1] == "It was shipped on Monday and arrives on Tuesday"
    assert check(expected, CALL, {offers: Verdict(True), promises: Verdict(False)}) == []
    one, two, three = check(expected, CALL, {offers: Verdict(False, "only greets"), promises: Verdict(True, "25", 1)})
    assert one.found == two.found == "judged otherwise: only greets"
    assert three.found == "judged otherwise: 25"
    assert ">    7.0 s  agent    It was shipped" in three.around


def test_a_meaning_that_nobody_judged_does_not_hold():
    assert found(Said(meaning="offers help")) == "nobody has judged it: give a judge"
    assert found(NotSaid(meaning="offers help")) == "nobody has judged it: give a judge"


def test_what_nobody_said_needs_no_judge():
    silent = record(caller("Hello?"))
    assert questions([NotSaid(meaning="promises money"), Said(meaning="x")], silent) == []
    assert found(NotSaid(meaning="promises money"), silent) is None
    assert found(Said(meaning="x"), silent) == "the agent said nothing at all"
    assert isinstance(questions([Said(meaning="x")], CALL)[0], Question)


@pytest.mark.parametrize(
    "wrong",
    [
        Said,
        lambda: Said("x", pattern="y"),
        lambda: Said("?!"),
        lambda: Said(pattern="("),
        lambda: Said("x", by="caller", agent="Desk"),
        lambda: Matches("["),
        lambda: ToolsInOrder(["one"]),
        AnswerTimes,
        Interruptions,
        lambda: NoDeadAir(0),
    ],
)
def test_expectations_that_mean_nothing_are_refused(wrong):
    with pytest.raises(MisuseError):
        wrong()


def test_an_empty_call_has_an_answer_to_everything():
    empty = record(seconds=0)
    expectations = [ToolCalled("x"), ToolNotCalled("x"), Said("x"), NotSaid("x"), HandedOff("x"), NoDeadAir(1)]
    assert [failure.number for failure in check(expectations, empty)] == [0, 2, 4]


def test_answer_times_are_held_against_every_turn_and_half_of_them():
    call = record(*(agent("Yes.", number, answer_ms=ms) for number, ms in enumerate((400, 600, 2000))))
    assert found(AnswerTimes(max_ms=2000, p50_ms=600), call) is None
    assert found(AnswerTimes(max_ms=1999), call) == "it took 2000 ms; 1 of 3 answers were too slow"
    assert found(AnswerTimes(p50_ms=599), call) == "half of 3 answers took longer than 600 ms"
    assert found(AnswerTimes(max_ms=1)) == "the caller was never answered"


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        (Said("closed"), r"must be a list: \[Said\("),
        (["closed"], r"expectation 1: 'closed' is none: did you mean Said\('closed'\)\?"),
        ([Said("closed"), 4], r"expectation 2: 4 is none$"),
    ],
)
def test_what_is_no_expectation_is_told_before_a_call_is_made(expected, told):
    with pytest.raises(MisuseError, match=told):
        require_expectations(expected)
