"""What is blackened in the words that are kept of a call."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from telephony.word_redaction import WordRedactor, rules_of


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("It is 4242 4242 4242 4242, thanks.", "It is •••• •••• •••• ••••, thanks."),
        ("4242-4242-4242-4242", "•" * 19),
        ("four two four two four two four two four two four two four", "•••• ••• " * 6 + "••••"),
        ("Invoice 4711 of 2024-05-01", "Invoice 4711 of 2024-05-01"),
        ("Call +4915112345678 back", "Call +4915112345678 back"),
    ],
)
def test_card_numbers_are_blackened_and_other_numbers_stay(said, kept):
    assert WordRedactor(["cards"]).text(said) == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("PIN 1 2 3 4 is it", "PIN • • • • is it"),
        ("PIN one two, three four", "PIN ••• •••• ••••• ••••"),
        ("Call +1 415 555 0100", "Call +• ••• ••• ••••"),
        ("123 apples", "123 apples"),
        ("٤٢٤٢", "••••"),
    ],
)
def test_all_longer_numbers_are_blackened_where_digits_are_to_be(said, kept):
    assert WordRedactor(["digits"]).text(said) == kept


def test_patterns_blacken_their_match_or_their_groups():
    redactor = WordRedactor([r"(?i)born on \S+", r"(?i)password is (\w+)"])
    said = "Bärbel, born on 1.2.1990; my Password is Grün 5"
    assert redactor.text(said) == "Bärbel, •••• •• ••••••••• my Password is •••• 5"


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (r"[\w-]+x", "•••••• \\w"),
        (r"[]\d]+", "ü-٤٤٤x \\w".replace("٤", "•")),
        (r"\\w", "ü-٤٤٤x ••"),
        (r"[^\w]w", "ü-٤٤٤x ••"),
    ],
)
def test_letters_and_digits_are_those_of_all_scripts(pattern, kept):
    assert WordRedactor([pattern]).text("ü-٤٤٤x \\w") == kept


def test_arguments_of_any_shape_are_blackened():
    card = 4242424242424242
    given = {"card": card, "deep": [{"text": f"{card}"}], "yes": True, "none": None, "sum": 12.5, str(card): 1}
    black = "•" * 16
    assert WordRedactor(["cards"]).value(given) == {
        "card": black, "deep": [{"text": black}], "yes": True, "none": None, "sum": 12.5, black: 1,
    }  # fmt: skip


def test_the_setting_is_off_names_a_pattern_or_a_list():
    assert rules_of("off") == () == rules_of("[]")
    assert rules_of("cards, digits") == ("cards", "digits")
    assert rules_of(r"code \w+, please") == (r"code \w+, please",)
    assert rules_of(r'["cards", "[ab]c"]') == ("cards", "[ab]c")
    assert rules_of("[ab]c") == ("[ab]c",)


@pytest.mark.parametrize(
    ("setting", "teaching"),
    [
        (r"(a", "is no pattern .*missing"),
        (r"(a)\1", "no back references"),
        (r"(?<=a)b", "no looking around"),
        ("x*", "matches nothing at all"),
        ("a" * 501, "1 to 500"),
        ('["a", 1]', "JSON list of texts"),
        ("((a{100}){100}){100}", "is no pattern"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(setting, teaching):
    with pytest.raises(MisuseError, match=teaching):
        rules_of(setting)


def test_a_pattern_that_would_take_for_ever_elsewhere_is_quick():
    redactor = WordRedactor([r"(a+)+b", r"(x|x|x)*y"])
    began = time.process_time()
    text = "a" * 100_000 + "x" * 100_000
    assert redactor.text(text) == text
    assert time.process_time() - began < 5.0


@given(st.text())
def test_whatever_is_said_keeps_its_length_and_its_blanks(text):
    kept = WordRedactor(["digits", "cards", "(?i)a"]).text(text)
    assert len(kept) == len(text)
    assert all(new == old or (new == "•" and not old.isspace()) for new, old in zip(kept, text, strict=True))
