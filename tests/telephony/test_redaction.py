"""What logs may not say: property tests over numbers as people and libraries write them, and over secrets."""

import json
import re
import time
from urllib.parse import quote, quote_plus

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telephony.redaction import DIGITS_SHOWN, MASK, Redactor, mask_numbers

FORMATS = [
    phonenumbers.PhoneNumberFormat.E164,
    phonenumbers.PhoneNumberFormat.INTERNATIONAL,
    phonenumbers.PhoneNumberFormat.NATIONAL,
    phonenumbers.PhoneNumberFormat.RFC3966,
]
REGIONS = ["US", "DE", "GB", "FR", "IN", "BR", "JP", "AU", "NG", "MX", "DK", "CH", "ZA", "KR"]
QUOTES = [str, repr, json.dumps, quote, quote_plus, lambda text: repr("\n" + text), lambda text: f"tel={text};x=y"]


@st.composite
def numbers(draw) -> str:
    """A number of some country, in one of the forms it is written in there."""
    region = draw(st.sampled_from(REGIONS))
    kind = draw(st.sampled_from([phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE]))
    example_number = phonenumbers.example_number_for_type(region, kind)
    last = draw(st.integers(0, 9999))
    national = example_number.national_number // 10000 * 10000 + last
    number = phonenumbers.PhoneNumber(
        country_code=example_number.country_code,
        national_number=national,
        italian_leading_zero=example_number.italian_leading_zero,
    )
    return phonenumbers.format_number(number, draw(st.sampled_from(FORMATS)))


def digits(text: str) -> str:
    return re.sub(r"\D", "", text)


WORDS = st.sampled_from(["call from ", "", "To: ", "[", "'", "caller=", "\n", "sip:", "number\t", "x, ", "(", "a-"])


@given(WORDS, numbers(), st.sampled_from(QUOTES), st.sampled_from(["", ".", "'", " hung up", "\n", "@host", ",", ")"]))
def test_no_more_of_a_number_than_its_last_digits_is_left(before, number, quoted, after):
    left = digits(mask_numbers(before + quoted(number) + after))
    assert len(left) <= DIGITS_SHOWN + len(digits(quoted("("))), "a quoted ( may be left as %28"
    assert left.endswith(digits(number)[-DIGITS_SHOWN:])


@given(st.lists(numbers(), min_size=2, max_size=5), st.sampled_from([" ", ", ", "/", "\n", " and "]))
def test_numbers_side_by_side_are_all_masked(several, between):
    left = mask_numbers(between.join(several))
    assert not re.search(r"\d{5}", left)
    assert len(digits(left)) <= DIGITS_SHOWN * len(several)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 14:13:21,123 INFO",
        "2026-11-21T14:13:21.123+00:00",
        "http://192.168.100.200:8080/twilio/media",
        "call CA" + "1" * 32 + " began",
        "item_1234567890ab",
        "550e8400-e29b-41d4-a716-446655440000",
        "0.123456789 s",
        "1234567 bytes",
        'File "/x/server.py", line 1234, in handle',
        "<socket 0x7f1234567890>",
    ],
)
def test_what_is_no_number_to_dial_stays(text):
    assert mask_numbers(text) == text


SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=6, max_size=40)


@given(SECRETS, st.sampled_from([str, repr, json.dumps, lambda text: quote(text, safe=""), quote_plus]), st.text())
@example("a+b/c=&'\"\\", repr, "")
def test_a_known_secret_is_masked_however_it_is_quoted(secret, quoted, around):
    said = around + quoted(secret) + around
    masked = Redactor([secret])(said)
    assert MASK in masked
    if secret not in around * 2:
        assert secret not in masked.replace(MASK, "")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer rb_abcdefghijkl", "rb_abcdefghijkl"),
        ("{'authorization': 'Bearer rb_abcdefghijkl'}", "rb_abcdefghijkl"),
        ("Authorization: Basic QUMxOnRva2Vu", "QUMxOnRva2Vu"),
        ("Incorrect API key provided: sk-proj-abcdefghijkl", "proj-abcdefghijkl"),
        ("cannot reach postgresql://bridge:hunter2@db/calls", "hunter2"),
        ('<Parameter name="token" value="tHe-Token_1" />', "tHe-Token_1"),
        ('{"custom_parameters": {"token": "tHe-Token_1"}}', "tHe-Token_1"),
        ("GET /x?api_key=abcdefgh&y=1", "abcdefgh"),
        ("auth_token='0123456789abcdef'", "0123456789abcdef"),
    ],
)
def test_secrets_that_nobody_named_are_known_by_what_is_beside_them(text, secret):
    assert secret not in Redactor()(text)
    assert MASK in Redactor()(text)


@pytest.mark.parametrize("text", ["a bearer of bad news", "basic authentication failed", "tokens: 1234567"])
def test_ordinary_words_stay(text):
    assert Redactor(["is"])(text) == text


@pytest.mark.parametrize("part", ["1", "1 ", "1-", "((", "0.0.", "//a", "token", "+1 ", "bearer ", "1.1.1.1", "\\"])
def test_no_text_makes_it_slow(part):
    text = part * 40_000 + "x"
    redact = Redactor(["a secret"])
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 2
