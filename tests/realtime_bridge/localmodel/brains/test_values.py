"""What is found in an utterance: numbers, codes, days and times, and values as a schema wants them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.brain_turns import function

from realtime_bridge.localmodel.brains.codes import code_runs, number_runs
from realtime_bridge.localmodel.brains.moments import as_said, moments
from realtime_bridge.localmodel.brains.parameters import read_tool
from realtime_bridge.localmodel.brains.phrases import fit, parse_phrase
from realtime_bridge.localmodel.brains.values import find_values
from realtime_bridge.localmodel.brains.words import utterance

NOW = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("heard", "numbers"),
    [
        ("Twenty five dollars.", [25]),
        ("Nineteen dollars and ninety nine cents", [19.99]),
        ("three pounds fifty", [3.5]),
        ("$1,000.50 please", [1000.5]),
        ("ten forty two", [1042]),
        ("two, three", [2, 3]),
        ("minus five and two point five", [-5, 2.5]),
        ("five hundred and twenty", [520]),
        ("wait a second", []),
        ("10:30", []),
        ("1" * 400 + ".5", []),
        ("٣ apples", [3]),
    ],
)
def test_numbers_are_found(heard, numbers):
    assert [number.value for number in number_runs(utterance(heard))] == numbers


@pytest.mark.parametrize(
    ("heard", "codes"),
    [
        ("A ten forty two.", ["A1042"]),
        ("order A-1042 please", ["A1042"]),
        ("order one zero for two please", ["1042"]),
        ("It's B7731.", ["B7731"]),
        ("o four two", ["042"]),
        ("five five five oh one double two", ["5550122"]),
        ("a b 12 c", ["AB12C"]),
        ("1042 a friend", ["1042"]),
        ("One, two, three, four, five, six.", ["123456"]),
        ("my number is 555, 0122", ["5550122"]),
        ("A 1042, twenty dollars", ["A1042", "20"]),
        ("A 1042. Two of them.", ["A1042", "2"]),
        ("from 13 to 40", ["13", "40"]),
        ("I have a dog", []),
    ],
)
def test_codes_are_found(heard, codes):
    assert [code.plain for code in code_runs(utterance(heard))] == codes


@pytest.mark.parametrize(
    ("heard", "said", "worked_out"),
    [
        ("Tomorrow at half-past three.", "Tomorrow at half-past three", ["2026-11-19", "15:30:00"]),
        ("Friday at 10:30 a.m.", "Friday at 10:30 a.m.", ["2026-11-20", "10:30:00"]),
        ("at seven tonight", "seven tonight", ["19:00:00", "2026-11-18"]),
        ("on the fifth of March", "the fifth of March", ["2027-03-05"]),
        ("March the fifth", "March the fifth", ["2027-03-05"]),
        ("next Wednesday at noon", "next Wednesday at noon", ["2026-11-25", "12:00:00"]),
        ("the day after tomorrow", "the day after tomorrow", ["2026-11-20"]),
        ("in two weeks", "in two weeks", ["2026-12-02"]),
        ("quarter to nine on the twenty first", "quarter to nine on the twenty first", ["08:45:00", "2026-11-21"]),
        ("ten past one", "ten past one", ["13:10:00"]),
        ("8:15 pm on 12/25", "8:15 pm on 12/25", ["20:15:00", "2026-12-25"]),
        ("eight in the morning", "eight in the morning", ["08:00:00"]),
        ("the 31st", "the 31st", ["2026-12-31"]),
        ("2026-12-01 15:00", "2026-12-01 15:00", ["2026-12-01", "15:00:00"]),
        ("the 31st of February", "the 31st of February", ["None"]),
        ("in the morning", "in the morning", ["None"]),
        ("may I come", "", []),
        ("a table for two at least", "", []),
    ],
)
def test_days_and_times_are_found(heard, said, worked_out):
    found = moments(utterance(heard), NOW)
    assert as_said(utterance(heard), found) == said
    assert [str(moment.clock if moment.is_time else moment.day) for moment in found] == worked_out


def value_of(schema, heard, name="value", asked=False):
    """The one value that is found for one parameter."""
    (parameter,) = read_tool(function("do_it", "", **{name: schema})).parameters
    return find_values([parameter], heard, now=NOW, asked=parameter if asked else None).get((name,))


@pytest.mark.parametrize(
    ("schema", "name", "heard", "value"),
    [
        ({"type": "string", "description": "The order's number, for example A-1042"}, "order", "b seven seven", "B-77"),
        ({"type": "string", "pattern": "^[a-z]\\d+$"}, "order_id", "order B 77", "b77"),
        ({"type": "string", "pattern": "^\\d+$"}, "order_id", "order B 77", "77"),
        ({"type": "string", "pattern": "^\\d{4}$"}, "order_id", "order B 77", None),
        ({"type": "integer"}, "order_number", "one zero for two", 1042),
        ({"type": "integer"}, "order_number", "12345678901234567890", None),
        ({"type": "integer"}, "amount", "two point five", None),
        ({"type": "number"}, "price", "nineteen ninety nine", 19.99),
        ({"type": "number"}, "order_count", "nineteen ninety nine", 1999),
        ({"type": "integer", "maximum": 5}, "guests", "six guests", None),
        (
            {"type": "string", "format": "email"},
            "contact",
            "john dot smith at example dot com",
            "john.smith@example.com",
        ),
        ({"type": "string"}, "email", "My email is john at example.com.", "john@example.com"),
        ({"type": "string", "format": "date"}, "day", "tomorrow", "2026-11-19"),
        ({"type": "string", "format": "date"}, "day", "in the morning", None),
        ({"type": "string", "format": "date-time"}, "start", "at three tomorrow", "2026-11-19T15:00:00+00:00"),
        ({"type": "string"}, "customer_name", "Hello, my name is John Smith and I am late.", "John Smith"),
        ({"type": "string"}, "address", "Change my address to 12 Main Street, please.", "12 Main Street"),
        ({"enum": ["small", "extra_large"]}, "size", "An extra large one.", "extra_large"),
        ({"enum": ["s", "m"]}, "size", "that's all", None),
        (
            {"type": "array", "items": {"enum": ["ham", "cheese", "basil"]}},
            "toppings",
            "ham and cheese",
            ["ham", "cheese"],
        ),
        ({"type": "array", "items": {"type": "integer"}}, "tables", "table seven", [7]),
        ({"type": "boolean"}, "gift_wrap", "no gift wrap please", False),
        ({"type": "boolean"}, "gift_wrap", "with a gift wrap", True),
        ({"type": "boolean"}, "gift_wrap", "yes", None),  # yes to what?
    ],
)
def test_a_value_is_found_as_its_schema_wants_it(schema, name, heard, value):
    assert value_of(schema, heard, name) == value


@pytest.mark.parametrize(
    ("schema", "name", "heard", "value"),
    [
        ({"type": "boolean"}, "gift_wrap", "Yes, please.", True),
        ({"type": "boolean"}, "gift_wrap", "No, please don't.", False),
        ({"type": "string"}, "reason", "Well, it's because the box was open, please.", "the box was open"),
        ({"type": "string"}, "time", "Ten thirty.", "Ten thirty"),
        ({"type": "string", "format": "time"}, "time", "Ten thirty.", "10:30:00+00:00"),
        ({"enum": ["s", "m"]}, "size", "M.", "m"),
        ({"enum": ["standard", "express"]}, "delivery", "Standerd", "standard"),
        ({"type": "string", "maxLength": 3}, "reason", "Because it is long.", None),
    ],
)
def test_an_answer_is_read_as_the_value_that_was_asked_for(schema, name, heard, value):
    assert value_of(schema, heard, name, asked=True) == value


@given(st.text(max_size=80))
def test_any_text_at_all_can_be_read(text):
    heard = utterance(text)
    found = moments(heard, NOW)
    spans = [set(run.span) for runs in (number_runs(heard), code_runs(heard), found) for run in runs]
    assert all(span <= set(range(len(heard.words))) for span in spans)
    assert 0 <= fit(parse_phrase("my order is {order:id} and {more}"), text).score <= 100


@given(st.integers(0, 10**9))
def test_a_number_in_digits_is_that_number(number):
    assert [run.value for run in number_runs(utterance(f"I want {number:,} of them"))] == [number]
